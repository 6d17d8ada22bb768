"""A dataset as a file, or the dataset of a run: how the command line is told what to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rle.errors import OutputExistsError, StorageError, ValidationError
from rle.runs.folders import home, model_folder
from rle.sdk.mapping_file import read_mapping
from rle.spec.dataset import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".yaml", ".yml", ".json")


def read_dataset(source: str | Path) -> DatasetSpec:
    """Return the dataset that a file or a run holds.

    Args:
        source: A YAML or JSON file as `Dataset.save` writes it, `print_data_config` prints it and
            each run keeps it (`dataset_config.yaml`); or the id of a run in this home.

    Raises:
        ValidationError: There is no such file or run, or it does not hold a dataset.
    """
    path = Path(source)
    if path.suffix.lower() in SUFFIXES or path.is_file():
        return _parsed(read_mapping(path, what="a dataset"), where=str(path))
    for kept in _kept_by_run(str(source)):
        content = read_mapping(kept, what="a dataset")
        return _parsed(content.get("dataset", content), where=f"run {source}")
    raise ValidationError(
        f"{str(source)!r} is neither a dataset file ({', '.join(SUFFIXES)}) nor a run in {home()}. "
        "Dataset.save writes such a file; RLE_HOME names the folder of all runs."
    )


def write_dataset(spec: DatasetSpec, path: str | Path) -> Path:
    """Write the dataset to a new file that `read_dataset` understands: YAML, or JSON for .json.

    A connector carries the names of its secrets only, so the file holds no secret.

    Raises:
        ValidationError: The name does not end in .yaml, .yml or .json.
        OutputExistsError: The file is there already.
        StorageError: It cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValidationError(f"{str(path)!r} must end in {', '.join(SUFFIXES)}.")
    content = {"experiment_name": spec.experiment_name} | spec.model_dump(mode="json")
    is_json = path.suffix.lower() == ".json"
    text = (
        json.dumps(content, indent=2, ensure_ascii=False)
        if is_json
        else yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputExistsError(f"{path} exists already; nothing is overwritten.") from None
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {path}") from error
    return path


def _kept_by_run(run_id: str) -> Iterator[Path]:
    """Yield the files in which a run keeps its dataset: its model, else MLflow's artifact."""
    if not run_id.isalnum():
        return
    manifest = model_folder(run_id) / "model.json"
    if manifest.is_file():
        yield manifest
    yield from sorted(home().glob(f"mlartifacts/*/{run_id}/artifacts/dataset_config.yaml"))
    yield from sorted(home().glob(f"mlartifacts/{run_id}/artifacts/dataset_config.yaml"))


def _parsed(content: dict[str, Any], *, where: str) -> DatasetSpec:
    given = {name: value for name, value in content.items() if name != "experiment_name"}
    try:
        return DatasetSpec(**given)
    except ValidationError as error:
        raise ValidationError(f"{where} does not hold a valid dataset: {error}") from None
