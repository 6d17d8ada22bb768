"""ModelManager on a model that was trained for real, with one step."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rle
from rle.errors import ModelManagerError, RLEError, UnknownNameError, ValidationError
from rle.pipeline import fit
from rle.runs.folders import home, model_folder
from tests.small_db import SmallDatabase


@pytest.fixture(scope="module")
def place(tmp_path_factory, copy_mlflow):
    folder = tmp_path_factory.mktemp("manager")
    copy_mlflow(folder / "home")
    return folder, SmallDatabase.create(folder)


@pytest.fixture(autouse=True)
def _same_home(place, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(place[0] / "home"))


@pytest.fixture(scope="module")
def run_id(place):
    folder, db = place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return fit(db.dataset(), db.config(max_iters=1)).model_run_id


@pytest.fixture
def manager(place):
    return rle.ModelManager(place[1].connector)


def test_models_are_listed_with_what_they_reached(manager, run_id):
    (model,) = manager.list_models()
    assert model == manager.list_models("small/binary_classification/churn")[0]
    assert (model.model_run_id, model.metric, model.status) == (run_id, "roc_auc", "FINISHED")
    assert 0 <= model.validation <= 1
    with pytest.raises(UnknownNameError, match="Did you mean"):
        manager.list_models("small/binary_classification/chrun")


def test_registering_says_so_and_twice_is_an_error_with_advice(manager, run_id, capsys):
    made = manager.register_model(run_id, "leaver", version_name="champion", comment="in May")
    words = "Successfully registered model 'leaver' with version '1' for run"
    assert words in " ".join(capsys.readouterr().out.split())
    assert manager.list_registered_models("leaver") == (made,)
    assert manager.registered_models(run_id) == (made,)
    assert (made.registered_model_key, made.aliases) == ("leaver.1", ("champion",))
    with pytest.raises(ModelManagerError, match="Use that version"):
        manager.register_model(run_id, "leaver")
    manager.delete_registered_model("leaver", 1)
    assert manager.list_registered_models("leaver") == ()
    again = manager.register_model(run_id, "leaver")
    assert again.version == "2"  # a number is never given twice
    manager.delete_registered_model("leaver")
    with pytest.raises(UnknownNameError, match="registered model"):
        manager.list_registered_models("leaver")


def test_a_damaged_model_is_not_registered(manager, run_id):
    description = model_folder(run_id) / "model.json"
    text = description.read_text()
    try:
        description.write_text(text.replace('"format": 1', '"format": 99'))
        with pytest.raises(ValidationError, match="has format 99"):
            manager.register_model(run_id, "damaged")
    finally:
        description.write_text(text)
    assert manager.list_registered_models() == ()


@pytest.mark.parametrize("run", ["0" * 32, "../runs", "", None, 7])
def test_runs_that_are_not_there_are_refused(manager, run):
    with pytest.raises(ValidationError):
        manager.register_model(run, "never")
    with pytest.raises(RLEError):
        manager.delete_model(run)


def test_a_deleted_model_is_gone_here_and_in_mlflow(manager, place):
    _, db = place
    doomed = fit(db.dataset(), db.config(max_iters=1, seed=9))
    manager.register_model(doomed.model_run_id, "doomed")
    with pytest.raises(ModelManagerError, match="delete_registered_model"):
        manager.delete_model(doomed.model_run_id)
    assert doomed.model_folder.exists()
    manager.delete_registered_model("doomed")
    manager.delete_model(doomed.model_run_id, delete_experiment_run=False)
    assert not doomed.model_folder.exists()
    assert doomed.training_curve.exists()
    listed = [model.model_run_id for model in manager.list_models()]
    assert doomed.model_run_id not in listed
    with pytest.raises(ModelManagerError, match="holds no model"):
        manager.register_model(doomed.model_run_id, "never")
    manager.delete_model(doomed.model_run_id)
    assert not doomed.training_curve.parent.exists()
    assert (home() / "runs").exists()


def test_a_connector_must_be_one():
    with pytest.raises(ValidationError, match="connector"):
        rle.ModelManager("shop.duckdb")


def test_managing_models_loads_neither_torch_nor_ray():
    code = "import rle, sys; rle.ModelManager; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
