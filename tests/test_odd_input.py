"""Odd but legal tables go all the way to predictions; whatever stops a run leaves nothing half."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from rle import CandidateKey, ForeignKey
from rle.errors import StorageError
from rle.pipeline import fit, fit_predict
from rle.runs.events import ProgressEvent, StatusEvent, WarningEvent, read_events
from rle.runs.folders import home
from tests.small_db import SmallDatabase

if TYPE_CHECKING:
    from rle.runs.events import AnyEvent

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("mlflow_there")]

ODD = """
CREATE TABLE "kund""en Ü東" AS SELECT
    customer_id AS "кл ""ю"" x", age AS "select", joined_at AT TIME ZONE 'UTC' AS "wann?",
    CASE customer_id WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity'
                     WHEN 4 THEN NULL ELSE score::VARCHAR END::DOUBLE AS "größe, m²",
    NULL::DOUBLE AS nothing,
    NULL::VARCHAR AS no_text,
    CASE customer_id WHEN 5 THEN DATE '1066-10-14' WHEN 6 THEN DATE '2300-01-01'
                     ELSE DATE '1980-02-03' END AS born,
    CASE customer_id WHEN 7 THEN repeat('ä', 500000) ELSE 'short ' || customer_id % 3 END AS note
  FROM customers;
CREATE TABLE many_orders AS SELECT
    i AS order_id, i % 61 AS customer_id, i % 5 AS amount,
    TIMESTAMP '2020-06-01' + INTERVAL (i) SECOND AS ordered_at
  FROM range(600000) r(i);
DELETE FROM many_orders WHERE order_id BETWEEN 250000 AND 540000;
CREATE TABLE visits AS
    SELECT *, 'a long text' AS note, [amount] AS parts, DATE '2021-01-01' AS day
  FROM orders LIMIT 0;
INSERT INTO churn_test VALUES (9999, TIMESTAMP '2021-01-26', 0), (NULL, TIMESTAMP '2021-01-26', 1);
"""


def odd_dataset(db: SmallDatabase):
    key = 'кл "ю" x'
    customers = db.customers(
        source='small.main."kund""en Ü東"',
        primary_key=None,
        candidate_keys=[CandidateKey(key)],
        time_column="wann?",
    )
    for column in ("nothing", "no_text"):
        assert "NULL only" in customers.left_out[column]
        customers.add_column(column, "float" if column == "nothing" else "category")
    orders = db.orders(
        source="small.main.many_orders",
        foreign_keys=[ForeignKey("customer_id", 'customers."кл ""ю"" x"')],
    )
    visits = db.orders(
        name="visits",
        source="small.main.visits",
        foreign_keys=[ForeignKey("customer_id", 'customers."кл ""ю"" x"')],
    )
    return db.dataset(customers, orders, visits)


def test_odd_names_values_and_holes_go_all_the_way_to_predictions(tmp_path):
    db = SmallDatabase.create(tmp_path, ODD)
    events: list[AnyEvent] = []
    result = fit_predict(
        odd_dataset(db),
        db.config(max_iters=1),
        output_alias="odd",
        output_config=db.output,
        extract_embeddings=True,
        on_event=events.append,
    )
    rows = db.query("SELECT customer_id, PREDICTION FROM PREDICTIONS_ODD")
    asked = db.query("SELECT customer_id FROM churn_test")
    assert [key for key, _ in rows] == [key for (key,) in asked]
    assert {key for key, label in rows if label is None} == {9999, None}
    assert result.prediction.num_unknown == 2
    told = " ".join(event.message for event in events if isinstance(event, WarningEvent))
    assert "customers.born: 2 dates" in told
    assert "customers.größe, m²: 2 infinite" in told
    assert "orders.customer_id" in told  # customer 60 is not there
    assert "visits: there are no rows." in told


def test_two_thousand_columns_go_all_the_way_to_predictions(tmp_path):
    wide = ", ".join(f"(customer_id * {i}) % 17 AS feature_{i}" for i in range(2000))
    db = SmallDatabase.create(tmp_path, f"CREATE TABLE wide AS SELECT *, {wide} FROM customers")
    dataset = db.dataset(db.customers(source="small.main.wide"), db.orders())
    result = fit_predict(
        dataset, db.config(max_iters=1), output_alias="wide", output_config=db.output
    )
    assert result.prediction.num_rows == 60


class Interrupter:
    """Presses Ctrl-C when a stage begins."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.is_done = False

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, ProgressEvent) and event.stage == self.stage and not self.is_done:
            self.is_done = True
            os.kill(os.getpid(), signal.SIGINT)


def last_status() -> str:
    (run,) = (home() / "runs").iterdir()
    events = read_events(run / "events.jsonl")
    return [event.status.value for event in events if isinstance(event, StatusEvent)][-1]


@pytest.fixture
def _heeds_ctrl_c():
    """A shell that starts tests in the background lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
@pytest.mark.parametrize("stage", ["read", "build", "train", "predict"])
def test_ctrl_c_leaves_nothing_half_and_a_second_run_succeeds(tmp_path, stage):
    db = SmallDatabase.create(tmp_path)
    interrupter = Interrupter(stage)
    run = {"output_alias": "may", "output_config": db.output, "extract_embeddings": True}
    with pytest.raises(KeyboardInterrupt):
        fit_predict(db.dataset(), db.config(), on_event=interrupter, **run)
    assert interrupter.is_done
    assert last_status() == "canceled"
    names = {name for (name,) in db.query("SELECT table_name FROM duckdb_tables()")}
    assert not {name for name in names if name.startswith(("PREDICTIONS", "EMBEDDINGS"))}
    is_built = stage in ("train", "predict")
    assert len(list((home() / "snapshots").iterdir())) == is_built
    fit_predict(db.dataset(), db.config(), **run)
    assert db.query("SELECT count(*) FROM PREDICTIONS_MAY") == [(60,)]


def test_full_disk_while_the_graph_is_written(tmp_path):
    fill = ", ".join(f"random() AS feature_{i}" for i in range(40))
    db = SmallDatabase.create(
        tmp_path,
        f"CREATE TABLE many AS SELECT i AS order_id, i % 60 AS customer_id, {fill}, "
        "TIMESTAMP '2021-01-01' + INTERVAL (i) SECOND AS ordered_at FROM range(100000) r(i)",
    )
    dataset = db.dataset(db.customers(), db.orders(source="small.main.many"))
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(event: AnyEvent) -> None:
        if isinstance(event, ProgressEvent) and event.stage == "read":
            # Like a full disk, of which a test cannot have one: larger files fail to be written.
            resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, kept[1]))

    try:
        with pytest.raises(StorageError, match="RLE_HOME"):
            fit(dataset, db.config(max_iters=1), on_event=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert not list((home() / "snapshots").iterdir())
    fit(dataset, db.config(max_iters=1))
