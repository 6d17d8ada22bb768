"""A baseline beside a model, through the spine."""

from __future__ import annotations

import shutil
import sys

import pyarrow.parquet as pq
import pytest

from rle import DuckDBConnector, OutputConfig, TrainerConfig
from rle.baseline import stack
from rle.errors import MissingModelError, ValidationError
from rle.pipeline import fit, fit_predict, predict
from rle.runs.events import MetricEvent, ReportEvent, StatusEvent, WarningEvent
from rle.spec.metric import EvaluationMetric
from rle.spec.task import LinkTaskSpec
from rle.testing.shop_dataset import shop_dataset
from rle.values import TaskType

TABLES = ("customers", "transactions")


def make(shop_db, task="churn", **changes):
    connector = DuckDBConnector(database=str(shop_db))
    settings = {"n_epochs": 1, "fanouts": (6,), "channels": 8, "num_workers": 0, "device": "cpu"}
    config = TrainerConfig(connector=connector, **settings | changes)
    return shop_dataset(connector, task, tables=TABLES), config


@pytest.mark.usefixtures("mlflow_there")
def test_the_winner_is_named_and_metrics_are_tracked(shop_db):
    events = []
    result = fit(*make(shop_db), baseline=True, on_event=events.append)
    report = result.baseline
    assert report is not None
    assert report.validation > 0.75
    reports = {e.name: e.text for e in events if isinstance(e, ReportEvent)}
    assert "LightGBM on automatic aggregates" in reports["baseline"]
    better = "baseline" if report.validation > result.validation else "GNN"
    assert f"The {better} beats" in reports["baseline_verdict"]
    metrics = {e.name: e.value for e in events if isinstance(e, MetricEvent)}
    assert metrics["baseline_validation_roc_auc"] == report.validation
    assert metrics["baseline_test_roc_auc"] == report.test


def test_a_missing_lightgbm_stops_a_fit_before_it_begins(shop_db, monkeypatch):
    dataset, config = make(shop_db)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    events = []
    with pytest.raises(MissingModelError, match=r"gnn-rle\[baseline\]"):
        fit(dataset, config, baseline=True, on_event=events.append)
    assert not [e for e in events if isinstance(e, StatusEvent)]


def test_an_option_that_is_no_switch_is_refused(shop_db):
    with pytest.raises(ValidationError, match="baseline must be True or False"):
        fit(*make(shop_db), baseline="yes")


def test_links_are_not_stacked(shop_db):
    dataset, config = make(shop_db)
    spec = dataset.spec
    task = LinkTaskSpec(
        name="next",
        task_type=TaskType.LINK_PREDICTION,
        sources=dict(spec.task.sources),
        source_entity_table="customers",
        source_entity_column="customer_id",
        target_entity_table="customers",
        target_entity_column="label",
        time_column="timestamp",
        metric=EvaluationMetric(name="link_prediction_map"),
    )
    with pytest.raises(ValidationError, match="stack=True is for node tasks"):
        fit(spec.replace(task=task), config, stack=True)


@pytest.mark.usefixtures("mlflow_there")
@pytest.mark.parametrize("task", ["churn", "channel", "departments", "spend"])
def test_a_stack_is_saved_without_pickle_and_predicts_the_same_bits(
    shop_db, task, tmp_path, monkeypatch
):
    # So that a blend with trees on top is kept, whatever is best on so few rows.
    monkeypatch.setattr(stack, "WEIGHTS", (0.5,))
    monkeypatch.setattr(stack, "MIN_ROWS", 50)
    monkeypatch.setattr(stack, "MIN_GAIN", -1.0)
    monkeypatch.setattr(EvaluationMetric, "is_better", lambda *_, **__: True)
    events = []
    dataset, config = make(shop_db, task)
    to = {"output_config": OutputConfig.local(artifacts_dir=tmp_path), "test_batch_size": 64}
    result = fit_predict(
        dataset, config, output_alias="a", stack=True, compute_test_metrics=True,
        on_event=events.append, **to,
    )  # fmt: skip
    found = result.fit.stack
    assert found is not None
    assert found.chosen == "stack"
    assert found.num_rounds
    assert str(found) in [e.text for e in events if isinstance(e, ReportEvent)]
    files = {p.name for p in (result.fit.model_folder / "stack").rglob("*") if p.is_file()}
    assert files <= {"stack.json", *(f"trees_{i}.txt" for i in range(20))}
    again = predict(
        dataset, model_run_id=result.fit.model_run_id, output_alias="b",
        compute_test_metrics=True, **to,
    )  # fmt: skip
    assert again.test_metrics == result.prediction.test_metrics
    first, second = (read_rows(tmp_path, alias) for alias in "AB")
    assert first.equals(second)
    # The trees are what predicts: without them the same model says something else.
    shutil.rmtree(result.fit.model_folder / "stack")
    predict(dataset, model_run_id=result.fit.model_run_id, output_alias="c", **to)
    assert not read_rows(tmp_path, "C").equals(first)


def read_rows(folder, alias):
    """The prediction table of an alias, in the order of its rows."""
    (file,) = folder.rglob(f"PREDICTIONS_{alias}*.parquet")
    return pq.read_table(file)


@pytest.mark.usefixtures("mlflow_there")
def test_the_model_is_kept_where_nothing_can_be_stacked(shop_db, monkeypatch):
    monkeypatch.setattr(stack, "MIN_ROWS", 10**6)
    events = []
    result = fit(*make(shop_db), stack=True, on_event=events.append)
    assert result.stack is None
    assert result.baseline is not None
    assert not (result.model_folder / "stack").exists()
    warnings = [e.message for e in events if isinstance(e, WarningEvent)]
    assert any("nothing was stacked" in warning for warning in warnings)


@pytest.mark.usefixtures("mlflow_there")
def test_a_stack_that_is_fetched_from_mlflow_is_whole(shop_db, tmp_path, monkeypatch):
    monkeypatch.setattr(stack, "WEIGHTS", (0.5,))
    monkeypatch.setattr(stack, "MIN_ROWS", 50)
    dataset, config = make(shop_db)
    to = {"output_config": OutputConfig.local(artifacts_dir=tmp_path), "test_batch_size": 64}
    result = fit_predict(dataset, config, output_alias="a", stack=True, **to)
    shutil.rmtree(result.fit.model_folder)
    predict(dataset, model_run_id=result.fit.model_run_id, output_alias="b", **to)
    assert read_rows(tmp_path, "A").equals(read_rows(tmp_path, "B"))
