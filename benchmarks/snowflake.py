"""What does Snowflake cost the client: CPU and memory of reading, time of writing?

Against the stand-in for Snowflake (`make .venv-snowflake/stamp` first), which runs in a process of
its own that is not counted: what is measured is this side of the wire, the driver included. Each
figure stands beside the same work done the driver's own way, in the same run. Time on the wall
includes the stand-in, which is slower than an account.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks import harness, retail
from benchmarks.harness import record, time_of
from benchmarks.ingest import dataset, fresh_folder
from rle.connectors.base import Chunk
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.session import close_sessions
from rle.graph.build import build_snapshot
from rle.testing.fake_snowflake import FakeSnowflake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rle.spec.dataset import DatasetSpec

NAME = "snowflake"
PASSWORD = "RLE_BENCH_SNOWFLAKE_PASSWORD"
TABLES = ("customers", "articles", "transactions")
ROOT = Path(__file__).parents[1]
MB = 1e6


def connector_to(server: FakeSnowflake) -> SnowflakeConnector:
    """Return a connector to the stand-in."""
    os.environ[PASSWORD] = server.password
    return SnowflakeConnector(
        account=server.account,
        host=server.host,
        port=server.port,
        protocol="http",
        user=server.user,
        role=server.role,
        warehouse="WH",
        password_variable=PASSWORD,
    )


def put(server: FakeSnowflake, made: retail.Retail, schema: str) -> None:
    """Give the stand-in a retail database, in a schema of its own."""
    server.add_schema("SHOP", schema)
    for name in TABLES:
        server.put(("SHOP", schema, name), getattr(made, name))
    for split, table in made.tasks.items():
        server.put(("SHOP", schema, f"task_{split}"), table)


def in_snowflake(spec: DatasetSpec, connector: SnowflakeConnector, schema: str) -> DatasetSpec:
    """Return the dataset of Parquet files as the same one of an account."""
    tables = tuple(t.replace(source=f'SHOP.{schema}."{t.name}"') for t in spec.tables)
    sources = {split: f'SHOP.{schema}."task_{split.value}"' for split in spec.task.sources}
    task = spec.task.replace(sources=sources)
    return spec.replace(connector=connector, tables=tables, task=task)


def build(spec: DatasetSpec) -> Any:
    """Build a snapshot anew in this process."""
    with fresh_folder() as out:
        return build_snapshot(
            spec, folder=out, text_embedder="", num_workers=0, on_progress=lambda *_: None
        ).report


def fetch_all(server: FakeSnowflake, spec: DatasetSpec) -> int:
    """Read every column of every table with the driver's fetch_arrow_all; rows."""
    rows = 0
    with server.connect() as connection, connection.cursor() as cursor:
        for table in spec.tables:
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            rows += (
                cursor.execute(f"SELECT {columns} FROM {table.source}").fetch_arrow_all().num_rows
            )
    return rows


def streaming(server: FakeSnowflake, num_rows: int, repeats: int) -> None:
    """Measure the CPU of a build from Snowflake against fetching all and building from Parquet."""
    made = retail.generate(num_rows)
    with fresh_folder() as folder:
        made.write(folder)
        put(server, made, "STREAM")
        files = dataset(folder)
        spec = in_snowflake(files, connector_to(server), "STREAM")
        ours, fetched, built = [], [], []
        build(spec)  # not counted: it loads the driver and signs in
        for _ in range(repeats):  # in turns, so that others' load falls on all alike
            ours.append(time_of(partial(build, spec), warmup=0, repeats=1))
            fetched.append(time_of(partial(fetch_all, server, spec), warmup=0, repeats=1))
            built.append(time_of(partial(build, files), warmup=0, repeats=1))
    cpu_s, apart_s = (
        min(timing.cpu_s for timing in ours),
        min(timing.cpu_s for timing in fetched) + min(timing.cpu_s for timing in built),
    )
    record(
        NAME, case=f"snapshot of {num_rows:,} rows from Snowflake", value=num_rows / cpu_s,
        unit="fact rows/cpu_s", baseline="fetch_arrow_all, then the snapshot from Parquet",
        baseline_value=num_rows / apart_s, cpu_s=cpu_s, wall_s=min(t.wall_s for t in ours),
    )  # fmt: skip
    record(
        NAME, case=f"CPU of the same, {num_rows:,} rows", value=cpu_s / apart_s,
        unit="x of fetch_arrow_all and the snapshot from Parquet", higher_is_better=False,
        baseline="target", baseline_value=1.3,
    )  # fmt: skip


def memory(server: FakeSnowflake, sizes: Sequence[int]) -> None:
    """Measure the peak memory of a fresh process that reads a table, ours and the driver's way."""
    peaks: dict[str, list[float]] = {"ours": [], "driver": []}
    for num_rows in sizes:
        put(server, retail.generate(num_rows), f"M{num_rows}")
        for way, found in peaks.items():
            arguments = [f"--memory={way}", str(server.port), f'SHOP.M{num_rows}."transactions"']
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.snowflake", *arguments],
                capture_output=True, check=True, text=True, cwd=ROOT,
                env=os.environ | {PASSWORD: server.password},
            )  # fmt: skip
            found.append(int(done.stdout.splitlines()[-1]) / MB)
        record(
            NAME, case=f"peak memory of streaming {num_rows:,} rows", value=peaks["ours"][-1],
            unit="MB", higher_is_better=False, baseline="fetch_arrow_all",
            baseline_value=peaks["driver"][-1],
        )  # fmt: skip
    record(
        NAME, case=f"peak memory at {sizes[-1]:,} rows over that at {sizes[-2]:,}",
        value=peaks["ours"][-1] / peaks["ours"][-2], unit="x", higher_is_better=False,
        baseline="fetch_arrow_all", baseline_value=peaks["driver"][-1] / peaks["driver"][-2],
    )  # fmt: skip


def print_peak_memory(way: str, port: int, source: str) -> None:
    """Print by how many bytes reading a table raises the peak memory of this fresh process."""
    connector = SnowflakeConnector(
        account=FakeSnowflake.account, host=FakeSnowflake.host, port=port, protocol="http",
        user=FakeSnowflake.user, warehouse="WH", password_variable=PASSWORD,
    )  # fmt: skip
    columns = connector.arrow_schema(source).names  # loads the driver, signs in
    before = _resident("VmRSS")
    if way == "ours":
        for chunk in connector.chunks(source, columns=columns):
            for _ in connector.read(chunk):
                pass
    else:
        import snowflake.connector

        with snowflake.connector.connect(
            account=connector.account, host=connector.host, port=port, protocol="http",
            user=connector.user, password=os.environ[PASSWORD], warehouse=connector.warehouse,
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute(f"SELECT * FROM {source}").fetch_arrow_all()
    print(_resident("VmHWM") - before)


def parallel(server: FakeSnowflake, num_rows: int, *, away_s: float) -> None:
    """Measure four processes, a connection each, against one; the table has many batches.

    Args:
        server: The stand-in.
        num_rows: Of the table that `streaming` put there.
        away_s: Seconds that each request for a batch waits, as if the account were far.
    """
    source = 'SHOP.STREAM."transactions"'
    connector = connector_to(server)
    columns = connector.arrow_schema(source).names
    server.settings(rows_per_chunk=num_rows // 20)
    pieces = connector.chunks(source, columns=columns, max_rows=num_rows // 20)
    server.settings(rows_per_chunk=100_000)
    work = [(connector.to_json(), piece.to_json()) for piece in pieces]
    spent = {}
    for workers in (1, 4):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            opened = len(set(pool.map(_sign_in, work[: 4 * workers])))
            if away_s:
                server.fault("/results/", "slow", seconds=away_s, times=len(work))
            begun = time.perf_counter()
            rows = list(pool.map(_read, work))
            spent[workers] = time.perf_counter() - begun
        assert sum(rows) == num_rows, (sum(rows), num_rows)
    server.reset()
    record(
        NAME,
        case=f"read {num_rows:,} rows in {len(pieces)} batches, each {away_s:g} s away, over "
        f"{opened} connections",
        value=num_rows / spent[4], unit="rows/s", baseline="over one connection",
        baseline_value=num_rows / spent[1], wall_s=spent[4],
    )  # fmt: skip


def _sign_in(work: tuple[str, str]) -> int:
    _read(work)  # loads what reading needs
    time.sleep(0.5)  # so that every process gets one
    return os.getpid()


def _read(work: tuple[str, str]) -> int:
    connector, chunk = SnowflakeConnector.from_json(work[0]), Chunk.from_json(work[1])
    return sum(batch.num_rows for batch in connector.read(chunk))


def writing(server: FakeSnowflake, num_rows: int, num_slow: int = 2_000) -> None:
    """Measure writing predictions against executemany, of which a few rows stand for all."""
    connector = connector_to(server)
    server.add_schema("SHOP", "WRITTEN")
    rng = np.random.default_rng(0)
    rows = pa.table(
        {
            "CUSTOMER_ID": np.arange(num_rows),
            "TIMESTAMP": pa.array(np.full(num_rows, np.datetime64("2024-01-01", "us"))),
            "PREDICTION": rng.integers(0, 2, num_rows),
            "PROBABILITY_1": rng.random(num_rows),
        }
    )
    batches = rows.to_batches(max_chunksize=16_384)
    ours = time_of(
        lambda: connector.write("SHOP.WRITTEN.PREDICTIONS_A", batches, schema=rows.schema),
        warmup=0, repeats=1,
    )  # fmt: skip
    assert connector.num_rows("SHOP.WRITTEN.PREDICTIONS_A") == num_rows
    few = [tuple(row.values()) for row in rows.slice(0, num_slow).to_pylist()]
    with server.connect(schema="WRITTEN") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE SLOW (A INTEGER, B TIMESTAMP_NTZ, C INTEGER, D FLOAT)")
        insert = "INSERT INTO SLOW VALUES (%s, %s, %s, %s)"
        slow = time_of(lambda: cursor.executemany(insert, few), warmup=0, repeats=1)
    record(
        NAME, case=f"write {num_rows:,} predictions", value=num_rows / ours.wall_s, unit="rows/s",
        baseline=f"executemany of {num_slow:,} rows", baseline_value=num_slow / slow.wall_s,
        cpu_s=ours.cpu_s, wall_s=ours.wall_s,
    )  # fmt: skip


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:"))


@contextmanager
def stand_in() -> Iterator[FakeSnowflake]:
    """A server whose tables are in a folder, so that they are not in memory twice."""
    with tempfile.TemporaryDirectory() as folder, FakeSnowflake(database=Path(folder)) as server:
        try:
            yield server
        finally:
            close_sessions()


def main() -> None:
    """Run the benchmark."""
    if sys.argv[1:2] and sys.argv[1].startswith("--memory="):
        print_peak_memory(sys.argv[1].partition("=")[2], int(sys.argv[2]), sys.argv[3])
        return
    quick = harness.arguments(__doc__ or "").quick
    num_rows = 200_000 if quick else 1_000_000
    with stand_in() as server:
        streaming(server, num_rows, repeats=1 if quick else 3)
        parallel(server, num_rows, away_s=0.0)
        parallel(server, num_rows, away_s=0.2)
        writing(server, num_rows)
        memory(server, (50_000, 200_000) if quick else (200_000, 1_000_000, 3_000_000))


if __name__ == "__main__":
    main()
