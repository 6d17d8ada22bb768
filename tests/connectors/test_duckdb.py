from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import ConnectionError, PermissionError, UnknownNameError, ValidationError
from tests.connectors.warehouse import numbers, read_all

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import duckdb, sys
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def connector(tmp_path: Path) -> DuckDBConnector:
    made = DuckDBConnector.create(tmp_path / "shop.duckdb")
    run(made, "CREATE TABLE orders AS SELECT range AS id FROM range(1000)")
    return made.replace(lock_timeout_s=20)


def run(connector: DuckDBConnector, *statements: str) -> None:
    with duckdb.connect(connector.database) as con:
        for statement in statements:
            con.execute(statement).fetchall()


class Holder:
    """Another process that has the file open."""

    def __init__(self, path: str, mode: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, path, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Holder:
        assert self.process.stdout.readline() == "held\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate("go\n")


def test_names_are_the_same_in_any_case(connector: DuckDBConnector) -> None:
    assert connector.num_rows("SHOP.MAIN.ORDERS") == connector.num_rows("shop.main.orders")
    assert connector.exists("Shop.Main.Orders")
    assert connector.sources() == ["shop.main.orders"]


def test_another_database_is_told(connector: DuckDBConnector) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'shop'"):
        connector.num_rows("shap.main.orders")
    assert not connector.exists("other.main.orders")


@pytest.mark.parametrize("stem", ["main", "temp", "a b", "v1.2", "select", 'we"ird', "日本"])
def test_odd_file_names_work(tmp_path: Path, stem: str) -> None:
    connector = DuckDBConnector.create(tmp_path / f"{stem}.db")
    run(connector, "CREATE TABLE main.orders AS SELECT 7 AS id")
    (source,) = connector.sources()
    assert read_all(connector, source, ["id"], 10)["id"].to_pylist() == [7]


def test_tables_of_other_schemas_are_found(connector: DuckDBConnector) -> None:
    run(connector, 'CREATE SCHEMA "odd.one"', 'CREATE TABLE "odd.one".t AS SELECT 1 AS id')
    assert connector.sources() == ['shop."odd.one".t', "shop.main.orders"]
    assert connector.num_rows('shop."odd.one".t') == 1


def test_deleted_rows_are_gone(connector: DuckDBConnector) -> None:
    run(connector, "DELETE FROM orders WHERE id % 3 = 0 OR id > 900")
    chunks = connector.chunks("shop.main.orders", columns=["id"], max_rows=300)
    rows = read_all(connector, "shop.main.orders", ["id"], 300)
    assert sorted(rows["id"].to_pylist()) == [i for i in range(901) if i % 3]
    assert {chunk.num_rows for chunk in chunks} == {None}
    assert 0 < connector.sample("shop.main.orders", max_rows=64).num_rows <= 64


def test_version_sees_a_changed_value_only(connector: DuckDBConnector) -> None:
    run(connector, "CREATE TABLE other AS SELECT 1 AS id")
    before = connector.version("shop.main.orders")
    run(connector, "UPDATE other SET id = 2", "CHECKPOINT")
    assert connector.version("shop.main.orders") == before
    run(connector, "UPDATE orders SET id = 5000 WHERE id = 500")
    assert connector.version("shop.main.orders") != before


def test_stamps_with_a_zone_come_out_in_utc(connector: DuckDBConnector) -> None:
    run(connector, "CREATE TABLE t AS SELECT TIMESTAMPTZ '2020-06-01 02:00:00+02' AS at")
    assert connector.arrow_schema("shop.main.t").field("at").type == pa.timestamp("us", "UTC")
    row = read_all(connector, "shop.main.t", ["at"], 10).to_pylist()[0]["at"]
    assert row.isoformat() == "2020-06-01T00:00:00+00:00"


def test_a_relative_path_is_kept_as_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DuckDBConnector(database="shop.duckdb").database == str(tmp_path / "shop.duckdb")


def test_create_keeps_what_is_there(connector: DuckDBConnector) -> None:
    assert DuckDBConnector.create(connector.database).num_rows("shop.main.orders") == 1000


def test_a_missing_file_is_told_before_another_database_name(connector: DuckDBConnector) -> None:
    missing = connector.replace(database=connector.database.replace("shop", "gone"))
    with pytest.raises(ConnectionError, match=r"no DuckDB file in .* named 'gone\.duckdb'"):
        missing.num_rows("shop.main.orders")


def test_a_missing_file_is_told_with_the_nearest(connector: DuckDBConnector) -> None:
    missing = connector.replace(database=connector.database.replace("shop", "shpo"))
    with pytest.raises(ConnectionError, match=r"Did you mean 'shop\.duckdb'") as caught:
        missing.num_rows("shpo.main.orders")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_damaged_file_is_a_connection_error(tmp_path: Path) -> None:
    (tmp_path / "shop.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(ConnectionError, match="cannot be opened as a DuckDB file"):
        DuckDBConnector(database=str(tmp_path / "shop.duckdb")).sources()


def test_a_view_that_lost_its_file_is_a_connection_error(
    connector: DuckDBConnector, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("id\n1\n")
    run(connector, f"CREATE VIEW gone AS SELECT * FROM read_csv('{tmp_path}/x.csv')")
    (tmp_path / "x.csv").unlink()
    with pytest.raises(ConnectionError, match="No files found"):
        connector.arrow_schema("shop.main.gone")


def test_a_view_over_a_folder_is_a_table(connector: DuckDBConnector, tmp_path: Path) -> None:
    for part in range(3):
        (tmp_path / f"part{part}.csv").write_text(f"id,name\n{part},a\n")
    run(connector, f"CREATE VIEW parts AS SELECT * FROM read_csv('{tmp_path}/part*.csv')")
    assert connector.num_rows("shop.main.parts") == 3


def test_a_locked_file_names_the_process(connector: DuckDBConnector) -> None:
    with (
        Holder(connector.database, "write") as holder,
        pytest.raises(ConnectionError, match=rf"another process \(PID {holder.process.pid}\)"),
    ):
        connector.replace(lock_timeout_s=0.1).num_rows("shop.main.orders")


def test_readers_of_other_processes_do_not_disturb(connector: DuckDBConnector) -> None:
    with Holder(connector.database, "read"):
        assert connector.num_rows("shop.main.orders") == 1000


def test_a_writer_waits_for_readers(connector: DuckDBConnector) -> None:
    with Holder(connector.database, "read") as holder:
        timer = threading.Timer(0.3, holder.process.stdin.write, ["go\n"])
        release = threading.Timer(0.4, holder.process.stdin.flush)
        timer.start()
        release.start()
        connector.write("shop.main.new", numbers(3).to_batches(), schema=numbers(3).schema)
        timer.join()
        release.join()
    assert connector.num_rows("shop.main.new") == 3


def test_a_writer_gives_up_in_the_end(connector: DuckDBConnector) -> None:
    with (
        Holder(connector.database, "read"),
        pytest.raises(ConnectionError, match="lock_timeout_s"),
    ):
        connector.replace(lock_timeout_s=0.1).write(
            "shop.main.new", numbers(3).to_batches(), schema=numbers(3).schema
        )
    assert not connector.exists("shop.main.new")


def test_an_open_connection_of_this_process_is_shared(connector: DuckDBConnector) -> None:
    with duckdb.connect(connector.database) as con:
        con.execute("INSERT INTO orders VALUES (5000)").fetchall()
        assert connector.num_rows("shop.main.orders") == 1001


def test_rows_can_come_from_the_same_database(connector: DuckDBConnector) -> None:
    chunks = connector.chunks("shop.main.orders", columns=["id"], max_rows=500)
    rows = (batch for chunk in chunks for batch in connector.read(chunk))
    assert connector.write("shop.main.copy", rows, schema=numbers(0).select(["id"]).schema) == 1000


def test_threads_read_and_write_at_once(connector: DuckDBConnector) -> None:
    failures: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert connector.num_rows("shop.main.orders") == 1000
                time.sleep(0.01)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    connector.write("shop.main.new", numbers(3).to_batches(), schema=numbers(3).schema)
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_output_schema_must_be_there(connector: DuckDBConnector) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'main'"):
        connector.can_create("shop.mian.new")


def test_a_view_is_never_replaced(connector: DuckDBConnector) -> None:
    run(connector, "CREATE VIEW taken AS SELECT 1 AS id")
    with pytest.raises(ValidationError, match="never overwritten"):
        connector.can_create("shop.main.TAKEN")


def test_a_read_only_place_is_told_before_work(
    connector: DuckDBConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, to whom every file is writable.
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.R_OK)
    with pytest.raises(PermissionError, match="not writable"):
        connector.can_create("shop.main.new")
