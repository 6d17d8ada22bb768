"""Settings do end to end what they say: windows, clamps, class weights; keys, edges and texts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rle import CandidateKey, ForeignKey, GNNTable, TaskType
from rle.errors import DataError, MissingModelError, UnknownNameError, ValidationError
from rle.inference.model_folder import load_manifest
from rle.pipeline import fit, fit_predict, predict
from rle.runs.events import ProgressEvent, WarningEvent
from rle.runs.folders import home
from tests.small_db import SmallDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from rle import Dataset
    from rle.runs.events import AnyEvent

pytestmark = pytest.mark.usefixtures("mlflow_there")

MORE = """
CREATE TABLE old_orders_changed AS SELECT * REPLACE (
    CASE WHEN ordered_at <= TIMESTAMP '2021-01-16' THEN amount * 7 + order_id ELSE amount END
    AS amount) FROM orders;
CREATE TABLE spend_train AS SELECT customer_id, "at", customer_id * 5.0 AS label FROM churn_train;
CREATE TABLE spend_validation AS SELECT customer_id, "at", customer_id * 5.0 AS label
  FROM churn_validation;
CREATE TABLE spend_test AS SELECT customer_id, "at", customer_id * 5.0 AS label FROM churn_test;
CREATE TABLE rare_train AS SELECT customer_id, "at", CASE WHEN customer_id < 2 THEN 'yes' ELSE 'no'
  END AS label FROM churn_train;
CREATE TABLE rare_validation AS SELECT customer_id, "at", CASE WHEN customer_id < 9 THEN 'yes' ELSE
  'no' END AS label FROM churn_validation;
CREATE TABLE rare_new AS SELECT customer_id, "at", CASE WHEN customer_id < 9 THEN 'maybe' ELSE
  'no' END AS label FROM churn_validation;
CREATE TABLE by_code_train AS SELECT 'C' || customer_id AS code, "at", label FROM churn_train;
CREATE TABLE by_code_validation AS SELECT 'C' || customer_id AS code, "at", label
  FROM churn_validation;
CREATE TABLE by_code_test AS SELECT 'C' || customer_id AS code, "at", label FROM churn_test;
CREATE TABLE friends AS SELECT i AS who, (i * 7) % 60 AS whom FROM range(60) r(i);
CREATE TABLE coded AS SELECT *, 'C' || customer_id AS code, 'a red dog ' || (customer_id % 5)
  AS about, CAST(customer_id % 4 AS VARCHAR) AS grade FROM customers;
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("knobs")


@pytest.fixture(autouse=True)
def _home_of_all(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLE_HOME", str(shared / "home"))


@pytest.fixture
def db(shared: Path) -> SmallDatabase:
    there = SmallDatabase(shared / "small.duckdb")
    return there if there.path.exists() else SmallDatabase.create(shared, MORE)


@pytest.fixture(scope="module")
def model_folder(shared: Path) -> str:
    """A text model of five words as a user may have it in a folder."""
    model2vec, tokenizers = pytest.importorskip("model2vec"), pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "red": 1, "dog": 2, "1": 3, "2": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table = np.eye(5, 4, dtype=np.float32)
    folder = shared / "words"
    if not folder.exists():
        model2vec.StaticModel(table, tokenizer=tokenizer, normalize=False).save_pretrained(
            str(folder)
        )
    return str(folder)


def task(db: SmallDatabase, name: str, task_type: TaskType, **sources: str):
    given = {split: f"small.main.{name}_{split}" for split in ("train", "validation")} | sources
    return db.task(name=name, task_type=task_type, task_data_source=given)


def warnings_of(events: list[AnyEvent]) -> list[str]:
    return [event.message for event in events if isinstance(event, WarningEvent)]


def train_and_predict(
    db: SmallDatabase, dataset: Dataset, alias: str, **config: Any
) -> tuple[Any, list[tuple[Any, ...]]]:
    result = fit_predict(dataset, db.config(**config), output_alias=alias, output_config=db.output)
    return result, db.query(f"FROM PREDICTIONS_{alias} ORDER BY ALL")


@pytest.mark.parametrize(("window", "is_hidden"), [(timedelta(days=10), True), (None, False)])
def test_what_is_older_than_the_window_says_nothing(db, window, is_hidden):
    # The test rows are of 26 January, so what was ordered up to the 16th is ten days old.
    alias = "window" if is_hidden else "all"
    result, before = train_and_predict(db, db.dataset(), alias, time_window=window)
    changed = db.dataset(db.customers(), db.orders(source="small.main.old_orders_changed"))
    run_id = result.fit.model_run_id
    where = {"output_alias": f"{alias}_changed", "output_config": db.output}
    predict(changed, model_run_id=run_id, **where)
    after = db.query(f"FROM PREDICTIONS_{alias}_changed ORDER BY ALL")
    assert (before == after) == is_hidden


def test_a_window_without_any_time_is_refused_before_anything_runs(db):
    tables = [db.customers(time_column=None), db.orders(time_column=None)]
    dataset = db.dataset(*tables, task=db.task(time_column=None))
    with pytest.raises(ValidationError, match="no table of dataset 'small' has a time column"):
        fit(dataset, db.config(time_window="P1D"))


def test_an_automatic_clamp_is_learnt_from_training_labels_told_and_kept(db):
    spend = task(db, "spend", TaskType.REGRESSION, test="small.main.spend_test")
    events: list[AnyEvent] = []
    result = fit_predict(
        db.dataset(task=spend),
        db.config(clamp="auto", lr=1.0),  # so that predictions fly off
        output_alias="clamped",
        output_config=db.output,
        on_event=events.append,
    )
    # Labels are 0, 5, .. 295, so the percentiles are 2 % and 98 % of 295.
    model = load_manifest(result.fit.model_folder).model
    assert (model.clamp_min, model.clamp_max) == pytest.approx((5.9, 289.1))
    assert any("clamped to 5.9 .. 289.1" in message for message in warnings_of(events))
    ((low, high),) = db.query("SELECT min(prediction), max(prediction) FROM PREDICTIONS_CLAMPED")
    assert low >= 5.9 - 1e-4
    assert high <= 289.1 + 1e-4


def curve(db: SmallDatabase, dataset: Dataset, **config: Any) -> tuple[list[float], list[str]]:
    events: list[AnyEvent] = []
    result = fit(dataset, db.config(n_epochs=2, **config), on_event=events.append)
    losses = [e.loss for e in events if isinstance(e, ProgressEvent) and e.stage == "train"]
    return [*losses, result.validation_loss], warnings_of(events)


def test_weights_of_one_change_not_a_bit_and_others_change_the_training_loss(db):
    dataset = db.dataset(task=task(db, "rare", TaskType.BINARY_CLASSIFICATION))
    plain, told = curve(db, dataset)
    ones, _ = curve(db, dataset, class_weights={"yes": 1, "no": 1.0})
    balanced, silent = curve(db, dataset, class_weights="balanced")
    assert ones == plain
    assert balanced[0] != plain[0]
    # The first step starts from the same weights; no rows of it are 'yes', or they count more.
    (said,) = [message for message in told if "uneven" in message]
    assert "'yes' is the label of 2 (3.33%)" in said
    assert "class_weights='balanced'" in said
    assert not any("class_weights" in message for message in silent)


def test_a_weight_for_an_unknown_class_is_found_before_anything_runs(db):
    dataset = db.dataset(task=task(db, "rare", TaskType.BINARY_CLASSIFICATION))
    events: list[AnyEvent] = []
    with pytest.raises(UnknownNameError, match="Did you mean 'yes'"):
        fit(dataset, db.config(class_weights={"yess": 2}), on_event=events.append)
    spend = db.dataset(task=task(db, "spend", TaskType.REGRESSION))
    with pytest.raises(ValidationError, match="regression task has no classes"):
        fit(spend, db.config(class_weights="balanced"), on_event=events.append)
    assert not events


def test_a_class_that_only_validation_has_is_named_with_its_rows(db):
    rare = task(db, "rare", TaskType.BINARY_CLASSIFICATION, validation="small.main.rare_new")
    with pytest.raises(DataError) as caught:
        fit(db.dataset(task=rare), db.config())
    text = str(caught.value)
    assert "(validation)' holds 'maybe' (9 times) in its 60 rows" in text
    assert "Add training rows of it, or leave these rows out" in text


# Keys, edges, dtypes and texts


def coded_customers(db: SmallDatabase, **changes: Any) -> GNNTable:
    given = {
        "source": "small.main.coded",
        "candidate_keys": [CandidateKey("code", is_feature=True)],
        "column_dtypes": {"grade": "float", "about": "text"},
    }
    return db.customers(**given | changes)


def friends(db: SmallDatabase, key: str = "customer_id") -> GNNTable:
    return GNNTable(
        db.connector,
        "friends",
        "small.main.friends",
        foreign_keys=[
            ForeignKey("who", f"customers.{key}"),
            ForeignKey("whom", f"customers.{key}"),
        ],
        type="edge",
    )


@pytest.mark.parametrize("by", ["name", "path"])
def test_edges_keys_as_features_dtypes_and_texts_train_and_predict(db, model_folder, by):
    embedder = "glove-6b-50d" if by == "name" else model_folder
    orders = db.orders(
        foreign_keys=[ForeignKey("customer_id", "customers.customer_id", is_feature=True)]
    )
    dataset = db.dataset(coded_customers(db), orders, friends(db))
    result, rows = train_and_predict(db, dataset, f"odd_{by}", text_embedder=embedder)
    graph = load_manifest(result.fit.model_folder).model.graph
    layout = graph.table("customers")
    assert "grade" in layout.number_columns  # text in the table
    assert dict(layout.vector_columns) == dict.fromkeys(
        ("code", "about"), 50 if by == "name" else 4
    )
    assert "customer_id" in graph.table("orders").number_columns
    assert {r.link for r in graph.relations} == {
        "orders.customer_id",
        "friends.who",
        "friends.whom",
    }
    assert "friends" not in {table.name for table in graph.tables}
    assert len(rows) == 60
    assert all(row[-1] is not None for row in rows)


def test_a_task_may_name_its_entities_by_another_candidate_key(db):
    sources = {s: f"small.main.by_code_{s}" for s in ("train", "validation", "test")}
    by_code = db.task(
        source_entity_column=ForeignKey("code", "customers.code"),
        source_entity_table=None,
        task_data_source=sources,
    )
    customers = coded_customers(
        db, candidate_keys=[CandidateKey("code")], column_dtypes={"about": "category"}
    )
    _, rows = train_and_predict(db, db.dataset(customers, db.orders(), task=by_code), "by_code")
    assert sorted(row[0] for row in rows) == sorted(f"C{i}" for i in range(60))
    assert all(row[-1] is not None for row in rows)


def test_a_missing_embedder_is_found_before_anything_runs(db):
    dataset = db.dataset(coded_customers(db), db.orders())
    events: list[AnyEvent] = []
    with pytest.raises(MissingModelError, match="nowhere"):
        fit(dataset, db.config(text_embedder=str(home() / "nowhere")), on_event=events.append)
    assert not events


@pytest.mark.ray
def test_edges_keys_as_features_and_texts_are_the_same_on_two_workers(ray_local, db, model_folder):
    orders = db.orders(
        foreign_keys=[ForeignKey("customer_id", "customers.customer_id", is_feature=True)]
    )
    dataset = db.dataset(coded_customers(db), orders, friends(db))
    alone, alone_told = curve(db, dataset, text_embedder=model_folder, class_weights="balanced")
    together, told = curve(
        db, dataset, text_embedder=model_folder, class_weights="balanced", num_workers=2
    )
    assert together == pytest.approx(alone, rel=1e-4)
    assert set(told) == set(alone_told)
