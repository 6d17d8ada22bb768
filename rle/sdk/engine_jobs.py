"""The jobs of one engine, as trainers, monitors and managers ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rle.errors import ValidationError
from rle.jobs.request import check_job_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rle.engines.lookup import OpenEngine
    from rle.engines.record import EngineState
    from rle.jobs.client import JobSummary
    from rle.jobs.request import JobRequest, Work
    from rle.jobs.state import JobState
    from rle.runs.events import AnyEvent
    from rle.runs.job_status import JobStatus


class Jobs(Protocol):
    """What a monitor needs of an engine: `rle.jobs.client.JobClient`."""

    def submit(self, work: Work, *, upload_code: bool | Path = False) -> JobRequest:
        """Queue a job."""

    def request(self, job_id: str) -> JobRequest:
        """Return what was asked for."""

    def state(self, job_id: str) -> JobState:
        """Return where a job stands."""

    def states(
        self, *, status: JobStatus | None = None, limit: int | None = None
    ) -> list[JobSummary]:
        """Return all jobs, the newest first."""

    def cancel(self, job_id: str) -> None:
        """Stop a job."""

    def follow_log(self, job_id: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield whole lines as they come, b"" now and then, until the job has ended."""

    def events(self, job_id: str, *, offset: int = 0) -> tuple[list[AnyEvent], int]:
        """Return events from a byte on, and where the next ones begin."""

    def log(self, job_id: str, *, node: str | None = None, lines: int | None = None) -> str:
        """Return a log as it is now."""

    def nodes(self, job_id: str) -> list[str]:
        """Return the nodes that have a log of the job."""


@dataclass(frozen=True, slots=True)
class EngineJobs:
    """An engine's name, its jobs and where it stands."""

    name: str
    jobs: Jobs
    shares_files: bool
    """Whether its files are this machine's files."""
    ask_state: Callable[[], EngineState]
    """Returns where the engine stands; quick, and never an error."""
    models: Path | None = None
    """MLflow's sqlite file, where that is on this machine and all there is of MLflow."""


def jobs_on(engine: str | EngineJobs | None, *, must_run: bool = False) -> EngineJobs:
    """Return the jobs of an engine.

    Args:
        engine: Its name; None: $RLE_ENGINE, or the only engine there is.
        must_run: Whether it has to be READY, as it must to take a job.

    Raises:
        ConnectionError: There is no such engine, or it is not READY and has to be.
    """
    from rle.engines.lookup import open_engine
    from rle.jobs.client import JobClient

    if isinstance(engine, EngineJobs):
        return engine
    if engine is not None and not isinstance(engine, str):
        raise ValidationError(f"engine must be the name of an engine, not {engine!r:.100}.")
    opened = open_engine(engine, must_run=must_run)
    return EngineJobs(
        name=opened.record.name,
        jobs=JobClient(opened),
        shares_files=opened.jobs_folder is not None,
        ask_state=lambda: opened.status().state,
        models=_models_of(opened),
    )


def _models_of(engine: OpenEngine) -> Path | None:
    from rle.engines.keeper_state import read_state

    said = None if engine.jobs_folder is None else read_state(engine.folder)
    if said is None or not said.keeps_runs_here:
        return None
    return engine.folder.parents[1] / "mlflow.db"


def jobs_with(job_id: str, engine: str | EngineJobs | None) -> EngineJobs:
    """Return the jobs among which is `job_id`; where no engine is named, whichever had it.

    Raises:
        ValidationError: `job_id` has not the form of one.
        ConnectionError: There is no such engine.
        JobManagerError: The engine has no such job.
    """
    check_job_id(job_id)
    found = jobs_on(engine_that_took(job_id) if engine is None else engine)
    found.jobs.state(job_id)
    return found


def engine_that_took(job_id: str) -> str | None:
    """Return the engine that this machine submitted a job to; None where it keeps no receipt."""
    from rle.engines.store import EngineStore
    from rle.jobs.layout import REQUEST, job_folder, jobs_folder

    store = EngineStore()
    for record in store.all():
        if (job_folder(jobs_folder(store.folder(record.name)), job_id) / REQUEST).exists():
            return record.name
    return None
