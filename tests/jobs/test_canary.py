"""Secrets are planted in an engine; nothing that it writes, shows or answers may have them.

It starts an engine of its own, whose environment has the secrets; it is no `local_engine`, but runs
in the same process of the tests as those, so that two do not start at once.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import psutil
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.engines.keeper_state import TOKEN, read_state
from rle.engines.local import LocalBackend
from rle.engines.lookup import open_engine
from rle.engines.ray_api import RayApi
from rle.engines.ray_node import MARK
from rle.jobs.client import JobClient
from rle.jobs.request import TrainWork
from rle.runs.job_status import JobStatus
from rle.sdk.manager import JobManager
from rle.sdk.monitor import JobMonitor
from rle.spec.config import TrainerConfig
from rle.testing.engine import start_engine, stop_engine, wait_until_ready
from rle.testing.shop_dataset import shop_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rle.engines.record import EngineRecord
    from rle.testing.shop import Shop

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_S = 180.0
VARIABLES = (
    "SNOWFLAKE_PASSWORD",
    "SNOWFLAKE_OAUTH_TOKEN",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    "AWS_SECRET_ACCESS_KEY",
    "RAY_AUTH_TOKEN",
)
STATE_API = ("nodes", "workers", "tasks", "actors", "runtime_envs")
ADDRESSES = ("/api/jobs/", "/nodes?view=summary", *(f"/api/v0/{what}" for what in STATE_API))


def _canary(name: str) -> str:
    return f"canary-{name.lower().replace('_', '-')}-{secrets.token_hex(8)}"


@dataclass
class Place:
    """An engine with secrets in its environment, and what was seen of it."""

    home: Path
    record: EngineRecord
    planted: dict[str, str]
    seen: list[str] = field(default_factory=list)
    """What a user of the engine saw: answers, reprs, exceptions."""

    @property
    def folder(self) -> Path:
        return self.home / "engines" / self.record.name

    @property
    def ray_folder(self) -> Path:
        state = read_state(self.folder)
        assert state is not None
        assert state.ray_folder is not None
        return Path(state.ray_folder)

    def work(self, database: Path, *, num_workers: int = 0) -> TrainWork:
        connector = DuckDBConnector(database=database)
        config = TrainerConfig(
            connector=connector, device="cpu", n_epochs=1, fanouts=(4,), channels=8,
            num_workers=num_workers,
        )  # fmt: skip
        dataset = shop_dataset(connector, tables=("customers", "transactions"))
        return TrainWork(dataset=dataset.spec, config=config)

    def run(self, work: TrainWork) -> JobStatus:
        """Run a job to its end, and look at it in every way there is."""
        engine = open_engine(self.record.name)
        with JobClient(engine) as client:
            job_id = client.submit(work).job_id
            monitor = JobMonitor.from_id(job_id, self.record.name)
            try:
                monitor.wait(timeout=TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - what it says is looked at
                self.seen += ["".join(traceback.format_exception(error)), repr(error)]
            state = client.state(job_id)
            events, _ = client.events(job_id)
            self.seen += [
                repr(monitor), str(monitor.get_status()), client.log(job_id), repr(client),
                repr(engine), repr(engine.access()), state.to_json(), repr(client.states()),
                *(event.to_json() for event in events), repr(client.request(job_id)),
                repr(JobManager(engine=self.record.name)),
            ]  # fmt: skip
            if hasattr(monitor, "_repr_html_"):
                self.seen.append(monitor._repr_html_())
        with RayApi(engine.access()) as api:
            self.seen += [repr(job) for job in api.jobs()]
        for address in ADDRESSES:
            self.seen.append(self._answer(engine.access(), address))
        return state.status

    @staticmethod
    def _answer(access, address: str) -> str:
        import requests

        token = {"Authorization": f"Bearer {access.token.get_secret_value()}"}
        return requests.get(access.address + address, headers=token, timeout=30).text

    def processes(self) -> Iterator[psutil.Process]:
        """Yield the keeper, and all processes of Ray."""
        state = read_state(self.folder)
        assert state is not None
        assert state.pid is not None
        yield psutil.Process(state.pid)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(MARK) == str(self.folder):
                    yield process


@pytest.fixture
def place(copy_mlflow: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="rc", dir="/tmp"))
    copy_mlflow(home)
    planted = {name: _canary(name) for name in VARIABLES}
    monkeypatch.setenv("RLE_HOME", str(home))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    record = start_engine(home, "canary", num_cpus=2, auto_suspend_mins=0)
    found = Place(home, record, planted)
    planted["the token"] = (found.folder / TOKEN).read_text().strip()
    ray_folder = found.ray_folder
    yield found
    stop_engine(home, record)
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(ray_folder, ignore_errors=True)


def _spoil(database: Path, said: str) -> None:
    """Let reading a table fail with an error that says `said`, as a warehouse might."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("ALTER TABLE transactions RENAME TO old")
        connection.execute(
            "CREATE VIEW transactions AS SELECT * REPLACE (CASE WHEN customer_id < 0 THEN 0 ELSE "
            f"error($$login failed: {said}$$)::BIGINT END AS customer_id) FROM old"
        )


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path


def _finds(place: Place, needles: dict[str, str]) -> list[str]:
    """Return where the needles are, by name: files, command lines, what a user saw."""
    finds = []

    def look(where: str, data: bytes) -> None:
        finds.extend(f"{where}: {name}" for name, text in needles.items() if text.encode() in data)

    for path in _files(place.home, place.ray_folder):
        if path != place.folder / TOKEN:
            look(str(path), path.read_bytes())
    for process in place.processes():
        look(str(process), "\0".join(process.cmdline()).encode())
    for text in place.seen:
        look(f"seen: {text[:60]}", text.encode())
    return finds


def test_no_secret_leaves_an_engine(
    place: Place, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = shop.write_duckdb(tmp_path / "bad.duckdb")
    good = place.work(shop.write_duckdb(tmp_path / "good.duckdb"))
    bad = place.work(database, num_workers=1)  # what reads it, and fails, is a worker of Ray's
    _spoil(database, f"{place.planted['SNOWFLAKE_PASSWORD']} password=hunter2-canary")
    place.planted["a password in a message"] = "hunter2-canary"
    # The laptop has no secret of the engine's.
    for name in VARIABLES:
        monkeypatch.delenv(name)

    assert all("SNOWFLAKE_PASSWORD" in process.environ() for process in place.processes())
    assert place.run(good) is JobStatus.COMPLETED
    assert place.run(bad) is JobStatus.FAILED
    assert any("login failed" in text for text in place.seen)

    LocalBackend().suspend(place.record, place.folder)
    for name in ("SNOWFLAKE_PASSWORD", "SNOWFLAKE_OAUTH_TOKEN"):
        monkeypatch.setenv(name, place.planted[name])
    tracker = place.planted["the tracking server"] = _canary("tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://joe:{tracker}@127.0.0.1:9")
    LocalBackend().resume(place.record, place.folder)
    wait_until_ready(place.home, place.record)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert place.run(good) is JobStatus.FAILED
    assert any("127.0.0.1:9" in text for text in place.seen)

    assert _finds(place, place.planted) == []
    # What stood around a secret is there, in all places where the secret would be.
    told = "\n".join(_finds(place, {"the error": "login failed: *** password=***"}))
    for where in ("events.jsonl", "state.json", "log.txt", "queue.jsonl", "mlflow.db", "seen: "):
        assert where in told
    assert _finds(place, {"a command": "rle.jobs.keeper\0"})
    assert _finds(place, {"a command": "gcs_server"})
    assert {limit for process in place.processes() for limit in _core_limit(process)} == {0}
    assert not [path for path in _files(place.home, place.ray_folder) if path.name == "core"]


def _core_limit(process: psutil.Process) -> list[int]:
    try:
        return [process.rlimit(psutil.RLIMIT_CORE)[0]]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
