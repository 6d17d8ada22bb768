"""Tables written to the stand-in for Snowflake: whole or not at all, whatever happens."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from rle.connectors.snowflake import leftovers
from rle.connectors.snowflake import write as writing
from rle.connectors.snowflake.session import Session, session
from rle.errors import (
    ConnectionError,
    DataError,
    OutputExistsError,
    PermissionError,
    StorageError,
    UnknownNameError,
)
from tests.connectors.warehouse import numbers
from tests.snowflake.output_place import PLAIN, fail_once


def test_exact_types_and_values_come_out(place):
    moment = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
    rows = pa.table(
        {
            "K": pa.array([2**62, None], pa.int64()),
            "PREDICTION": pa.array([float("nan"), float("-inf")], pa.float64()),
            'odd "name".x': pa.array(["日本 'x'", None]),
            "FLAG": pa.array([True, None]),
            "AT": pa.array([dt.datetime(9999, 12, 31, 23, 59), None], pa.timestamp("us")),
            "ZONED": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "DAY": pa.array([dt.date(1, 1, 1), None]),
            "ITEMS": pa.array([["a", None], None], pa.list_(pa.string())),
            "EMBEDDING": pa.array([[0.5, 1.0], None], pa.list_(pa.float32(), 2)),
        }
    )
    assert place.connector.write(place.name("P"), rows.to_batches(), schema=rows.schema) == 2
    with session(place.connector) as opened:
        described = opened.rows(f"DESCRIBE TABLE {place.name('P')}")
    assert [(row["name"], row["type"]) for row in described][:5] == [
        ("K", "NUMBER(19,0)"),
        ("PREDICTION", "FLOAT"),
        ('odd "name".x', "VARCHAR(16777216)"),
        ("FLAG", "BOOLEAN"),
        ("AT", "TIMESTAMP_NTZ(6)"),
    ]
    assert described[5]["type"].startswith("TIMESTAMP_LTZ")
    assert described[8]["type"] == "VECTOR(FLOAT, 2)"
    source = place.name("P")
    (chunk,) = place.connector.chunks(source, columns=rows.column_names)
    back = pa.Table.from_batches(list(place.connector.read(chunk)))
    first = sorted(back.to_pylist(), key=lambda row: row["K"] is None)
    assert repr(first[0]["PREDICTION"]) == "nan"
    for column in set(rows.column_names) - {"PREDICTION"}:
        assert [row[column] for row in first] == rows[column].to_pylist()


def test_a_place_that_is_not_there_is_told_with_its_neighbours(place):
    with pytest.raises(UnknownNameError, match="Did you mean 'SHOP'"):
        place.connector.can_create("SHOPP.OUT.P")
    with pytest.raises(UnknownNameError, match=r"GRANT CREATE TABLE ON SCHEMA"):
        place.connector.can_create("SHOP.NOWHERE_AT_ALL.P")


def test_a_schema_without_create_table_is_found_before_any_row(place):
    place.server.revoke("CREATE TABLE", "SCHEMA", f"SHOP.{place.schema}")
    wanted = f'GRANT CREATE TABLE ON SCHEMA "SHOP"."{place.schema}" TO ROLE "TRAINER";'

    def never():
        raise AssertionError
        yield

    with pytest.raises(PermissionError) as caught:
        place.connector.write(place.name("P"), never(), schema=PLAIN)
    assert wanted in str(caught.value)
    with pytest.raises(PermissionError, match="may not create tables"):
        place.connector.can_create(place.name("P"))


def test_a_grant_that_only_the_write_misses_is_named_in_full(place):
    # PUBLIC holds it as far as the grants tell, and the role that signs in does not.
    place.server.revoke("CREATE TABLE", "SCHEMA", f"SHOP.{place.schema}", role="TRAINER")
    place.connector.can_create(place.name("P"))
    wanted = rf"GRANT CREATE TABLE ON SCHEMA SHOP\.{place.schema} TO ROLE TRAINER;"
    with pytest.raises(PermissionError, match=wanted):
        place.write("P")
    assert not place.tables()


def test_a_table_of_somebody_else_is_neither_taken_nor_replaced(place):
    place.write("P")
    place.server.revoke("OWNERSHIP", "TABLE", place.name("P"))
    with pytest.raises(OutputExistsError):
        place.connector.can_create(place.name("P"))
    with pytest.raises(PermissionError, match="owned by role"):
        place.connector.can_create(place.name("P"), replace=True)


def test_a_view_is_not_replaced(place):
    with session(place.connector) as opened:
        opened.execute(f"CREATE VIEW {place.name('P')} AS SELECT 1 AS ID")
    with pytest.raises(OutputExistsError, match="is a view"):
        place.connector.can_create(place.name("P"), replace=True)


def test_a_table_that_keeps_itself_up_to_date_is_not_replaced(place, monkeypatch):
    place.write("P")
    real = Session.rows

    def dynamic(self, sql, params=()):
        flag = {"is_dynamic": "Y"} if sql.startswith("SHOW OBJECTS") else {}
        return [row | flag for row in real(self, sql, params)]

    monkeypatch.setattr(Session, "rows", dynamic)
    with pytest.raises(OutputExistsError, match="is a dynamic table"):
        place.connector.can_create(place.name("P"), replace=True)


def test_rows_that_contradict_the_vector_leave_nothing(place):
    schema = pa.schema([("V", pa.list_(pa.float32(), 2))])
    batch = pa.RecordBatch.from_pydict({"V": [[1.0, float("nan")]]}, schema=schema)
    with pytest.raises(DataError, match="'V'"):
        place.connector.write(place.name("P"), [batch], schema=schema)
    assert place.tables() == set()


def test_a_full_disk_leaves_nothing(place, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(StorageError, match=r"No space left.*TMPDIR"):
        place.write("P")
    assert place.tables() == set()


@pytest.mark.parametrize(
    "what", ["CREATE OR REPLACE TABLE", "PUT ", "COPY INTO", "COUNT(", "RENAME TO"]
)
def test_a_cut_in_the_network_is_made_good_without_a_row_twice(place, what, monkeypatch):
    fail_once(monkeypatch, what)
    place.write("A", "P", num_rows=1000)
    assert [len(place.rows(table)) for table in ("A", "P")] == [1000, 1000]
    assert place.tables() == {"A", "P"}


@pytest.mark.parametrize("what", ["COPY INTO", "RENAME TO"])
def test_an_answer_that_is_lost_is_no_second_try(place, what, monkeypatch):
    fail_once(monkeypatch, what, after=True)
    place.write("A", "P", num_rows=1000)
    assert [len(place.rows(table)) for table in ("A", "P")] == [1000, 1000]
    assert place.tables() == {"A", "P"}


@pytest.mark.parametrize("is_done", [False, True])
def test_an_exchange_that_the_network_breaks_takes_place_once(place, is_done, monkeypatch):
    place.write("P", num_rows=3)
    fail_once(monkeypatch, "SWAP WITH", after=is_done)
    place.write("P", num_rows=8, replacing=[place.name("P")])
    assert len(place.rows("P")) == 8
    assert place.tables() == {"P"}


def test_a_network_that_stays_away_changes_nothing(place, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    fail_once(monkeypatch, "COPY INTO", times=99)
    with pytest.raises(ConnectionError, match="cut"):
        place.write("P")
    assert caplog.text.count("is tried again") == writing.ATTEMPTS - 1
    assert place.tables() == set()


@pytest.mark.parametrize("old", [None, 3])
def test_ctrl_c_at_any_step_changes_nothing(place, old, monkeypatch):
    names = ("A", "B", "P")
    replacing = [place.name(name) for name in names] if old else []
    if old:
        place.write(*names, num_rows=old)
    for step in itertools.count():
        with monkeypatch.context() as patch:
            calls = interrupt_at(step, patch)
            try:
                place.write(*names, num_rows=8, replacing=replacing)
            except KeyboardInterrupt:
                assert place.tables() == (set(names) if old else set())
                assert [len(place.rows(name)) for name in place.tables()] == [old] * len(
                    place.tables()
                )
                continue
        assert next(calls) == step  # there is no further one
        break
    assert step >= (6 if old else 3)
    assert [len(place.rows(name)) for name in names] == [8, 8, 8]
    assert place.tables() == set(names)


def test_without_create_stage_the_users_own_stage_serves(place, tmp_path):
    place.server.revoke("CREATE STAGE", "SCHEMA", f"SHOP.{place.schema}")
    fresh = leftovers.mark("ANNA")
    stale = "_".join([*fresh.split("_")[:3], "20200101000000", "AB"])
    file = tmp_path / "0_00000.parquet"
    file.write_bytes(b"left over")
    with session(place.connector) as opened:
        for mark in (fresh, stale):
            opened.put(file, f"~/{mark}/0/")
        place.write("P", num_rows=10)
        left = [row["name"] for row in opened.rows("LIST @~")]
        opened.execute("REMOVE @~/")
    assert len(place.rows("P")) == 10
    assert len(left) == 1
    assert fresh in left[0]


def test_a_cut_while_a_file_is_sent_is_made_good(place):
    place.server.fault("/stages", "drop", times=1)
    place.write("P", num_rows=1000)
    assert len(place.rows("P")) == 1000
    assert place.server.state()["faults"] == 0


def test_leftovers_of_a_killed_process_are_known_by_user_and_age(place):
    user = "ANNA"
    old = leftovers.mark(user).split("_")
    old[3] = "20200101000000"
    stale, fresh = "_".join(old) + "_0", leftovers.mark(user) + "_0"
    other = "_".join([*leftovers.mark("BOB").split("_")[:3], *old[3:]]) + "_0"
    aside = stale.replace("RLE_TMP", "RLE_OLD")
    for name in (stale, fresh, other, aside):
        place.server.put(("SHOP", place.schema, name), numbers(1))
    place.write("P")
    assert place.tables() == {fresh, other, aside, "P"}


def test_sigterm_in_the_middle_leaves_nothing(place, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent(
            """
            import signal, sys
            import pyarrow as pa
            from rle.connectors.snowflake.connector import SnowflakeConnector
            from rle.connectors.snowflake.session import Session

            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            real = Session.execute

            def slow(self, sql, params=()):
                if "COUNT(*)" in sql:
                    signal.raise_signal(signal.SIGTERM)
                return real(self, sql, params)

            Session.execute = slow
            connector = SnowflakeConnector.from_json(sys.argv[1])
            rows = pa.table({"ID": [1, 2]})
            connector.write(sys.argv[2], rows.to_batches(), schema=rows.schema)
            """
        )
    )
    command = [sys.executable, str(script), place.connector.to_json(), place.name("P")]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, timeout=60, check=False)
    assert ended.returncode == 143
    assert place.tables() == set()


def interrupt_at(step, patch):
    """Press Ctrl-C at the renaming number `step`; the odd ones after they took place."""
    real, calls = Session.execute, itertools.count()
    hit = False

    def pressed(self, sql, params=()):
        nonlocal hit
        if hit or " RENAME TO " not in sql or next(calls) != step:
            return real(self, sql, params)
        hit = True
        if step % 2:
            real(self, sql, params)
        raise KeyboardInterrupt

    patch.setattr(Session, "execute", pressed)
    return calls
