"""An engine whose dashboard fails when told to, and a client of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rle.engines.base import EngineAccess, EngineBackend
from rle.engines.lookup import OpenEngine
from rle.engines.record import EngineRecord, EngineState, EngineStatus
from rle.errors import ConnectionError
from rle.jobs.client import JobClient
from rle.jobs.layout import jobs_folder
from rle.jobs.queue import Entry, Queue
from rle.jobs.recorder import Recorder
from rle.jobs.request import JobRequest, MaterializeWork, new_job_id
from rle.jobs.standing import first_state
from rle.runs.events import JobEvent

if TYPE_CHECKING:
    from pathlib import Path

    from rle.runs.job_status import JobStatus
    from tests.engines.dashboard import Dashboard

EXPERIMENT = "läden/regression/spend"
WORK = MaterializeWork(source_job_id=new_job_id(), experiment_name=EXPERIMENT)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class BoardBackend(EngineBackend):
    """Reaches a Dashboard; its jobs lie in `jobs`, where they are on this machine."""

    board: Dashboard
    jobs: Path | None = None
    state: EngineState = EngineState.READY

    def check(self, record: EngineRecord) -> None: ...
    def create(self, record: EngineRecord, folder: Path) -> None: ...
    def resume(self, record: EngineRecord, folder: Path) -> None: ...
    def suspend(self, record: EngineRecord, folder: Path) -> None: ...
    def delete(self, record: EngineRecord, folder: Path) -> None: ...

    def status(self, record: EngineRecord, folder: Path) -> EngineStatus:
        return EngineStatus(state=self.state)

    def access(self, record: EngineRecord, folder: Path) -> EngineAccess:
        if self.state is not EngineState.READY:
            raise ConnectionError(f"Engine {record.name!r} is {self.state}.")
        return self.board.access

    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        return self.jobs


@dataclass
class Place:
    """An engine and a client of it; what the head's disk holds is served by its dashboard."""

    board: Dashboard
    backend: BoardBackend
    engine: OpenEngine
    client: JobClient
    jobs: Path
    """On the head's disk."""

    def recorder(self, job_id: str, request: JobRequest | None = None) -> Recorder:
        return Recorder(self.jobs / job_id, first_state(job_id, request), is_mirrored=False)

    def say(self, job_id: str, *statuses: JobStatus) -> None:
        """Do what a driver does: state and journal."""
        with self.recorder(job_id) as recorder:
            for status in statuses:
                recorder(JobEvent(job_id=job_id, status=status, message=status.lower()))
                Queue(self.jobs).add(Entry.of(job_id, None, status, submitted_at=NOW))

    def sent(self) -> str:
        return self.client.submit(WORK).job_id


def place_of(board: Dashboard, tmp_path: Path, *, is_here: bool) -> Place:
    folder = tmp_path / "home" / "engines" / ("here" if is_here else "far")
    folder.mkdir(parents=True)
    head = jobs_folder(folder) if is_here else tmp_path / "head" / "jobs"
    head.mkdir(parents=True)
    (board.logs / "rle").symlink_to(head)
    now = datetime.now(UTC)
    record = EngineRecord(
        name=folder.name,
        id="0a1b2c3d",
        backend="local" if is_here else "address",
        size="any",
        created_by="me",
        created_on=now,
        updated_on=now,
    )
    backend = BoardBackend(board, head if is_here else None)
    engine = OpenEngine(record=record, folder=folder, backend=backend)
    return Place(board, backend, engine, JobClient(engine), head)
