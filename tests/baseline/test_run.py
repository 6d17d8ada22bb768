"""The baseline of the fake shop, whose signal and whose leak are known."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

from rle import DuckDBConnector
from rle.baseline import node
from rle.baseline.aim import Aim
from rle.baseline.boost import Boosted, Rows, as_scores, train
from rle.baseline.report import BaselineReport, FeatureShare, verdict
from rle.baseline.trivial import trivial_scores
from rle.cli.app import app
from rle.errors import DataError, MissingModelError, ValidationError
from rle.sdk.dataset import Dataset
from rle.spec.metric import EvaluationMetric
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset
from rle.values import TaskType

TABLES = ("customers", "transactions", "departments", "articles")


def shop_of(path, task="churn", **options) -> Dataset:
    """The shop as users hold it."""
    made = shop_dataset(DuckDBConnector(database=str(path)), task, **options)
    return Dataset(made.connector, made.name, made.tables, made.task)


@pytest.mark.parametrize(
    ("task", "better_by"),
    [("churn", 0.3), ("channel", 0.2), ("departments", 0.2), ("spend", 3.0)],
)
def test_every_kind_of_task_has_a_baseline_far_above_the_trivial_one(shop_db, task, better_by):
    report = shop_of(shop_db, task).baseline()
    best, trivial = report.methods
    assert best.validation == report.validation
    assert best.test == report.test
    gain = report.validation - trivial.validation
    assert gain * (-1 if report.metric.direction == "min" else 1) > better_by
    assert 0 < report.num_features <= report.num_candidates
    assert len(report.features) <= 20
    shares = [feature.share for feature in report.features]
    assert shares == sorted(shares, reverse=True)
    assert report.num_rows["train"] > report.num_rows["validation"] > 0


def test_the_same_seed_gives_the_same_report(shop_db):
    first = shop_of(shop_db).baseline()
    again = shop_of(shop_db).baseline()
    assert first.replace(seconds=0.0) == again.replace(seconds=0.0)


def test_a_report_is_its_json_and_can_be_read(shop_db):
    report = shop_of(shop_db, tables=("customers", "transactions")).baseline()
    assert BaselineReport.from_json(report.to_json()) == report
    text = str(report)
    assert "LightGBM on automatic aggregates" in text
    assert f"{report.validation:.4f}" in text
    assert report.features[0].name in text


@pytest.mark.parametrize(
    ("leak", "current_time", "is_seen"),
    [
        (timedelta(microseconds=1), True, False),
        (timedelta(0), False, False),
        (timedelta(0), True, True),
    ],
    ids=["one microsecond after t", "at t, which < hides", "at t, which <= shows"],
)
def test_a_row_beyond_the_bound_says_nothing(tmp_path, leak, current_time, is_seen):
    path = make_shop(leak=leak).write_duckdb(tmp_path / "shop.duckdb")
    dataset = shop_of(path, tables=("customers", "transactions"), current_time=current_time)
    test = dataset.baseline().test
    assert test is not None
    assert test > 0.95 if is_seen else abs(test - 0.5) < 0.12


def test_text_needs_no_embedder_unless_one_is_named(shop_db):
    # "articles" brings text; the default of TrainerConfig is not on this machine.
    report = shop_of(shop_db, tables=TABLES).baseline()
    assert report.num_candidates > 0
    with pytest.raises(MissingModelError):
        shop_of(shop_db, tables=TABLES).baseline(text_embedder="model2vec-potion-base-2M")


def test_many_features_are_screened(shop_db, monkeypatch):
    monkeypatch.setattr(node, "MAX_FEATURES", 25)
    report = shop_of(shop_db).baseline()
    assert report.num_features <= 25 < report.num_candidates
    assert report.validation > 0.75


@pytest.mark.parametrize("seed", [-1, "a", 1.5, True])
def test_a_seed_that_is_none_is_refused_before_anything_is_read(tmp_path, seed):
    dataset = shop_of(make_shop(num_customers=50).write_duckdb(tmp_path / "shop.duckdb"))
    (tmp_path / "shop.duckdb").unlink()
    with pytest.raises(ValidationError, match=f"seed must be 0 or more, a number, not {seed!r}"):
        dataset.baseline(seed=seed)


def test_names_with_square_brackets_are_shown_whole():
    report = BaselineReport(
        dataset="shop/regression/spend",
        task_type=TaskType.REGRESSION,
        metric=EvaluationMetric(name="mae"),
        validation=1.0,
        test=None,
        methods=(),
        num_rows={},
        features=(FeatureShare(name="customers.size [cm]", share=1.0),),
        seconds=0.0,
    )
    assert "customers.size [cm]" in str(report)


def test_validation_labels_of_one_class_are_refused_before_the_graph_is_built(tmp_path):
    path = make_shop(num_customers=100).write_duckdb(tmp_path / "shop.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE churn_validation SET label = 1")
    stages: list[str] = []
    with pytest.raises(DataError, match="validation table has one class only, 1"):
        shop_of(path).baseline(on_progress=lambda stage, done, of: stages.append(stage))
    assert not stages


def test_a_split_that_is_missing_is_named_first(shop_db):
    with pytest.raises(ValidationError, match="no validation table"):
        shop_of(shop_db, splits=("train", "test")).baseline()


def test_a_missing_lightgbm_is_named_before_anything_is_read(shop_db, monkeypatch):
    dataset = shop_of(shop_db)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingModelError, match=r"pip install 'gnn-rle\[baseline\]'"):
        dataset.baseline()


def test_the_command_prints_tables_or_json(shop_db, tmp_path):
    dataset = shop_of(shop_db, tables=("customers", "transactions"))
    file = str(dataset.save(tmp_path / "shop.yaml"))
    shown = CliRunner().invoke(app, ["baseline", file])
    assert shown.exit_code == 0, shown.output
    assert "Most important features" in shown.output
    printed = CliRunner().invoke(app, ["baseline", file, "--json"])
    assert json.loads(printed.stdout)["validation"] == dataset.baseline().validation


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    failed = CliRunner().invoke(app, ["baseline", str(tmp_path / "none.yaml")])
    assert failed.exit_code == 2
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("metric", "model", "baseline", "says"),
    [
        ("roc_auc", 0.8, 0.7, "The GNN beats the baseline by 0.1000"),
        ("roc_auc", 0.7, 0.8, "The baseline beats the GNN by 0.1000"),
        ("mae", 5.0, 6.0, "The GNN beats the baseline by 1.0000"),
        ("mae", 6.0, 5.0, "The baseline beats the GNN by 1.0000"),
        ("mae", 5.0, 5.0, "level"),
    ],
)
def test_the_verdict_names_the_winner_and_by_how_much(metric, model, baseline, says):
    assert says in verdict(EvaluationMetric(name=metric), model=model, baseline=baseline)


def _rows(task_type, num=300, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, 4)).astype(np.float32)
    signal = features[:, :3]
    if task_type is TaskType.REGRESSION:
        return Rows(features, signal[:, 0] * 10 + 50)
    if task_type is TaskType.BINARY_CLASSIFICATION:
        return Rows(features, (signal[:, 0] > 0).astype(np.float32))
    if task_type is TaskType.MULTICLASS_CLASSIFICATION:
        return Rows(features, signal.argmax(axis=1))
    return Rows(features, (signal > 0).astype(np.float32))


NODE_TASKS = [t for t in TaskType if not t.is_link]


@pytest.mark.parametrize("task_type", NODE_TASKS)
def test_trees_predict_the_same_bits_after_saving(tmp_path, task_type):
    aim = Aim(task_type, EvaluationMetric.default_for(task_type), 3, seed=0)
    fitted, chosen = _rows(task_type), _rows(task_type, seed=1)
    boosted = train(aim, fitted, chosen, categories=[], max_rounds=20)
    boosted.save(tmp_path)
    loaded = Boosted.load(tmp_path, task_type=task_type, num_models=len(boosted.boosters))
    before, after = boosted.predict(chosen.features), loaded.predict(chosen.features)
    np.testing.assert_array_equal(before, after)
    assert before.shape == (300, 3 if task_type in NODE_TASKS[2:] else 1)


@pytest.mark.parametrize("task_type", NODE_TASKS)
def test_trees_can_begin_with_given_scores(task_type):
    """A start that is right already is not made worse, and counts in what is predicted."""
    aim = Aim(task_type, EvaluationMetric.default_for(task_type), 3, seed=0)
    fitted, chosen = _rows(task_type), _rows(task_type, seed=1)

    def started(rows):
        labels = np.asarray(rows.labels)
        if task_type is TaskType.REGRESSION:
            start = labels.reshape(-1, 1)
        elif task_type is TaskType.MULTICLASS_CLASSIFICATION:
            start = np.eye(3)[labels] * 20
        else:
            start = (labels.reshape(len(labels), -1) - 0.5) * 40
        return Rows(np.zeros_like(rows.features), rows.labels, start.astype(np.float32))

    fitted, chosen = started(fitted), started(chosen)
    boosted = train(aim, fitted, chosen, categories=[], max_rounds=5)
    np.testing.assert_allclose(
        boosted.predict(chosen.features, chosen.start),
        as_scores(chosen.start, task_type),
        atol=0.02,
        rtol=1e-4,
    )


def test_trivial_scores_fit_the_metric():
    labels = np.array([0.0, 0.0, 9.0], np.float32)
    regression = TaskType.REGRESSION
    options = {"num_rows": 2, "num_classes": 0}
    by_mae = trivial_scores(regression, EvaluationMetric(name="mae"), labels, **options)
    by_rmse = trivial_scores(regression, EvaluationMetric(name="rmse"), labels, **options)
    np.testing.assert_array_equal(by_mae, np.zeros((2, 1)))
    np.testing.assert_array_equal(by_rmse, np.full((2, 1), 3.0))
