"""An engine's jobs in memory, for what a laptop does with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rle.engines.record import EngineState
from rle.errors import ConnectionError, JobManagerError
from rle.jobs.listing import summary_of
from rle.jobs.request import JobRequest, Versions, new_job_id
from rle.jobs.state import JobState
from rle.runs.events import ErrorEvent, JobEvent, MetricEvent, ProgressEvent, ResultEvent, RunEvent
from rle.runs.job_status import JobStatus
from rle.sdk.engine_jobs import EngineJobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.jobs.listing import JobSummary
    from rle.jobs.request import Work
    from rle.runs.events import AnyEvent

BEGIN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
EXPERIMENT = "shop/binary_classification/churn"
RUN_ID = "0123456789abcdef0123456789abcdef"


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


class FakeJobs:
    """Jobs that do what a test says: `states` is popped from the front, `logs` likewise."""

    def __init__(self) -> None:
        self.requests: dict[str, JobRequest] = {}
        self.history: dict[str, list[JobState | Exception]] = {}
        self.log_parts: list[bytes | Exception] = []
        self.asked_offsets: list[int] = []
        self.canceled: list[str] = []
        self.uploads: list[bool | Path] = []
        self.engine_state = EngineState.READY
        self.made: list[JobState] = []
        """Ends of the jobs that will be submitted."""

    @property
    def engine(self) -> EngineJobs:
        return EngineJobs("lab", self, shares_files=True, ask_state=lambda: self.engine_state)

    def add(self, *states: JobState | Exception, job_id: str | None = None) -> str:
        known = next((s.job_id for s in states if isinstance(s, JobState)), None)
        job_id = job_id or known or new_job_id()
        self.history[job_id] = [
            s.replace(job_id=job_id) if isinstance(s, JobState) else s for s in states
        ]
        return job_id

    def submit(self, work: Work, *, upload_code: bool | Path = False) -> JobRequest:
        request = JobRequest(job_id=new_job_id(), work=work, versions=Versions.here())
        self.requests[request.job_id] = request
        self.uploads.append(upload_code)
        end = self.made.pop(0) if self.made else state_of(request.kind)
        self.history[request.job_id] = [end.replace(job_id=request.job_id)]
        return request

    def request(self, job_id: str) -> JobRequest:
        self.state(job_id)
        return self.requests[job_id]

    def state(self, job_id: str) -> JobState:
        if job_id not in self.history:
            raise JobManagerError(f"Engine 'lab' has no job {job_id}.", "unknown_job")
        states = self.history[job_id]
        state = states.pop(0) if len(states) > 1 else states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def states(
        self, *, status: JobStatus | None = None, limit: int | None = None
    ) -> list[JobSummary]:
        found = [self.state(job_id) for job_id in self.history]
        found = [state for state in found if status in (None, state.status)]
        return [summary_of(state, engine="lab") for state in found[:limit]]

    def cancel(self, job_id: str) -> None:
        state = self.state(job_id)
        if state.status.is_terminal:
            raise JobManagerError(f"Job {job_id} is {state.status}.", "job_ended")
        self.canceled.append(job_id)

    def follow_log(self, job_id: str, *, offset: int = 0) -> Iterator[bytes]:
        self.asked_offsets.append(offset)
        while self.log_parts:
            part = self.log_parts.pop(0)
            if isinstance(part, BaseException):
                raise part
            yield part

    def events(self, job_id: str, *, offset: int = 0) -> tuple[list[AnyEvent], int]:
        return [JobEvent(job_id=job_id, status=JobStatus.QUEUED, time=BEGIN)], 80

    def log(self, job_id: str, *, node: str | None = None, lines: int | None = None) -> str:
        return f"node {node}, {lines} lines"

    def nodes(self, job_id: str) -> list[str]:
        return ["aa11", "bb22"]


def state_of(kind: str = "train", *events: AnyEvent, **changes: Any) -> JobState:
    """The state of a queued job after these events."""
    start = JobState(
        job_id=changes.pop("job_id", None) or new_job_id(),
        kind=kind,
        experiment_name=changes.pop("experiment_name", EXPERIMENT),
        created_by="ada",
    )
    return start.after(moved(JobStatus.QUEUED, 0, ahead=2), *events).replace(**changes)


def moved(status: JobStatus, seconds: float, **given: Any) -> JobEvent:
    return JobEvent(job_id="any", status=status, time=at(seconds), **given)


def running(kind: str = "train", **changes: Any) -> JobState:
    """A job in the third of ten epochs, a minute after its beginning."""
    return state_of(
        kind,
        moved(JobStatus.RUNNING, 10),
        RunEvent(model_run_id=RUN_ID, experiment_name=EXPERIMENT, time=at(11)),
        progress(1, 1, seconds=20),
        MetricEvent(name="training_loss", value=0.7, step=100, time=at(60)),
        MetricEvent(name="validation_roc_auc", value=0.74311, step=200, time=at(65)),
        progress(3, 40, seconds=70),
        **changes,
    )


def progress(epoch: int, step: int, *, seconds: float) -> ProgressEvent:
    return ProgressEvent(
        stage="train",
        step=step,
        num_steps=100,
        epoch=epoch,
        num_epochs=10,
        loss=0.5123,
        time=at(seconds),
    )


def completed(
    kind: str = "train", result: dict[str, Any] | None = None, **changes: Any
) -> JobState:
    return state_of(
        kind,
        moved(JobStatus.RUNNING, 10),
        RunEvent(model_run_id=RUN_ID, experiment_name=EXPERIMENT, time=at(11)),
        MetricEvent(name="best_validation_roc_auc", value=0.81, step=200, time=at(65)),
        ResultEvent(result=result or {"metrics": {}}, time=at(69)),
        moved(JobStatus.COMPLETED, 70),
        **changes,
    )


def failed(**error: str) -> JobState:
    given = {"error": "MemoryError", "message": "The GPU is full.", "advice": "Halve the batch."}
    return state_of(
        "train",
        moved(JobStatus.RUNNING, 10),
        ErrorEvent(**given | error, traceback="Traceback: line 7", time=at(20)),
        moved(JobStatus.FAILED, 21),
    )


def canceled() -> JobState:
    return state_of("train", moved(JobStatus.RUNNING, 10), moved(JobStatus.CANCELED, 12))


def lost_connection() -> ConnectionError:
    return ConnectionError("Engine 'lab' at http://127.0.0.1:1 does not answer.")
