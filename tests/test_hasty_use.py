"""What a user in a hurry gets wrong between training and predicting is said before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rle import EvaluationMetric, TaskType
from rle.errors import ValidationError
from rle.pipeline import fit, fit_predict, predict
from rle.runs.events import StatusEvent, WarningEvent
from tests.small_db import SmallDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from rle.pipeline import FitPredictResult

pytestmark = pytest.mark.usefixtures("mlflow_there")

TWO_ORDERS = """
ALTER TABLE orders ADD COLUMN weight DOUBLE;
UPDATE orders SET weight = order_id * 100;
CREATE TABLE shuffled AS SELECT weight, ordered_at, channel, amount, customer_id, order_id
  FROM orders;
CREATE TABLE wider AS SELECT *, 1.5 AS tax FROM orders;
CREATE TABLE narrower AS SELECT * EXCLUDE weight FROM orders;
CREATE TABLE texts AS SELECT * REPLACE (weight::VARCHAR AS weight) FROM orders;
CREATE TABLE churn_unlabelled AS SELECT * EXCLUDE label FROM churn_test;
CREATE TABLE churn_mixed AS SELECT * REPLACE (
  CASE customer_id % 3 WHEN 0 THEN NULL WHEN 1 THEN 9 ELSE label END AS label) FROM churn_test;
CREATE TABLE churn_other AS SELECT * REPLACE (label + 5 AS label) FROM churn_test;
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hasty")


@pytest.fixture(autouse=True)
def _home_of_all(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLE_HOME", str(shared / "home"))


@pytest.fixture
def db(shared: Path) -> SmallDatabase:
    there = SmallDatabase(shared / "small.duckdb")
    return there if there.path.exists() else SmallDatabase.create(shared, TWO_ORDERS)


TRAINED: dict[Path, FitPredictResult] = {}


@pytest.fixture
def trained(db: SmallDatabase) -> FitPredictResult:
    if db.path not in TRAINED:
        where = {"output_alias": "trained", "output_config": db.output}
        TRAINED[db.path] = fit_predict(db.dataset(), db.config(), **where)
    return TRAINED[db.path]


def ask(db: SmallDatabase, trained: FitPredictResult, dataset, alias: str = "again", **given):
    where = {"output_alias": alias, "output_config": db.output} | given
    return predict(dataset, model_run_id=trained.fit.model_run_id, **where)


def sources(test: str) -> dict[str, str]:
    return {
        "train": "small.main.churn_train",
        "validation": "small.main.churn_validation",
        "test": f"small.main.{test}",
    }


def test_columns_in_another_order_predict_the_same(db, trained):
    dataset = db.dataset(db.orders(source="small.main.shuffled"), db.customers())
    ask(db, trained, dataset, alias="shuffled")
    rows = [db.query(f"FROM PREDICTIONS_{alias} ORDER BY ALL") for alias in ("TRAINED", "SHUFFLED")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("wider", "column 'tax' of table 'orders' is new"),
        ("narrower", "column 'weight' of table 'orders' is gone"),
        ("texts", "column 'weight' of table 'orders' was float and is category"),
    ],
)
def test_other_columns_than_in_training_are_named(db, trained, source, words):
    dataset = db.dataset(db.customers(), db.orders(source=f"small.main.{source}"))
    with pytest.raises(ValidationError, match=words):
        ask(db, trained, dataset)


def test_a_time_or_a_link_that_is_not_as_in_training_is_named(db, trained):
    with pytest.raises(ValidationError, match="time_column of table 'customers' was joined_at"):
        ask(db, trained, db.dataset(db.customers(time_column=None), db.orders()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_type": TaskType.REGRESSION}, "task_type of the task was binary_classification"),
        ({"current_time": False}, "current_time of the task was True and is False"),
    ],
)
def test_another_task_than_in_training_is_named(db, trained, changes, words):
    task = db.task(task_data_source={"test": "small.main.churn_unlabelled"}, **changes)
    with pytest.raises(ValidationError, match=words):
        ask(db, trained, db.dataset(task=task))


def test_another_entity_than_in_training_is_named(db, trained):
    task = db.task(source_entity_table="orders")
    with pytest.raises(
        ValidationError, match=r"customers.customer_id'\] and is \['orders.order_id"
    ):
        ask(db, trained, db.dataset(task=task))


def told(events: list[object]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, WarningEvent))


def test_test_rows_without_a_usable_label_are_predicted_but_not_measured(db, trained):
    # Every third label is missing and every third is of a class that training never saw.
    dataset = db.dataset(task=db.task(task_data_source=sources("churn_mixed")))
    events: list[object] = []
    found = ask(db, trained, dataset, "mixed", compute_test_metrics=True, on_event=events.append)
    assert "40 of 60 test rows are predicted but left out of the metrics" in told(events)
    assert "20 without a label and 20 with a class that no training row has, such as 9" in (
        told(events)
    )
    columns = "FROM PREDICTIONS_{} ORDER BY customer_id"
    assert db.query(columns.format("mixed")) == db.query(columns.format("trained"))
    # The metrics are those of the other rows.
    rows = db.query(
        "SELECT PROBABILITY_1, label FROM PREDICTIONS_MIXED p JOIN churn_test t "
        "USING (customer_id) WHERE customer_id % 3 = 2"
    )
    pairs = [(a > b) + (a == b) / 2 for a, la in rows for b, lb in rows if la and not lb]
    assert found.test_metrics["roc_auc"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    hits = sum((probability > 0.5) == label for probability, label in rows)
    assert found.test_metrics["accuracy"] == pytest.approx(hits / 20)


def test_a_test_table_of_which_nothing_can_be_measured_is_predicted(db, trained):
    dataset = db.dataset(task=db.task(task_data_source=sources("churn_other")))
    events: list[object] = []
    found = ask(db, trained, dataset, "other", compute_test_metrics=True, on_event=events.append)
    assert (found.num_rows, found.test_metrics) == (60, {})
    assert "60 of 60 test rows are predicted but left out of the metrics" in told(events)


def test_training_with_a_partly_labelled_test_table_goes_on(db):
    dataset = db.dataset(task=db.task(task_data_source=sources("churn_mixed")))
    where = {"output_alias": "goes_on", "output_config": db.output}
    assert fit_predict(dataset, db.config(), **where).prediction.num_rows == 60


def test_a_batch_size_of_none_is_found_before_training(db, trained):
    events: list[object] = []
    where = {"output_alias": "never", "output_config": db.output, "test_batch_size": 0}
    with pytest.raises(ValidationError, match=r"test_batch_size.*0"):
        fit_predict(db.dataset(), db.config(), on_event=events.append, **where)
    with pytest.raises(ValidationError, match="test_batch_size"):
        ask(db, trained, db.dataset(), test_batch_size=0)
    assert not events


def test_arguments_of_another_kind_are_named(db):
    dataset, config = db.dataset(), db.config()
    with pytest.raises(ValidationError, match=r"dataset must be an rle.Dataset, not TrainerConfig"):
        fit(config, dataset)
    with pytest.raises(ValidationError, match="config must be a TrainerConfig, not dict"):
        fit(dataset, {"n_epochs": 1})
    with pytest.raises(ValidationError, match=r"output_config.*OutputConfig"):
        fit_predict(dataset, config, output_alias="never", output_config=None)
    with pytest.raises(ValidationError, match="evaluation_metric must be an EvaluationMetric"):
        db.task(evaluation_metric="roc_auc")
    with pytest.raises(ValidationError, match="task_data_source must say which table"):
        db.task(task_data_source="small.main.churn_train")


def test_warnings_are_printed_where_nobody_listens(db, capsys):
    task = db.task(
        target_column="customer_id",
        source_entity_column="label",
        task_type=TaskType.REGRESSION,
        evaluation_metric=EvaluationMetric(name="mae"),
    )
    dataset = db.dataset(task=task)
    capsys.readouterr()
    fit(dataset, db.config(max_iters=1, clamp_max=10.0))
    assert "warning: training labels lie between 0 and 59" in capsys.readouterr().out
    heard: list[object] = []
    fit(dataset, db.config(max_iters=1, clamp_max=10.0), on_event=heard.append)
    assert any(isinstance(event, StatusEvent) for event in heard)
    assert "warning" not in capsys.readouterr().out
