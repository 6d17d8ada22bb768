"""All jobs of an engine at a glance: from its queue, from Ray and from what was sent from here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rle.jobs.queue import fold_journal
from rle.jobs.standing import LOST, STARTS, status_without_word
from rle.runs.job_status import JobStatus
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rle.engines.ray_api import RayJob
    from rle.jobs.queue import Ticket
    from rle.jobs.state import JobState

_LINE = 200
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class JobSummary(Value):
    """One job in a list. Times are UTC by the engine's clock."""

    job_id: str
    status: JobStatus
    kind: str
    """Of its work, as in `JobRequest.kind`; empty where it is not known."""
    experiment_name: str
    created_by: str
    queued_at: datetime | None
    """When the engine got it; by the laptop's clock where that is not known."""
    started_at: datetime | None
    finished_at: datetime | None
    message: str
    """One line for people."""
    engine: str
    """Name of the engine."""


def summaries_of(
    journal: bytes, ray_jobs: Iterable[RayJob] | None, *, engine: str
) -> dict[str, JobSummary]:
    """Return the jobs that a queue's journal or Ray knows, by id. Pure.

    Args:
        journal: Read before Ray was asked, so that what Ray says is the newer.
        ray_jobs: None where Ray does not run.
        engine: Name of the engine.
    """
    ours = None if ray_jobs is None else {j.submission_id: j for j in ray_jobs if j.is_rle}
    found = {ticket.job_id: _of_ticket(ticket, ours, engine) for ticket in fold_journal(journal)}
    for job_id, job in (ours or {}).items():
        if job_id not in found:
            found[job_id] = _of_ray(job, engine)
    return found


def summary_of(state: JobState, *, engine: str) -> JobSummary:
    """Return what a list shows of a job whose state is known."""
    return JobSummary(
        job_id=state.job_id,
        status=state.status,
        kind=state.kind,
        experiment_name=state.experiment_name,
        created_by=state.created_by,
        queued_at=state.queued_at or state.started_at or state.updated_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        message=_line(state.message),
        engine=engine,
    )


def newest_first(
    found: Iterable[JobSummary], *, status: JobStatus | None, limit: int | None
) -> list[JobSummary]:
    """Return the jobs of this status, at most so many, those that were submitted last first."""
    wanted = [job for job in found if status is None or job.status is status]
    wanted.sort(key=lambda job: (job.queued_at or _LONG_AGO, job.job_id), reverse=True)
    return wanted[:limit]


def _of_ticket(ticket: Ticket, ours: Mapping[str, RayJob] | None, engine: str) -> JobSummary:
    status, message, finished_at = ticket.status, ticket.message, ticket.finished_at
    if not status.is_terminal and ours is not None:
        job = ours.get(ticket.job_id)
        if job is None and status is JobStatus.RUNNING:
            status, message = JobStatus.FAILED, LOST
        elif job is not None and job.status.is_terminal:
            status, message, finished_at = _end_of(job), job.message, job.ended_at
    return JobSummary(
        job_id=ticket.job_id,
        status=status,
        kind=ticket.kind,
        experiment_name=ticket.experiment_name,
        created_by=ticket.created_by,
        queued_at=ticket.queued_at or ticket.submitted_at,
        started_at=ticket.started_at,
        finished_at=finished_at,
        message=_line(message),
        engine=engine,
    )


def _of_ray(job: RayJob, engine: str) -> JobSummary:
    is_over = job.status.is_terminal
    return JobSummary(
        job_id=job.submission_id,
        status=_end_of(job) if is_over else JobStatus.QUEUED,
        kind=job.metadata.get("kind", ""),
        experiment_name=job.metadata.get("experiment", ""),
        created_by=job.metadata.get("created_by", ""),
        queued_at=job.submitted_at,
        started_at=None,
        finished_at=job.ended_at,
        message=_line(job.message) if is_over else STARTS,
        engine=engine,
    )


def _end_of(job: RayJob) -> JobStatus:
    # A driver that ended well may have said so after the journal was read.
    return job.status if job.status is JobStatus.COMPLETED else status_without_word(job)


def _line(message: str) -> str:
    line = message.strip().partition("\n")[0]
    # Ray goes on with the log in the lines that follow.
    return line.partition(", last available logs")[0][:_LINE]
