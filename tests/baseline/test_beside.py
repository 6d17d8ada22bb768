"""A baseline beside a model, through the spine."""

from __future__ import annotations

import sys

import pytest

from rle import DuckDBConnector, TrainerConfig
from rle.errors import MissingModelError, ValidationError
from rle.pipeline import fit
from rle.runs.events import MetricEvent, ReportEvent, StatusEvent
from rle.testing.shop_dataset import shop_dataset

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
