"""Runs, models and registered versions as MLflow keeps them: no model is trained here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rle.errors import ModelManagerError, UnknownNameError, ValidationError
from rle.runs.events import MetricEvent, RunStatus, StatusEvent, best_metric_name
from rle.runs.folders import home
from rle.runs.registry import Registry
from rle.runs.tracking import EVAL_AT_K_TAG, JOB_TAG, METRIC_TAG, Tracker
from rle.spec.metric import EvaluationMetric

ROC_AUC, MAE = EvaluationMetric("roc_auc"), EvaluationMetric("mae")


@pytest.fixture(scope="module")
def place(tmp_path_factory, copy_mlflow):
    """One home for the whole file: connecting to a database costs."""
    folder = tmp_path_factory.mktemp("registry")
    copy_mlflow(folder)
    return folder


@pytest.fixture(autouse=True)
def _same_home(place, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(place))


@pytest.fixture
def registry():
    return Registry()


def record(experiment, value=None, *, metric="roc_auc", ends=RunStatus.COMPLETED, k=None, **given):
    """A training run that ended so, with a model folder unless it has no value."""
    tracker = Tracker(experiment, params={}, tags={JOB_TAG: "train"})
    for epoch, seen in enumerate(given.get("history", ())):
        tracker(MetricEvent(name=f"validation_{metric}", value=seen, step=epoch))
    if value is not None:
        tracker(MetricEvent(name=best_metric_name(metric), value=value, step=1))
    if value is not None or given.get("history"):
        tracker.tag(METRIC_TAG, metric)
        model = home() / f"made_{tracker.run_id}"
        model.mkdir()
        (model / "model.json").write_text("{}")
        (model / "weights.safetensors").write_bytes(b"w")
        (model / "python_model.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        tracker.log_model(model, spec_version="1")
    if k is not None:
        tracker.tag(EVAL_AT_K_TAG, str(k))
    tracker(StatusEvent(status=ends))
    return tracker.run_id


def test_the_best_run_is_that_of_the_metrics_own_direction(registry):
    record("a/regression/sales", 3.0, metric="mae")
    low = record("a/regression/sales", 2.0, metric="mae")
    record("a/binary_classification/churn", 0.7)
    high = record("a/binary_classification/churn", 0.8)
    record("a/binary_classification/churn", float("nan"))
    model, value = registry.best("a/regression/sales", MAE)
    assert (model.model_run_id, value) == (low, 2.0)
    model, value = registry.best("a/binary_classification/churn", ROC_AUC)
    assert (model.model_run_id, value) == (high, 0.8)


def test_the_best_of_a_run_counts_not_its_last(registry):
    peaked = record("b/binary_classification/churn", history=(0.6, 0.9, 0.5))
    record("b/binary_classification/churn", history=(0.6, 0.7, 0.8))
    model, value = registry.best("b/binary_classification/churn", ROC_AUC)
    assert (model.model_run_id, value) == (peaked, 0.9)


def test_of_equals_the_oldest_is_the_best(registry):
    first, _ = (record("c/binary_classification/churn", 0.8) for _ in range(2))
    model, _ = registry.best("c/binary_classification/churn", ROC_AUC)
    assert model.model_run_id == first


def test_runs_that_did_not_finish_are_not_the_best(registry):
    record("d/binary_classification/churn", 0.99, ends=RunStatus.FAILED)
    record("d/binary_classification/churn", ends=RunStatus.CANCELED)
    record("d/binary_classification/churn")
    words = r"no finished training run with a model \(runs: 1 FAILED, 1 KILLED, 1 without model\)"
    with pytest.raises(ValidationError, match=words):
        registry.best("d/binary_classification/churn", ROC_AUC)
    finished = record("d/binary_classification/churn", 0.6)
    model, _ = registry.best("d/binary_classification/churn", ROC_AUC)
    assert model.model_run_id == finished


def test_lists_of_other_lengths_are_not_compared(registry):
    experiment = "d/link_prediction/next"
    record(experiment, 0.5, metric="link_prediction_map", k=3)
    at_12 = record(experiment, 0.2, metric="link_prediction_map", k=12)
    model, _ = registry.best(experiment, EvaluationMetric("link_prediction_map", 12))
    assert model.model_run_id == at_12
    words = "measured link_prediction_map@7 .* they measured .*_map@12, link_prediction_map@3. Give"
    with pytest.raises(ValidationError, match=words):
        registry.best(experiment, EvaluationMetric("link_prediction_map", 7))


def test_a_metric_that_no_run_measured_and_an_experiment_that_is_not_there_are_named(registry):
    record("e/regression/sales", 3.0, metric="mae")
    with pytest.raises(ValidationError, match=r"measured r2 .* they measured mae"):
        registry.best("e/regression/sales", EvaluationMetric("r2"))
    with pytest.raises(UnknownNameError, match="Did you mean 'e/regression/sales'"):
        registry.best("e/regression/sale", MAE)


def test_versions_count_from_1_and_are_found_by_run_and_by_name(registry):
    first, second = (record("f/binary_classification/churn", v) for v in (0.7, 0.8))
    one = registry.register(first, "churn", comment="the first")
    two = registry.register(second, "churn", alias="champion")
    other = registry.register(first, "also churn")
    assert [v.version for v in (one, two, other)] == ["1", "2", "1"]
    assert registry.versions("churn") == (one, two)
    assert registry.versions_of(first) == (other, one)
    assert registry.version("churn", "2").aliases == ("champion",)
    assert registry.version("churn", "1").comment == "the first"
    assert one.registered_model_key == "churn.1"


def test_a_name_twice_for_a_run_and_an_alias_twice_are_refused_with_advice(registry):
    first, second = (record("g/binary_classification/churn", v) for v in (0.7, 0.8))
    registry.register(first, "twice", alias="best")
    with pytest.raises(ModelManagerError, match=r"version '1'\. Use that version, or register"):
        registry.register(first, "twice")
    with pytest.raises(ModelManagerError, match="Choose another version_name"):
        registry.register(second, "twice", alias="best")
    assert len(registry.versions("twice")) == 1


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "it's", 7, None])
def test_impossible_names_are_refused(registry, name):
    with pytest.raises(ValidationError, match="model_name"):
        registry.register("x", name)


@pytest.mark.parametrize("alias", ["", "1", "v2", "latest", "two words", 3])
def test_impossible_version_names_are_refused(registry, alias):
    with pytest.raises(ValidationError, match="version_name"):
        registry.register("x", "churn", alias=alias)


def test_a_run_without_a_model_and_one_that_is_not_there_are_refused(registry):
    failed = record("h/binary_classification/churn", ends=RunStatus.FAILED)
    with pytest.raises(ModelManagerError, match="holds no model: it is FAILED"):
        registry.register(failed, "never")
    known = record("h/binary_classification/churn", 0.7)
    with pytest.raises(UnknownNameError, match=f"Did you mean '{known}'"):
        registry.register(known[:-1] + "x", "never")


def test_models_and_versions_that_are_not_there_are_named_with_the_nearest(registry):
    registry.register(record("i/binary_classification/churn", 0.7), "leaver")
    with pytest.raises(UnknownNameError, match="Did you mean 'leaver'"):
        registry.version("leavers", "1")
    with pytest.raises(UnknownNameError, match="version of registered model 'leaver' named '2'"):
        registry.version("leaver", "2")


def test_two_processes_that_register_at_once_get_two_versions(registry, place):
    runs = [record("j/binary_classification/churn", v) for v in (0.7, 0.8)]
    code = (
        "import sys; from rle.runs.registry import Registry; Registry().register(sys.argv[1], 'j')"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, run], env=os.environ | {"RLE_HOME": str(place)}
        )
        for run in runs
    ]
    assert [process.wait() for process in started] == [0, 0]
    assert {v.version: v.model_run_id for v in registry.versions("j")}.keys() == {"1", "2"}
    assert {v.model_run_id for v in registry.versions("j")} == set(runs)


def test_only_files_that_hold_data_are_fetched(registry, tmp_path):
    run = record("k/binary_classification/churn", 0.7)
    uri = registry.model_uri(run)
    trees = Path(uri.removeprefix("file://")) / "stack" / "baseline"
    trees.mkdir(parents=True)
    for name in ("trees_0.txt", "trees.pkl", "run.py", "..txt"):
        (trees / name).write_text("x")
    registry.fetch(uri, tmp_path, required=("model.json", "weights.safetensors"))
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "model.json",
        "stack/baseline/trees_0.txt",
        "weights.safetensors",
    }


@pytest.mark.parametrize("uri", ["file:///nowhere/at/all", "runs:/00000000000000000000/model"])
def test_a_place_without_a_model_is_named(registry, tmp_path, uri):
    with pytest.raises(ValidationError, match=f"no model of GNN-RLE at {uri}: "):
        registry.fetch(uri, tmp_path, required=("model.json",))


def test_a_model_is_deleted_but_never_while_a_version_points_to_it(registry):
    run = record("l/binary_classification/churn", 0.7)
    artifacts = Path(registry.model_uri(run).removeprefix("file://"))
    registry.register(run, "doomed")
    with pytest.raises(ModelManagerError, match=r"registered as doomed\.1; delete that first"):
        registry.delete_model(run, with_run=False)
    registry.delete_versions("doomed", "1")
    registry.delete_model(run, with_run=False)
    assert not artifacts.exists()
    (kept,) = registry.models("l/binary_classification/churn")
    assert (kept.validation, kept.has_model) == (0.7, False)
    with pytest.raises(ValidationError, match="1 without model"):
        registry.best("l/binary_classification/churn", ROC_AUC)
    registry.delete_model(run, with_run=True)
    assert registry.models("l/binary_classification/churn") == ()
    with pytest.raises(UnknownNameError, match="run in"):
        registry.model(run)
