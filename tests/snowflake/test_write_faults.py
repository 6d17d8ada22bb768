"""What goes wrong while tables are written: on the wire, on this machine, and by others' doing."""

from __future__ import annotations

import datetime as dt
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from rle.connectors.snowflake import leftovers, scratch
from rle.connectors.snowflake.errors import explain
from rle.connectors.snowflake.session import Session, session
from rle.errors import ConnectionError, StorageError
from tests.snowflake.output_place import Place
from tests.snowflake.warehouse import connector_to

QUERIES = "/queries/v1/query-request"
STEPS = ["CREATE OR REPLACE TABLE", "PUT ", "COPY INTO", "COUNT(", "RENAME TO", "DROP STAGE"]
VECTORS = pa.schema([("V", pa.list_(pa.float32(), 2))])


@pytest.mark.parametrize("kind", ["http", "drop", "cut"])
@pytest.mark.parametrize("step", STEPS)
def test_a_request_that_fails_is_no_row_more_or_less(place, step, kind):
    place.server.fault(QUERIES, kind, contains=step)
    place.write("A", "P", num_rows=1000)
    assert place.server.state()["faults"] == 0
    assert [len(place.rows(table)) for table in ("A", "P")] == [1000, 1000]
    assert place.tables() == {"A", "P"}


@pytest.mark.parametrize("kind", ["http", "drop", "cut"])
def test_an_exchange_that_fails_takes_place_once(place, kind):
    place.write("P", num_rows=3)
    place.server.fault(QUERIES, kind, contains="SWAP WITH")
    place.write("P", num_rows=8, replacing=[place.name("P")])
    assert place.server.state()["faults"] == 0
    assert len(place.rows("P")) == 8
    assert place.tables() == {"P"}


@pytest.mark.parametrize("kind", ["http", "cut"])
def test_rows_that_take_a_second_step_are_moved_once(place, kind):
    place.server.fault(QUERIES, kind, contains="INSERT INTO")
    batch = pa.RecordBatch.from_pydict({"V": [[0.5, 1.0]] * 50}, schema=VECTORS)
    place.connector.write(place.name("P"), [batch], schema=VECTORS)
    assert place.server.state()["faults"] == 0
    assert len(place.rows("P")) == 50
    assert place.tables() == {"P"}


@pytest.mark.parametrize("status", [500, 503])
def test_a_file_that_is_refused_is_sent_again(place, status):
    place.server.fault("/stages", "http", status=status)
    place.write("P", num_rows=1000)
    assert place.server.state()["faults"] == 0
    assert len(place.rows("P")) == 1000
    assert place.tables() == {"P"}


def test_storage_that_lets_nobody_in_is_told_apart_from_the_account(place):
    place.server.fault("/stages", "http", status=403, times=1000)
    with pytest.raises(ConnectionError, match=r"cloud storage.*SYSTEM\$ALLOWLIST"):
        place.write("P")
    assert place.tables() == set()


@pytest.mark.parametrize("step", ["PUT ", "COPY INTO", "RENAME TO", "SWAP WITH"])
def test_a_server_that_stays_out_of_order_changes_nothing(snowflake_server, place, step):
    brief = Place(snowflake_server, network_timeout_s=1)
    brief.write("P", num_rows=3)
    replacing = [brief.name("P")] if step == "SWAP WITH" else ()
    name = "P" if replacing else "Q"
    place.server.fault(QUERIES, "http", contains=step, times=1000)
    with pytest.raises(ConnectionError):
        brief.write(name, num_rows=8, replacing=replacing)
    assert brief.tables() == {"P"}
    assert len(brief.rows("P")) == 3


def test_what_only_a_person_can_mend_is_not_tried_again(place, monkeypatch):
    sent = []
    real = Session.execute

    def timed_out(self, sql, params=()):
        if sql.startswith("COPY INTO"):
            sent.append(sql)
            error = ConnectionError("reached its timeout")
            error.may_pass = False
            raise error
        return real(self, sql, params)

    monkeypatch.setattr(Session, "execute", timed_out)
    with pytest.raises(ConnectionError, match="timeout"):
        place.write("P")
    assert len(sent) == 1
    assert place.tables() == set()


@pytest.mark.parametrize("refused", ["password", "quota"])
def test_refusals_are_told_from_failures(place, refused):
    place.write("P")
    connector = connector_to(place.server, query_tag=refused)
    if refused == "quota":
        place.server.add_warehouse("WH", quota_is_used=True)
    else:
        place.server.add_user(place.server.user, password="changed")
    with pytest.raises(ConnectionError) as caught, session(connector) as opened:
        opened.execute(f"SELECT * FROM {place.name('P')}")
    assert not caught.value.may_pass
    place.server.add_warehouse("WH", quota_is_used=False)
    place.server.add_user(place.server.user, password=place.server.password)


def test_an_account_that_went_away_is_not_waited_for_table_by_table(place, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    real, dropped = Session.execute, []

    def away(self, sql, params=()):
        if sql.startswith("DROP TABLE"):
            dropped.append(sql)
        if sql.startswith("DROP TABLE") or "COUNT(" in sql:
            raise ConnectionError("the network is down")
        return real(self, sql, params)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "execute", away)
        with pytest.raises(ConnectionError, match="is down"):
            place.write("A", "P")
    assert len(dropped) == 1
    assert all(name in caplog.text for name in place.tables())


def test_several_tables_cost_one_look_at_the_grants(place):
    before = {query["id"] for query in place.server.queries()}
    place.write("A", "B", "P")
    told = [query["sql"] for query in place.server.queries() if query["id"] not in before]
    # Of the role, and of PUBLIC.
    assert sum(sql.startswith("SHOW GRANTS TO ROLE") for sql in told) == 2


def test_a_table_to_be_replaced_may_be_named_in_two_ways(place):
    place.write("A", "P", num_rows=3)
    replacing = [place.name("A"), place.name("P"), place.name("p").lower()]
    place.write("A", "P", num_rows=8, replacing=replacing)
    assert [len(place.rows(name)) for name in ("A", "P")] == [8, 8]


@pytest.mark.parametrize("loss", ["UPDATE {} SET ID = NULL WHERE ID = 3", "DELETE FROM {}"])
@pytest.mark.parametrize("times", [1, 99])
def test_rows_that_got_lost_are_noticed(place, monkeypatch, loss, times):
    real, left = Session.execute, iter([True] * times)

    def lossy(self, sql, params=()):
        found = real(self, sql, params)
        if sql.startswith("COPY INTO") and next(left, False):
            real(self, loss.format(sql.split(" FROM ")[0].removeprefix("COPY INTO ")))
        return found

    monkeypatch.setattr(Session, "execute", lossy)
    if times == 1:
        place.write("P")
        assert len(place.rows("P")) == 5
    else:
        with pytest.raises(ConnectionError, match=r"Snowflake holds \d .* after 5 were sent"):
            place.write("P")
    assert place.tables() == ({"P"} if times == 1 else set())


def test_what_a_killed_process_left_goes_with_the_next_write(place, tmp_path, monkeypatch):
    place.server.revoke("CREATE STAGE", "SCHEMA", f"SHOP.{place.schema}")
    folder = tmp_path / "scratch"
    folder.mkdir()
    ended = run_and_kill(place, ["P"], tmp_path, environment={"TMPDIR": str(folder)})
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(folder.iterdir())) == 1
    assert len(place.tables()) == 1
    with session(place.connector) as opened:
        assert len(opened.rows("LIST @~")) == 1

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    place.write("P", num_rows=2)  # it may still be at work for all that is known
    assert len(place.tables()) == 2
    monkeypatch.setattr(leftovers, "LEFTOVER_AGE", dt.timedelta(seconds=-1))
    monkeypatch.setattr(scratch, "NEWBORN_S", 0.0)
    place.write("Q", num_rows=2)
    assert place.tables() == {"P", "Q"}
    assert list(folder.iterdir()) == []
    with session(place.connector) as opened:
        assert opened.rows("LIST @~") == []


def test_a_process_killed_between_two_names_leaves_no_mixture(place, tmp_path):
    place.write("A", "P", num_rows=3)
    ended = run_and_kill(place, ["A", "P"], tmp_path, at='"A" RENAME TO')
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (old,) = [name for name in place.tables() if name.startswith("RLE_OLD")]
    assert {"A", "P"} & place.tables() == {"A"}
    assert [len(place.rows(name)) for name in ("A", old)] == [3, 3]
    with session(place.connector) as opened:  # as docs/snowflake.md says
        opened.execute(f"ALTER TABLE {place.name(old)} RENAME TO {place.name('P')}")
    assert len(place.rows("P")) == 3


def test_a_folder_in_use_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "NEWBORN_S", 0.0)
    (tmp_path / "rle-snowflake-file").touch()
    with scratch.scratch_folder() as one, scratch.scratch_folder() as two:
        assert one.is_dir()
        assert two.is_dir()
        assert one != two
    assert [path.name for path in tmp_path.iterdir()] == ["rle-snowflake-file"]


def test_no_folder_for_temporary_files(place, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"No such file.*TMPDIR"):
        place.write("P")
    assert place.tables() == set()


def test_a_temporary_folder_that_is_full(place, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    schema = pa.schema([("T", pa.string())])
    texts = (os.urandom(2000).hex() for _ in range(2000))
    batch = pa.RecordBatch.from_pydict({"T": list(texts)}, schema=schema)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(StorageError, match=r"larger disk"):
            place.connector.write(place.name("P"), [batch], schema=schema)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert place.tables() == set()


def test_a_disk_that_fills_up_while_the_driver_packs_a_file():
    said = "253003: While putting file(s) there was an error: '[Errno 28] No space left on device'"
    found = explain(RuntimeError(said), doing="writing tables")
    assert isinstance(found, StorageError)
    assert "TMPDIR" in str(found)


def run_and_kill(place, names, folder, *, at="COUNT(*)", environment=os.environ):
    """Replace tables in another process, which is killed before a statement with this in it."""
    script = folder / "job.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            import pyarrow as pa
            from rle.connectors.base import NewTable
            from rle.connectors.snowflake.connector import SnowflakeConnector
            from rle.connectors.snowflake.session import Session

            real = Session.execute

            def deadly(self, sql, params=()):
                if sys.argv[2] in sql:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(self, sql, params)

            Session.execute = deadly
            connector = SnowflakeConnector.from_json(sys.argv[1])
            rows, names = pa.table({"ID": [1, 2]}), sys.argv[3:]
            batches = [(i, batch) for i in range(len(names)) for batch in rows.to_batches()]
            tables = [NewTable(name, rows.schema) for name in names]
            connector.write_tables(tables, batches, replacing=names)
            """
        )
    )
    tables = [place.name(name) for name in names]
    command = [sys.executable, str(script), place.connector.to_json(), at, *tables]
    return subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
