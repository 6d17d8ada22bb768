"""Where a job stands, from what its files say and what Ray says. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rle.jobs.state import JobState
from rle.runs.events import ErrorEvent, JobEvent
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from datetime import datetime

    from rle.engines.ray_api import RayJob
    from rle.jobs.request import JobRequest
    from rle.runs.events import Event
    from rle.runs.job_records import JobRecord

EventT = TypeVar("EventT", bound="Event")

STARTS = "The engine has it; its driver starts."
LOST = "The head of the engine was restarted while the job ran."
SUSPENDED = "The engine was suspended while the job ran."
WITHOUT_WORD = "Its driver ended without saying how the job ended."
NOT_THERE = "The engine does not have it yet."


def first_state(job_id: str, request: JobRequest | None, ray: RayJob | None = None) -> JobState:
    """Return the state before the first event, from the request or what Ray was told of it."""
    if request is not None:
        return JobState(
            job_id=job_id,
            kind=request.kind,
            experiment_name=request.work.experiment_name,
            created_by=request.created_by,
            message=NOT_THERE,
            updated_at=request.created_at,
        )
    told = {} if ray is None else ray.metadata
    return JobState(
        job_id=job_id,
        kind=told.get("kind", ""),
        experiment_name=told.get("experiment", ""),
        created_by=told.get("created_by", ""),
    )


def waiting(start: JobState, ray: RayJob) -> JobState:
    """Return the state of a job that Ray has and whose driver has not said anything yet."""
    if ray.submitted_at is None:
        return start
    return start.after(
        JobEvent(
            job_id=start.job_id,
            status=JobStatus.QUEUED,
            message=STARTS,
            time=ray.submitted_at,
        )
    )


def status_without_word(ray: RayJob) -> JobStatus:
    """Return how a job ended whose driver did not say it, from how Ray saw the driver end."""
    return JobStatus.CANCELED if ray.status is JobStatus.CANCELED else JobStatus.FAILED


def died(state: JobState, ray: RayJob, why: ErrorEvent) -> JobState:
    """Return the state of a job whose driver is dead and did not say how the job ended."""
    status = status_without_word(ray)
    if status is JobStatus.CANCELED:
        return _ended(state, status, "It was canceled.", ray.ended_at)
    return _ended(state.after(_at(why, ray.ended_at)), status, why.message, ray.ended_at)


def lost(state: JobState, message: str) -> JobState:
    """Return the state of a job that ran on an engine which does not know it any more."""
    why = ErrorEvent(error="JobFailedError", message=message, advice="Submit it again.")
    at = state.updated_at
    return _ended(state.after(_at(why, at)), JobStatus.FAILED, message, at)


def canceled(state: JobState) -> JobState:
    """Return the state of a job that was canceled before the engine had it."""
    return _ended(state, JobStatus.CANCELED, "It was canceled before the engine had it.", None)


def of_record(record: JobRecord) -> JobState:
    """Return the state of a job that only MLflow still knows."""
    return JobState(
        job_id=record.job_id,
        kind=record.kind,
        experiment_name=record.experiment_name,
        created_by=record.created_by,
        status=record.status,
        message=f"As MLflow has it; it ran on engine {record.engine!r}.",
        started_at=record.started_at,
        finished_at=record.finished_at,
        updated_at=record.finished_at or record.started_at,
        model_run_id=record.model_run_id,
        result=None if record.export_paths is None else {"export_paths": dict(record.export_paths)},
    )


def _ended(state: JobState, status: JobStatus, message: str, at: datetime | None) -> JobState:
    return state.after(_at(JobEvent(job_id=state.job_id, status=status, message=message), at))


def _at(event: EventT, moment: datetime | None) -> EventT:
    # Asked twice, the answer is the same.
    return event if moment is None else event.replace(time=moment)
