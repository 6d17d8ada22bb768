"""What a connector knows of its engine, and that its tables do not depend on it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.connectors import csv_file
from rle.connectors.duckdb import DuckDBConnector
from rle.connectors.local import LocalConnector
from rle.connectors.registry import AnyConnector
from rle.engines import registry
from rle.engines.record import EngineRecord
from rle.engines.store import EngineStore
from rle.errors import (
    ConnectionError,
    JobManagerError,
    PermissionError,
    UnknownNameError,
    ValidationError,
)
from rle.runs.events import WarningEvent
from rle.runs.job_status import JobStatus
from rle.values import Value
from tests.engines import fake_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.connectors.base import Connector

JOB_ID = "3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = pa.table({"id": [1, 2, 3]})


class Holder(Value):
    connector: AnyConnector


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "fake", fake_backend.WHERE)
    monkeypatch.delenv("RLE_ENGINE", raising=False)


def put_engine(name: str, state: str = "READY", *, backend: str = "fake") -> None:
    store = EngineStore()
    store.create(
        EngineRecord(
            name=name,
            id="0a1b2c3d",
            backend=backend,
            size="HIGHMEM_X64_S",
            created_by="ann",
            created_on=NOW,
            updated_on=NOW,
        )
    )
    fake_backend.say(store.folder(name), state)


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = str(tmp_path / "shop.duckdb")
    with duckdb.connect(path) as con:
        con.execute("CREATE TABLE orders AS SELECT 1 AS id").fetchall()
    return path


def test_a_ready_engine_is_taken(database: str) -> None:
    put_engine("prod")
    connector = DuckDBConnector(database=database, engine_name="prod")
    assert connector.engine_name == "prod"
    assert connector.num_rows("shop.main.orders") == 1


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("prdo", r"no engine named 'prdo'.*'prod', 'slow'"),
        ("slow", "'slow' is SUSPENDED. It was told to"),
    ],
)
def test_an_engine_that_takes_no_jobs_is_told_with_its_status(
    database: str, name: str, match: str
) -> None:
    put_engine("prod")
    put_engine("slow", "SUSPENDED It was told to.")
    with pytest.raises(ConnectionError, match=match):
        DuckDBConnector(database=database, engine_name=name)
    with pytest.raises(ConnectionError, match=match):
        LocalConnector(connector_type="csv", url="/data", engine_name=name)


@pytest.mark.parametrize("name", ["my engine", "it's", "../prod"])
def test_what_no_engine_may_be_called_is_told(database: str, name: str) -> None:
    with pytest.raises(ValidationError, match="An engine's name is a letter"):
        DuckDBConnector(database=database, engine_name=name)
    with pytest.raises(ValidationError, match="engine_name is empty"):
        DuckDBConnector(database=database, engine_name="")


def test_the_engine_is_no_part_of_what_is_read(database: str) -> None:
    put_engine("prod")
    plain = DuckDBConnector(database=database)
    connector = DuckDBConnector(database=database, engine_name="prod")
    assert connector == plain
    assert hash(connector) == hash(plain)
    assert connector.to_json() == plain.to_json()
    assert Holder(connector=connector).to_json() == Holder(connector=plain).to_json()
    assert connector != DuckDBConnector(database=database, engine_name="prod", lock_timeout_s=1)
    assert connector != LocalConnector(connector_type="csv", url="/data")


def test_the_engine_is_checked_once_and_never_where_a_request_is_read(database: str) -> None:
    put_engine("prod")
    connector = DuckDBConnector(database=database, engine_name="prod")
    fake_backend.say(EngineStore().folder("prod"), "SUSPENDED It slept in.")
    assert Holder(connector=connector).connector.engine_name == "prod"
    assert Holder.from_json(Holder(connector=connector).to_json()).connector == connector
    assert pickle.loads(pickle.dumps(connector)).engine_name == "prod"
    with pytest.raises(ConnectionError, match="SUSPENDED"):
        connector.replace(lock_timeout_s=1.0)


def test_reading_tables_loads_no_engine() -> None:
    script = (
        "import sys\nfrom rle.connectors.local import LocalConnector\n"
        "LocalConnector(connector_type='csv', url='/data')\n"
        "assert not [name for name in sys.modules if name.startswith(('rle.engines', 'rle.jobs'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


class FakeClient:
    """Stands for `rle.jobs.client.JobClient`: one job, and what it was asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine.record.name
        self.asked: list[Any] = []

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""

    def states(self, *, status: JobStatus | None, limit: int | None) -> list[Any]:
        job = self.state(JOB_ID)
        jobs = [job] if status in (None, job.status) else []
        return jobs[:limit]

    def state(self, job_id: str) -> Any:
        if job_id != JOB_ID:
            raise JobManagerError(f"There is no job {job_id} on engine {self._engine!r}.")
        return SimpleNamespace(
            job_id=job_id,
            status=JobStatus.COMPLETED,
            kind="train",
            created_by="ann",
            queued_at=NOW,
            started_at=NOW + timedelta(seconds=5),
            finished_at=NOW + timedelta(seconds=65),
            engine=self._engine,
        )

    def cancel(self, job_id: str) -> None:
        raise JobManagerError(f"Job {job_id} is COMPLETED.")

    def events(self, job_id: str, *, offset: int) -> tuple[list[Any], int]:
        said = [WarningEvent(message="slow"), WarningEvent(message="very slow")]
        return (said[offset:], len(said))


@pytest.fixture
def connector(database: str, monkeypatch: pytest.MonkeyPatch) -> Connector:
    monkeypatch.setattr("rle.jobs.client.JobClient", FakeClient)
    put_engine("prod")
    return DuckDBConnector(database=database, engine_name="prod")


ROW = {
    "job_id": JOB_ID,
    "status": "COMPLETED",
    "created_by": "ann",
    "created_on": NOW,
    "finished_at": NOW + timedelta(seconds=65),
    "duration": 60.0,
    "engine": "prod",
    "payload_type": "train",
}


def test_jobs_are_listed_by_state_and_up_to_a_limit(connector: Connector) -> None:
    assert connector.list_jobs() == [ROW]
    assert connector.list_jobs(state="completed", limit=5) == [ROW]
    assert connector.list_jobs(state="Succeeded") == [ROW]
    assert connector.list_jobs(state="running") == []
    assert connector.list_jobs(limit=0) == []
    with pytest.raises(UnknownNameError, match="Did you mean 'COMPLETED'"):
        connector.list_jobs(state="complete")
    for limit in (-1, 1.5, True, "3"):
        with pytest.raises(ValidationError, match="limit must be"):
            connector.list_jobs(limit=limit)  # type: ignore[arg-type]


def test_one_job_is_fetched_and_canceled(connector: Connector) -> None:
    assert connector.get_job(JOB_ID) == ROW
    with pytest.raises(JobManagerError, match="no job other on engine 'prod'"):
        connector.get_job("other")
    with pytest.raises(JobManagerError, match="is COMPLETED"):
        connector.cancel_job(JOB_ID)


def test_events_go_on_where_a_token_says(connector: Connector) -> None:
    first = connector.get_job_events(JOB_ID)
    assert [event["type"] for event in first["events"]] == ["warning", "warning"]
    again = connector.get_job_events(JOB_ID, continuation_token=first["continuation_token"])
    assert again == {"events": [], "continuation_token": first["continuation_token"]}
    for token in ("x", "-1", "", "٣", 3):
        with pytest.raises(ValidationError, match="continuation_token must be one"):
            connector.get_job_events(JOB_ID, token)  # type: ignore[arg-type]


def test_jobs_of_a_suspended_engine_are_still_known(connector: Connector) -> None:
    fake_backend.say(EngineStore().folder("prod"), "SUSPENDED")
    assert connector.list_jobs() == [ROW]


def test_without_a_name_the_only_engine_is_meant(connector: Connector, database: str) -> None:
    assert DuckDBConnector(database=database).list_jobs() == [ROW]
    put_engine("spare")
    with pytest.raises(ConnectionError, match=r"2 engines: .*Name the one to use"):
        DuckDBConnector(database=database).list_jobs()


def test_each_table_is_probed_once_and_no_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orders.csv").write_text("id\n1\n")
    (tmp_path / "items.csv").write_text("id\n1\n")
    connector = LocalConnector(connector_type="csv", url=str(tmp_path))
    for name in ("schema", "read", "num_rows"):
        monkeypatch.delattr(csv_file, name)
    orders, items = (f"{tmp_path.name}.main.{name}" for name in ("orders", "items"))
    assert connector.probe_tables([orders, items, orders]) == [orders, items]
    assert connector.probe_tables([]) == []
    with pytest.raises(UnknownNameError, match="Did you mean"):
        connector.probe_tables([orders, f"{tmp_path.name}.main.item"])


def test_tables_and_views_are_probed(database: str) -> None:
    with duckdb.connect(database) as con:
        con.execute("CREATE VIEW many AS SELECT * FROM range(10_000_000_000)").fetchall()
    connector = DuckDBConnector(database=database)
    both = ["shop.main.orders", "SHOP.MAIN.MANY"]
    assert connector.probe_tables(both) == both
    with pytest.raises(UnknownNameError, match=r"Did you mean 'shop\.main\.orders'"):
        connector.probe_tables([*both, "shop.main.order"])


def test_a_damaged_parquet_file_fails_its_probe(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").write_text("not this")
    connector = LocalConnector(connector_type="parquet", url=str(tmp_path))
    with pytest.raises(ConnectionError, match="damaged"):
        connector.probe_tables(["orders.parquet"])


@contextmanager
def as_nobody() -> Iterator[None]:
    """Lose root's right to read everything, which tests in a container have."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that any user may look into; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="rle-shared-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_closed_files_are_told_with_the_way_out(shared: Path) -> None:
    table, folder = shared / "orders.parquet", shared / "inner"
    folder.mkdir()
    pq.write_table(ROWS, table)
    pq.write_table(ROWS, folder / "orders.parquet")
    connector = LocalConnector(connector_type="parquet", url=str(shared))
    inner = LocalConnector(connector_type="parquet", url=str(folder))
    assert connector.check_access() == ()
    table.chmod(0o000)
    folder.chmod(0o000)
    with as_nobody():
        with pytest.raises(PermissionError, match=rf"'orders\.parquet'.*chmod a\+r {table}"):
            connector.probe_tables(["orders.parquet"])
        with pytest.raises(PermissionError, match=rf"Folder {folder} is .*chmod a\+rx {folder}"):
            inner.check_access()
        with pytest.raises(PermissionError, match=rf"chmod a\+x {folder}"):
            inner.probe_tables(["orders.parquet"])


def test_a_closed_database_is_told_with_the_way_out(shared: Path) -> None:
    folder = shared / "inner"
    folder.mkdir()
    connector = DuckDBConnector.create(folder / "my shop.duckdb")
    folder.chmod(0o755)
    assert connector.check_access() == ()
    Path(connector.database).chmod(0o000)
    with as_nobody(), pytest.raises(PermissionError, match=r"chmod a\+r '.*my shop\.duckdb'"):
        connector.check_access()
    folder.chmod(0o000)
    with as_nobody(), pytest.raises(PermissionError, match=rf"chmod a\+x {folder}"):
        connector.check_access()


def test_a_view_on_a_closed_file_is_named(shared: Path) -> None:
    table, path = shared / "orders.parquet", shared / "shop.duckdb"
    pq.write_table(ROWS, table)
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE VIEW orders AS SELECT * FROM read_parquet('{table}')").fetchall()
    path.chmod(0o644)
    table.chmod(0o000)
    connector = DuckDBConnector(database=str(path))
    with as_nobody(), pytest.raises(PermissionError, match=r"'shop\.main\.orders' cannot be read"):
        connector.probe_tables(["shop.main.orders"])


def test_what_is_not_there_is_no_question_of_access(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="There is no folder"):
        LocalConnector(connector_type="csv", url=str(tmp_path / "none")).check_access()
    with pytest.raises(ConnectionError, match="no DuckDB file"):
        DuckDBConnector(database=str(tmp_path / "none.duckdb")).check_access()


def test_files_that_an_engine_elsewhere_reads_are_warned_of(database: str) -> None:
    put_engine("far")
    connector = DuckDBConnector(database=database, engine_name="far")
    (warning,) = connector.check_access()
    assert "'far' runs on other machines" in warning
    assert database in warning
    put_engine("near", backend="local")
    assert connector.model_copy(update={"engine_name": "near"}).check_access() == ()
