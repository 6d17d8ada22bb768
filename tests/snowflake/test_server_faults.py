"""The stand-in for Snowflake fails as it is told to, and ends with whoever started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from rle.testing.fake_snowflake import FakeSnowflake, driver_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cursor(snowflake_server: FakeSnowflake) -> Iterator[Any]:
    with snowflake_server.connect() as connection:
        yield connection.cursor()


def long_result(server: FakeSnowflake, cursor: Any) -> list[Any]:
    server.put("LONG", pa.table({"ID": range(7000)}))
    server.settings(rows_per_chunk=1000, first_rows=1000)
    cursor.execute("select * from long order by id")
    batches: list[Any] = cursor.get_result_batches()
    return batches


def num_rows(batches: list[Any]) -> int:
    return sum(batch.to_arrow().num_rows for batch in batches)


def test_errors_of_the_server_are_tried_again(snowflake_server, cursor):
    snowflake_server.fault("/queries/", status=503, times=2)
    assert cursor.execute("select 1").fetchall() == [(1,)]
    assert snowflake_server.state()["faults"] == 0


def test_a_connection_that_is_cut_within_a_chunk(snowflake_server, cursor):
    import snowflake.connector

    batches = long_result(snowflake_server, cursor)
    snowflake_server.fault("/results/", "cut", skip=2)
    if driver_version()[0] >= 5:  # it does not try again by itself, as driver 4 does
        with pytest.raises(snowflake.connector.errors.Error):
            num_rows(batches)
    assert num_rows(batches) == 7000
    assert snowflake_server.state()["faults"] == 0


def test_a_cut_is_a_cut(snowflake_server):
    snowflake_server.fault("/telemetry", "cut")
    address = f"http://{snowflake_server.host}:{snowflake_server.port}/telemetry/send"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.post(address, json={}, timeout=10)


def test_a_connection_that_is_dropped(snowflake_server, cursor):
    batches = long_result(snowflake_server, cursor)
    snowflake_server.fault("/results/", "drop", skip=1)
    assert num_rows(batches) == 7000


def test_a_slow_answer(snowflake_server, cursor):
    snowflake_server.fault("/queries/", "slow", seconds=0.3, contains="select 17")
    started = time.monotonic()
    assert cursor.execute("select 17").fetchall() == [(17,)]
    assert time.monotonic() - started >= 0.3


def test_a_token_that_expires_before_a_statement(snowflake_server, cursor):
    snowflake_server.fault("/queries/", "expired", contains="select 18")
    assert cursor.execute("select 18").fetchall() == [(18,)]


def test_a_limit_of_sessions(snowflake_server, cursor):
    import snowflake.connector

    snowflake_server.settings(max_sessions=snowflake_server.state()["sessions"])
    with pytest.raises(snowflake.connector.errors.Error):
        snowflake_server.connect(login_timeout=2)
    assert cursor.execute("select 1").fetchall() == [(1,)]


def test_reset_forgets_what_was_to_go_wrong(snowflake_server):
    snowflake_server.fault("/", times=100)
    snowflake_server.revoke("ALL", "DATABASE", "SHOP")
    snowflake_server.reset()
    with snowflake_server.connect() as connection:
        assert connection.cursor().execute("show schemas").fetchall()


def test_sessions_end_when_they_are_closed(snowflake_server):
    before = snowflake_server.state()["sessions"]
    with snowflake_server.connect():
        assert snowflake_server.state()["sessions"] == before + 1
    assert snowflake_server.state()["sessions"] == before


def test_it_ends_with_its_parent(snowflake_server):
    code = (
        "import json, os\n"
        "from rle.testing.fake_snowflake import FakeSnowflake\n"
        "server = FakeSnowflake()\n"
        "print(json.dumps([server._process.pid, server.port]), flush=True)\n"
        "os._exit(0)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    pid, _ = json.loads(told)
    deadline = time.monotonic() + 20
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.snowflake
def test_tables_may_be_kept_in_files(tmp_path: Path):
    with FakeSnowflake(database=tmp_path) as server:
        server.put("KEPT", pa.table({"ID": [1]}))
    assert (tmp_path / "SHOP.duckdb").exists()
    assert os.listdir(tmp_path)


@pytest.mark.parametrize("skip", [0, 1])
def test_a_file_whose_answer_was_lost_is_there_once_and_whole(snowflake_server, tmp_path, skip):
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"ID": [1, 2]}), file)
    with snowflake_server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("create or replace temporary stage answers")
        snowflake_server.fault("/stages", "lost", skip=skip)
        cursor.execute(f"put 'file://{file}' @answers auto_compress=false overwrite=true")
        (listed,) = cursor.execute("list @answers").fetchall()
        assert int(listed[1]) == file.stat().st_size
