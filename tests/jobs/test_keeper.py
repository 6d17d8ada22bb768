"""The keeper brings an engine back, whatever dies, and lets it rest when nobody works."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from rle.engines import ray_node
from rle.engines.keeper_state import read_state
from rle.engines.local import LocalBackend
from rle.engines.ray_api import RayApi
from rle.engines.record import EngineSettings, EngineState
from rle.engines.store import EngineStore
from rle.errors import ConnectionError
from rle.runs.job_status import JobStatus
from rle.testing.engine import start_engine, stop_engine, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rle.engines.base import EngineAccess
    from rle.engines.record import EngineRecord, EngineStatus

pytestmark = [pytest.mark.ray, pytest.mark.slow]
FILE = "keeper-probe.txt"


@dataclass
class Engine:
    """An engine that a test may ill-treat."""

    home: Path
    record: EngineRecord

    @property
    def folder(self) -> Path:
        return self.home / "engines" / self.record.name

    @property
    def status(self) -> EngineStatus:
        return LocalBackend().status(self.record, self.folder)

    def access(self) -> EngineAccess:
        return LocalBackend().access(self.record, self.folder)

    def processes(self) -> list[psutil.Process]:
        """Return the keeper and all that it started, the keeper first."""
        state = read_state(self.folder)
        assert state is not None
        assert state.pid is not None
        keeper = psutil.Process(state.pid)
        return [keeper, *keeper.children(recursive=True)]

    def kill(self, program: str) -> None:
        """Kill the one process that runs `program`."""
        found = [
            one
            for one in self.processes()[1:]
            if any(part.endswith(program) for part in one.cmdline()[:2])
        ]
        assert len(found) == 1, (program, found)
        found[0].kill()

    def resume(self) -> None:
        LocalBackend().resume(self.record, self.folder)
        wait_until_ready(self.home, self.record)

    def configure(self, **settings: object) -> None:
        """Change settings; they hold from the next start on."""
        given = self.record.settings.model_dump() | settings
        self.record = self.record.replace(settings=EngineSettings(**given))
        EngineStore(self.home / "engines").update(self.record)


@pytest.fixture(scope="module")
def made() -> Iterator[Engine]:
    home = Path(tempfile.mkdtemp(prefix="rk", dir="/tmp"))
    engine = Engine(home, start_engine(home, "hasty", num_cpus=2, auto_suspend_mins=0))
    (engine.folder / "jobs" / FILE).write_text("kept")
    yield engine
    stop_engine(home, engine.record)
    shutil.rmtree(home)


@pytest.fixture
def engine(made: Engine) -> Engine:
    """The module's engine, READY."""
    made.resume()
    return made


def wait_until(is_true: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(ConnectionError, psutil.NoSuchProcess):
            if is_true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start_sleep(api: RayApi, job_id: str, seconds: int) -> None:
    api.submit(
        job_id,
        entrypoint=f"python -c 'import time; time.sleep({seconds})'",
        package=None,
        metadata={},
        env_vars={},
    )
    wait_until(lambda: status_of(api, job_id) is JobStatus.RUNNING)


def status_of(api: RayApi, job_id: str) -> JobStatus | None:
    job = api.job(job_id)
    return job and job.status


def test_a_dead_dashboard_comes_back_and_a_running_job_goes_on(engine):
    with RayApi(engine.access()) as api:
        start_sleep(api, "sleeper", 8)
        before = read_state(engine.folder)
        engine.kill("dashboard/dashboard.py")
        wait_until(lambda: status_of(api, "sleeper") is JobStatus.COMPLETED)
    assert read_state(engine.folder) == before  # the same address, and never anything but READY


def test_a_suspended_engine_leaves_no_process_and_keeps_its_jobs(engine):
    with RayApi(engine.access()) as api:
        start_sleep(api, "cut-short", 600)
    processes = engine.processes()
    LocalBackend().suspend(engine.record, engine.folder)
    assert living(processes) == []
    state = read_state(engine.folder)
    assert state is not None
    assert ray_node.left_over(engine.folder, state.session) == []
    assert engine.status.state is EngineState.SUSPENDED
    with pytest.raises(ConnectionError, match=r"'hasty' is SUSPENDED.*rle engine resume hasty"):
        engine.access()
    engine.resume()
    with RayApi(engine.access()) as api:
        assert api.read_file(f"rle/{FILE}") == b"kept"


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing_running(engine):
    LocalBackend().suspend(engine.record, engine.folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        engine.configure(dashboard_port=port)
        LocalBackend().resume(engine.record.replace(settings=EngineSettings()), engine.folder)
        taken.listen()  # somebody was faster
        wait_until(lambda: engine.status.state is EngineState.SUSPENDED)
    engine.configure(dashboard_port=None)
    assert f"127.0.0.1:{port}" in engine.status.message
    assert ray_node.left_over(engine.folder, None) == []


@pytest.mark.cluster
def test_a_dead_head_is_started_again(engine):
    before = engine.processes()
    engine.kill("gcs_server")
    wait_until(lambda: engine.status.state is not EngineState.READY)
    wait_until(lambda: engine.status.state is EngineState.READY)
    assert living(before) == before[:1]  # the keeper alone
    with RayApi(engine.access()) as api:
        assert api.read_file(f"rle/{FILE}") == b"kept"


@pytest.mark.cluster
def test_with_its_keeper_an_engine_dies_and_can_be_resumed(engine):
    before = engine.processes()
    os.kill(before[0].pid, signal.SIGKILL)
    wait_until(lambda: not living(before[:1]))  # a large process takes a moment to die
    assert engine.status.state is EngineState.SUSPENDED
    assert "resume" in engine.status.not_ready("hasty")
    wait_until(lambda: not living(before))
    engine.resume()
    assert engine.status.state is EngineState.READY


@pytest.mark.cluster
def test_what_a_dead_keeper_left_is_ended_by_the_next(engine):
    before = engine.processes()
    os.kill(before[0].pid, signal.SIGKILL)
    wait_until(lambda: not living(before[:1]))  # a large process takes a moment to die
    engine.resume()
    assert living(before) == []


@pytest.mark.cluster
def test_an_idle_engine_suspends_itself_but_not_while_a_job_runs(engine):
    LocalBackend().suspend(engine.record, engine.folder)
    engine.configure(auto_suspend_mins=0.1)
    engine.resume()
    with RayApi(engine.access()) as api:
        start_sleep(api, "busy", 12)
        wait_until(lambda: status_of(api, "busy") is JobStatus.COMPLETED)
    wait_until(lambda: engine.status.state is EngineState.SUSPENDED)
    assert engine.status.message == "It was suspended after 0.1 minutes without a job."
    engine.configure(auto_suspend_mins=0)


@pytest.mark.cluster
def test_a_dead_worker_node_is_started_again(engine):
    LocalBackend().suspend(engine.record, engine.folder)
    engine.configure(num_workers=1)
    engine.resume()
    with RayApi(engine.access()) as api:
        head, worker = (one for one in engine.processes() if "is_head" in str(one.cmdline()))
        assert '"is_head":true' in str(head.cmdline())
        worker.kill()
        first = {node.id for node in api.nodes() if node.is_alive}
        wait_until(lambda: bool(alive(api) - first) and len(alive(api)) == 2)
    engine.configure(num_workers=0)
    LocalBackend().suspend(engine.record, engine.folder)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that run; a dead one that nobody has taken leave of does not."""
    found = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def alive(api: RayApi) -> set[str]:
    return {node.id for node in api.nodes() if node.is_alive}
