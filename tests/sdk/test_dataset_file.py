"""A dataset as a file: what is written is what is read, and what is wrong is said."""

from __future__ import annotations

import json

import pytest
import yaml

from rle import DuckDBConnector
from rle.errors import OutputExistsError, StorageError, ValidationError
from rle.runs.folders import home, model_folder
from rle.sdk.dataset_file import read_dataset
from rle.testing.shop_dataset import shop_dataset


@pytest.fixture
def dataset(shop_db):
    return shop_dataset(DuckDBConnector(database=str(shop_db)), tables=("customers",))


@pytest.mark.parametrize("name", ["shop.yaml", "shop.yml", "shop.json"])
def test_what_is_saved_is_read_again(dataset, tmp_path, name):
    path = dataset.save(tmp_path / name)
    assert read_dataset(path) == dataset.spec
    assert read_dataset(str(path)) == dataset.spec


def test_json_as_print_data_config_shows_it_is_read(dataset, tmp_path, capsys):
    dataset.print_data_config()
    path = tmp_path / "printed.json"
    path.write_text(capsys.readouterr().out)
    assert read_dataset(path) == dataset.spec


def test_nothing_is_overwritten(dataset, tmp_path):
    path = dataset.save(tmp_path / "shop.yaml")
    with pytest.raises(OutputExistsError, match=r"shop\.yaml"):
        dataset.save(path)


def test_a_place_that_cannot_be_written_is_named(dataset, tmp_path):
    with pytest.raises(StorageError, match="none"):
        dataset.save(tmp_path / "none" / "shop.yaml")
    with pytest.raises(ValidationError, match=r"\.yaml"):
        dataset.save(tmp_path / "shop.txt")


def test_the_dataset_of_a_run_is_found_with_its_model_or_without(dataset):
    content = dataset.metadata_dict
    model_folder("abc123").mkdir(parents=True)
    (model_folder("abc123") / "model.json").write_text(
        json.dumps({"dataset": dataset.spec.model_dump(mode="json")})
    )
    artifacts = home() / "mlartifacts" / "7" / "def456" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "dataset_config.yaml").write_text(yaml.safe_dump(content))
    assert read_dataset("abc123") == dataset.spec
    assert read_dataset("def456") == dataset.spec


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.yaml", None, "There is no file"),
        ("broken.json", "{", "neither YAML nor JSON"),
        ("broken.yaml", "a: [", "neither YAML nor JSON"),
        ("list.yaml", "- 1", "does not hold a dataset, but list"),
        ("other.yaml", "name: x", "does not hold a valid dataset"),
    ],
)
def test_a_file_that_is_no_dataset_is_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValidationError, match=message):
        read_dataset(tmp_path / name)


@pytest.mark.parametrize("run_id", ["nosuchrun", "../../etc", "a*b"])
def test_an_unknown_run_is_refused_with_the_way_out(run_id):
    with pytest.raises(ValidationError, match="RLE_HOME"):
        read_dataset(run_id)
