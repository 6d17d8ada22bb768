"""A model, once trained, is found, named, compared and used in every way; or it is said why not."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import rle
from rle.errors import (
    DatasetMismatchError,
    ModelManagerError,
    OutputExistsError,
    RLEError,
    UnknownNameError,
    ValidationError,
)
from rle.pipeline import fit, fit_predict, predict
from rle.runs.events import WarningEvent
from rle.runs.folders import home, model_folder
from rle.runs.registry import Registry
from rle.spec.metric import EvaluationMetric
from rle.values import TaskType
from tests.small_db import SmallDatabase

EXPERIMENT = "small/binary_classification/churn"
TODAY = """
CREATE TABLE today AS SELECT * EXCLUDE label FROM churn_test;
CREATE TABLE no_time AS SELECT customer_id FROM churn_test;
CREATE TABLE nothing_of_it AS SELECT 1 AS x;
CREATE TABLE texts AS SELECT 'c' || customer_id AS customer_id, "at" FROM churn_test;
CREATE TABLE churn_unlabelled AS SELECT * REPLACE (CAST(NULL AS BIGINT) AS label) FROM churn_test;
CREATE TABLE orders_null AS SELECT * REPLACE (CAST(NULL AS DOUBLE) AS amount) FROM orders;
CREATE TABLE orders_text AS SELECT * REPLACE (amount::VARCHAR AS amount) FROM orders;
CREATE TABLE orders_date AS SELECT * REPLACE (DATE '2020-01-01' AS amount) FROM orders;
CREATE TABLE orders_narrow AS SELECT * EXCLUDE amount FROM orders;
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, copy_mlflow):
    """Two finished runs of one task, the second registered as "leaver" version 1."""
    folder = tmp_path_factory.mktemp("ways")
    db = SmallDatabase.create(folder, TODAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        copy_mlflow(folder / "home")
        weak = fit(db.dataset(), db.config(lr=1e-9))
        strong = fit_predict(
            db.dataset(),
            db.config(seed=1, lr=0.01, n_epochs=2),
            output_alias="first",
            output_config=db.output,
        )
        rle.ModelManager(db.connector).register_model(strong.fit.model_run_id, "leaver")
    best = max(weak, strong.fit, key=lambda result: result.validation)
    return SimpleNamespace(
        folder=folder, db=db, weak=weak, strong=strong.fit, best=best, first=strong.prediction
    )


@pytest.fixture(autouse=True)
def _same_home(world, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(world.folder / "home"))


@pytest.fixture
def alias(request):
    """An alias of the test's own."""
    return f"t{zlib.crc32(request.node.name.encode())}"


def ask(world, alias, dataset=None, **given):
    return predict(dataset, **{"output_alias": alias, "output_config": world.db.output} | given)


def rows(world, alias):
    return world.db.query(f"FROM PREDICTIONS_{alias} ORDER BY ALL")


def by_experiment(**given):
    return {"experiment_name": EXPERIMENT, "test_table": "small.main.today"} | given


@pytest.mark.parametrize(
    "way", ["run", "registered", "version as a number", "experiment", "registered, by experiment"]
)
def test_every_way_to_name_a_model_predicts_the_same(world, alias, way):
    run, registered = world.strong.model_run_id, {"registered_model_name": "leaver"}
    dataset = world.db.dataset()
    given = {
        "run": {"dataset": dataset, "model_run_id": run},
        "registered": {"dataset": dataset, "version": "1"} | registered,
        "version as a number": {"dataset": dataset, "version": 1} | registered,
        "experiment": by_experiment(model_run_id=run),
        "registered, by experiment": by_experiment(version="1") | registered,
    }[way]
    result = ask(world, alias, **given)
    assert result.num_rows == 60
    assert result.test_metrics == {}
    assert rows(world, alias) == rows(world, "FIRST")


@pytest.mark.parametrize(
    "spelling", [{"model_selection_strategy": "best"}, {"select_best_model": True}]
)
def test_the_best_model_is_that_with_the_best_validation_value(world, alias, spelling):
    heard = []
    ask(world, alias, world.db.dataset(), on_event=heard.append, **spelling)
    assert f"model of run {world.best.model_run_id}, the best of experiment" in heard[0].message
    metric = EvaluationMetric("roc_auc")
    ask(world, f"{alias}_2", **by_experiment(evaluation_metric=metric, **spelling))
    assert rows(world, alias) == rows(world, f"{alias}_2")


@pytest.mark.slow
def test_a_model_needs_only_its_run_id_in_a_process_of_its_own(world, alias):
    code = f"""
import rle
from rle.pipeline import predict
predict(experiment_name={EXPERIMENT!r}, test_table="small.main.today",
        model_run_id={world.strong.model_run_id!r}, output_alias={alias!r},
        output_config=rle.OutputConfig.warehouse(database_name="small", schema_name="main"))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
    # Equal to the last bit: the doubles of Python compare exactly.
    assert rows(world, alias) == rows(world, "FIRST")


class Elsewhere:
    """Another home with the same tracking address, as on another machine."""

    def __init__(self, world, monkeypatch, tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow.db'}")
        self.artifacts = Path(
            Registry().model_uri(world.strong.model_run_id).removeprefix("file://")
        )
        monkeypatch.setenv("RLE_HOME", str(tmp_path / "elsewhere"))


class Bomb:
    def __reduce__(self):
        return os._exit, (77,)


def test_a_model_that_was_trained_elsewhere_is_fetched_and_no_pickle_with_it(
    world, monkeypatch, tmp_path, alias
):
    there = Elsewhere(world, monkeypatch, tmp_path)
    for name in ("python_model.pkl", "model.pth"):
        (there.artifacts / name).write_bytes(pickle.dumps(Bomb()))
    ask(world, alias, world.db.dataset(), model_run_id=world.strong.model_run_id)
    assert rows(world, alias) == rows(world, "FIRST")
    kept = model_folder(world.strong.model_run_id)
    assert sorted(path.name for path in kept.iterdir()) == ["model.json", "weights.safetensors"]


def test_weights_that_are_a_pickle_are_refused_not_read(world, monkeypatch, tmp_path, alias):
    there = Elsewhere(world, monkeypatch, tmp_path)
    shutil.copytree(there.artifacts, tmp_path / "planted")
    (tmp_path / "planted" / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    made = Registry()._client
    made.create_registered_model("planted")
    made.create_model_version("planted", source=(tmp_path / "planted").as_uri())
    with pytest.raises(RLEError, match="weights"):
        ask(world, alias, world.db.dataset(), registered_model_name="planted", version="1")


@pytest.mark.parametrize("source", ["runs:/{run}/model", "{artifacts}", "{copy}"])
def test_models_registered_in_mlflows_pages_are_used_by_name_and_number(
    world, alias, tmp_path, source
):
    registry = Registry()
    artifacts = registry.model_uri(world.strong.model_run_id)
    copy = tmp_path / "copy"
    shutil.copytree(artifacts.removeprefix("file://"), copy)
    name = f"ui {alias}"
    registry._client.create_registered_model(name)
    registry._client.create_model_version(
        name,
        source=source.format(
            run=world.strong.model_run_id, artifacts=artifacts, copy=copy.as_uri()
        ),
    )
    ask(world, alias, world.db.dataset(), registered_model_name=name, version="1")
    assert rows(world, alias) == rows(world, "FIRST")


def refuse(world, error, words, dataset=None, **given):
    """Expect an error before anything runs: no event is told, no table and no folder appears."""

    def state():
        runs = sorted(str(path) for path in (home() / "runs").rglob("*"))
        return runs, world.db.query("SHOW TABLES")

    before, heard = state(), []
    with pytest.raises(error, match=words) as caught:
        ask(world, "never", dataset, on_event=heard.append, **given)
    assert heard == []
    assert state() == before
    return caught.value


def test_models_that_are_not_there_are_named_with_the_nearest(world):
    dataset, run = world.db.dataset(), world.strong.model_run_id
    refuse(world, UnknownNameError, f"mean '{run}'", dataset, model_run_id=run[:-1] + "x")
    refuse(world, ValidationError, "must be the id", dataset, model_run_id="../../etc")
    named = {"registered_model_name": "leavers", "version": "1"}
    refuse(world, UnknownNameError, "mean 'leaver'", dataset, **named)
    named = {"registered_model_name": "leaver", "version": "2"}
    refuse(world, UnknownNameError, "Known: '1'", dataset, **named)
    named = {"registered_model_name": "leaver", "version": "Version 1"}
    refuse(world, ValidationError, "such as '1', not 'Version 1'", dataset, **named)


def test_experiments_that_are_not_there_or_have_no_finished_run_are_named(world):
    best = {"select_best_model": True, "evaluation_metric": EvaluationMetric("roc_auc")}
    near = "small/binary_classification/chrun"
    refuse(
        world,
        UnknownNameError,
        f"mean '{EXPERIMENT}'",
        **by_experiment(**best) | {"experiment_name": near},
    )
    Registry()._client.create_experiment("small/binary_classification/empty")
    empty = {"experiment_name": "small/binary_classification/empty"}
    refuse(world, ValidationError, "runs: none at all", **by_experiment(**best) | empty)
    best["evaluation_metric"] = EvaluationMetric("f1")
    refuse(world, ValidationError, "they measured roc_auc", **by_experiment(**best))


def test_a_run_of_another_task_is_refused(world):
    db, run = world.db, world.strong.model_run_id
    other = by_experiment(model_run_id=run) | {"experiment_name": "small/regression/spend"}
    refuse(world, ValidationError, f"belongs to experiment '{EXPERIMENT}'", **other)
    spend = db.dataset(task=db.task(name="spend", task_type=TaskType.REGRESSION))
    error = refuse(world, DatasetMismatchError, "task_type", spend, model_run_id=run)
    assert error.diff["task"] == {
        "name": {"trained": "churn", "given": "spend"},
        "task_type": {"trained": "binary_classification", "given": "regression"},
    }
    twin = db.dataset(task=db.task(name="twin"))
    refuse(world, DatasetMismatchError, "name of the task was churn", twin, model_run_id=run)


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ("todey", UnknownNameError, "today"),
        ("no_time", ValidationError, "has no time column 'at'; it has 'customer_id'"),
        ("nothing_of_it", ValidationError, "no entity column 'customer_id' and no time column"),
        ("texts", ValidationError, "churn.customer_id' is text but the key"),
    ],
)
def test_a_test_table_that_does_not_fit_is_refused(world, table, error, words):
    given = by_experiment(model_run_id=world.strong.model_run_id)
    refuse(world, error, words, **given | {"test_table": f"small.main.{table}"})


def test_a_dataset_without_a_test_table_and_labels_that_are_not_there_are_refused(world):
    db, run = world.db, {"model_run_id": world.strong.model_run_id}
    sources = {split: f"small.main.churn_{split}" for split in ("train", "validation")}
    untested = db.dataset(task=db.task(task_data_source=sources))
    refuse(world, ValidationError, "no test table", untested, **run)
    measured = {"compute_test_metrics": True}
    refuse(world, ValidationError, "'label' of test table", **by_experiment(**run, **measured))
    task = db.task(task_data_source={"test": "small.main.churn_unlabelled"})
    refuse(world, ValidationError, "holds NULL only", db.dataset(task=task), **run, **measured)
    refuse(world, ValidationError, "flatten_output=True", db.dataset(), **run, flatten_output=True)
    refuse(world, OutputExistsError, "FIRST", db.dataset(), **run, output_alias="First")


def test_a_task_of_a_test_table_alone_is_predicted_and_measured_on_request(world, alias):
    db, run = world.db, world.strong.model_run_id
    task = db.task(task_data_source={"test": "small.main.churn_test"})
    result = ask(world, alias, db.dataset(task=task), model_run_id=run, compute_test_metrics=True)
    assert 0 <= result.test_metrics["roc_auc"] <= 1
    assert rows(world, alias) == rows(world, "FIRST")


def orders_from(world, table, **given):
    return world.db.dataset(
        world.db.customers(), world.db.orders(source=f"small.main.{table}", **given)
    )


def test_another_schema_is_an_error_that_carries_the_difference_as_json(world):
    run = {"model_run_id": world.strong.model_run_id}
    error = refuse(
        world, DatasetMismatchError, "is gone", orders_from(world, "orders_narrow"), **run
    )
    assert error.diff == {
        "tables": {"orders": {"columns": {"amount": {"trained": "float", "given": None}}}}
    }
    assert json.loads(str(error).partition("Difference as JSON:\n")[2]) == error.diff
    assert isinstance(pickle.loads(pickle.dumps(error)), DatasetMismatchError)


def test_another_dtype_is_an_error_unless_it_is_aligned_and_then_a_warning(world, alias):
    run = {"model_run_id": world.strong.model_run_id}
    dataset = orders_from(world, "orders_text")
    refuse(world, DatasetMismatchError, "Pass align_dtypes=True", dataset, **run)
    heard = []
    ask(world, alias, dataset, align_dtypes=True, on_event=heard.append, **run)
    (warning,) = [event.message for event in heard if isinstance(event, WarningEvent)]
    assert warning == "column 'amount' of table 'orders' is category; it is read as float"
    assert rows(world, alias) == rows(world, "FIRST")
    dates = orders_from(world, "orders_date")
    refuse(world, DatasetMismatchError, "is datetime", dates, align_dtypes=True, **run)


def test_a_column_that_is_null_throughout_today_is_read_as_in_training(world, alias):
    heard = []
    ask(
        world,
        alias,
        orders_from(world, "orders_null"),
        model_run_id=world.strong.model_run_id,
        on_event=heard.append,
    )
    warnings = [event.message for event in heard if isinstance(event, WarningEvent)]
    assert any("'amount' of table 'orders' is left out" in warning for warning in warnings)
    assert len(rows(world, alias)) == 60


def test_results_are_replaced_only_on_request(world, alias):
    run = {"model_run_id": world.strong.model_run_id}
    ask(world, alias, world.db.dataset(), model_run_id=world.weak.model_run_id)
    before = rows(world, alias)
    ask(world, alias, world.db.dataset(), overwrite_results=True, **run)
    assert before != rows(world, alias) == rows(world, "FIRST")


@pytest.mark.slow
def test_sigterm_in_a_run_leaves_it_killed_in_mlflow(world):
    code = f"""
import os, signal
from pathlib import Path
from rle.pipeline import fit
from tests.small_db import SmallDatabase
db = SmallDatabase(Path({str(world.db.path)!r}))
def kill(event):
    if event.type == "progress" and event.stage == "train":
        os.kill(os.getpid(), signal.SIGTERM)
task = db.task(name="terminated")
fit(db.dataset(task=task), db.config(), on_event=kill)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 143
    (run,) = Registry().models("small/binary_classification/terminated")
    assert (run.status, run.has_model) == ("KILLED", False)
    with pytest.raises(ModelManagerError, match="holds no model: it is KILLED"):
        ask(world, "never", world.db.dataset(), model_run_id=run.model_run_id)
