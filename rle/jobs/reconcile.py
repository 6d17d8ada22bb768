"""Brings the queue, the jobs' files and Ray together after somebody died.

A driver that was killed cannot say so. Whoever looks next says it for it, with the reason that Ray
knows. A head that was restarted knows no job; those that waited are submitted again, in order.
Doing it twice, or at two places, changes nothing more.
"""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rle.errors import StorageError, ValidationError
from rle.jobs.alive import BREATH_LIMIT_S, is_alive, kill_holder, stopped_breathing
from rle.jobs.failures import explain_death
from rle.jobs.layout import LOG, PACKAGE, REQUEST, STATE, job_folder
from rle.jobs.lines import write_whole
from rle.jobs.queue import Queue, Ticket, last_ended
from rle.jobs.recorder import Recorder, read_state
from rle.jobs.request import JobRequest, check_job_id
from rle.jobs.state import JobState
from rle.jobs.submission import entrypoint, env_vars, metadata
from rle.runs.events import ErrorEvent, JobEvent
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rle.jobs.ray_jobs import JobsApi, RayJobLike

LOCK = "reconcile.lock"
SESSION = "session"
"""File among the jobs that names the head's session in which they were last looked after."""
VERDICT_S = 5.0
"""How long Ray has to notice that a driver is dead and to say why."""
LOG_TAIL_BYTES = 20_000
_POLL_S = 0.2


def reconcile(
    jobs: Path,
    api: JobsApi,
    *,
    breath_limit_s: float = BREATH_LIMIT_S,
    verdict_s: float = VERDICT_S,
) -> list[str]:
    """Find out about the jobs whose drivers are dead or stuck, and do what follows.

    Runs on the head. Where another process is at it already, nothing is done.

    Args:
        jobs: The folder of all jobs.
        api: Ray, which must answer.
        breath_limit_s: Seconds without a breath after which a driver is killed.
        verdict_s: Seconds that Ray has to notice a driver's death.

    Returns:
        What was done, one sentence each.

    Raises:
        ConnectionError: Ray does not answer. What was done before stays done.
        StorageError: A file cannot be written. Likewise.
    """
    with _alone(jobs) as is_alone:
        if not is_alone:
            return []
        return _Reconciler(jobs, api, breath_limit_s, verdict_s).run()


class _Reconciler:
    def __init__(self, jobs: Path, api: JobsApi, breath_limit_s: float, verdict_s: float) -> None:
        self._jobs, self._api = jobs, api
        self._breath_limit_s, self._verdict_s = breath_limit_s, verdict_s
        self._queue = Queue(jobs)
        self._done: list[str] = []

    def run(self) -> list[str]:
        ray_jobs = {job.submission_id: job for job in self._api.jobs()}
        tickets = self._queue.tickets()
        for ticket in tickets:
            if ticket.status.is_terminal:
                continue
            self._look_after(ticket, ray_jobs)
        self._free_the_ended(tickets)
        known = {ticket.job_id for ticket in tickets}
        for job in ray_jobs.values():
            if job.is_rle and job.submission_id not in known and job.status.is_terminal:
                self._end_unknown(job)
        self._after_restart(known | set(ray_jobs))
        return self._done

    def _look_after(self, ticket: Ticket, ray_jobs: Mapping[str, RayJobLike]) -> None:
        folder = job_folder(self._jobs, ticket.job_id)
        if is_alive(folder):
            if not stopped_breathing(folder, after_s=self._breath_limit_s):
                return
            if kill_holder(folder):
                why = f"its driver had not breathed for {self._breath_limit_s:g} s and was killed"
                self._end(ticket, JobStatus.FAILED, _stuck(self._breath_limit_s), why)
            return
        state = read_state(folder, _start(ticket))
        if state.status.is_terminal:
            # It said so itself, and died before the queue had it.
            self._write_state(ticket, state)
            if self._queue.move(ticket.job_id, state.status, state.message):
                self._done.append(f"Job {ticket.job_id} had ended: {state.status}.")
            return
        if ticket.status is JobStatus.RUNNING:
            self._end_dead(ticket, self._verdict(ticket.job_id))
            return
        self._look_after_waiting(ticket, ray_jobs.get(ticket.job_id))

    def _look_after_waiting(self, ticket: Ticket, job: RayJobLike | None) -> None:
        if job is None:
            self._submit_again(ticket)
        elif job.status.is_terminal:
            self._end_dead(ticket, job)
        # Else its driver starts, or Ray is about to notice that it ended.

    def _verdict(self, job_id: str) -> RayJobLike | None:
        """Return what Ray says of a job whose driver is dead, once it has noticed."""
        until = time.monotonic() + self._verdict_s
        while (job := self._api.job(job_id)) is not None and not job.status.is_terminal:
            if time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        return job

    def _end_dead(self, ticket: Ticket, job: RayJobLike | None) -> None:
        if job is not None and job.status is JobStatus.CANCELED:
            self._end(ticket, JobStatus.CANCELED, None, "canceled")
            return
        if job is None:
            error = ErrorEvent(
                error="EngineRestarted",
                message="The engine was restarted while the job ran.",
                advice="Submit the job again.",
            )
        else:
            folder = job_folder(self._jobs, ticket.job_id)
            request = _request(folder)
            error = explain_death(
                job.message,
                _log_tail(folder / LOG),
                job.exit_code,
                config=getattr(request.work, "config", None) if request else None,
            )
        self._end(ticket, JobStatus.FAILED, error, error.message.partition("\n")[0])

    def _end(
        self, ticket: Ticket, status: JobStatus, error: ErrorEvent | None, message: str
    ) -> None:
        """Say in a dead driver's place how its job ended: events, state, then the queue."""
        folder = job_folder(self._jobs, ticket.job_id)
        end = JobEvent(job_id=ticket.job_id, status=status, message=message)
        with Recorder(folder, _start(ticket), is_mirrored=False) as recorder:
            for event in (error, end) if error is not None else (end,):
                recorder(event)
            message = recorder.state.message
        self._queue.add(ticket.moved(status, message))
        self._done.append(f"Job {ticket.job_id} is {status}: {message}.".replace("..", "."))

    def _write_state(self, ticket: Ticket, state: JobState) -> None:
        path = job_folder(self._jobs, ticket.job_id) / STATE
        write_whole(path, state.to_json().encode())

    def _free_the_ended(self, tickets: list[Ticket]) -> None:
        """Kill the drivers that have ended their jobs and got stuck on their way out."""
        for ticket in last_ended(tickets):
            folder = job_folder(self._jobs, ticket.job_id)
            if stopped_breathing(folder, after_s=self._breath_limit_s) and kill_holder(folder):
                self._done.append(f"The driver of job {ticket.job_id}, which had ended, was stuck.")

    def _end_unknown(self, job: RayJobLike) -> None:
        """Put a job into the queue that ended before its driver could."""
        with suppress(ValidationError):
            folder = job_folder(self._jobs, check_job_id(job.submission_id))
            ticket = _new_ticket(folder, job.submitted_at or datetime.now(UTC))
            if is_alive(folder) or _has_ended(folder, ticket):
                return  # of old jobs that have ended the queue knows nothing
            folder.mkdir(parents=True, exist_ok=True)
            self._end_dead(ticket, job)

    def _after_restart(self, known: set[str]) -> None:
        """Submit again what a former session of the head got but never put into the queue."""
        session, path = self._api.session(), self._jobs / SESSION
        before = path.read_text(encoding="utf-8") if path.exists() else session
        if before != session:
            receipts = [
                (request.stat().st_mtime_ns, request.parent)
                for request in self._jobs.glob(f"*/{REQUEST}")
                if request.parent.name not in known
            ]
            for moment_ns, folder in sorted(receipts):
                ticket = _new_ticket(folder, datetime.fromtimestamp(moment_ns / 1e9, UTC))
                if _has_ended(folder, ticket):
                    continue
                self._queue.add(ticket.moved(JobStatus.QUEUED))
                self._submit_again(ticket)
        if not path.exists() or before != session:
            write_whole(path, session.encode())

    def _submit_again(self, ticket: Ticket) -> None:
        folder = job_folder(self._jobs, ticket.job_id)
        try:
            request = JobRequest.from_json((folder / REQUEST).read_bytes())
            package = (folder / PACKAGE).read_bytes() if request.has_code else None
        except (OSError, ValidationError) as error:
            what = "request" if isinstance(error, ValidationError) else str(error)
            self._end(
                ticket,
                JobStatus.FAILED,
                ErrorEvent(
                    error="EngineRestarted",
                    message="The engine was restarted while the job waited, and it cannot be "
                    f"submitted again from what the engine kept: {what}.",
                    advice="Submit the job again.",
                ),
                "the engine was restarted, and the job could not be submitted again",
            )
            return
        from rle.engines.ray_api import JobExistsError

        with suppress(JobExistsError):
            self._api.submit(
                ticket.job_id,
                entrypoint=entrypoint(request),
                package=package,
                metadata=metadata(request),
                env_vars=env_vars(),
            )
        self._done.append(f"Job {ticket.job_id} was submitted again; it keeps its place.")


@contextmanager
def _alone(jobs: Path) -> Iterator[bool]:
    try:
        jobs.mkdir(parents=True, exist_ok=True)
        file = (jobs / LOCK).open("ab")
    except OSError as error:
        raise StorageError.of(error, doing=f"Opening {jobs / LOCK}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _start(ticket: Ticket) -> JobState:
    """Return the state of a job of which there is no event yet."""
    return JobState(
        job_id=ticket.job_id,
        kind=ticket.kind,
        experiment_name=ticket.experiment_name,
        created_by=ticket.created_by,
        queued_at=ticket.queued_at,
    )


def _has_ended(folder: Path, ticket: Ticket) -> bool:
    return read_state(folder, _start(ticket)).status.is_terminal


def _new_ticket(folder: Path, submitted_at: datetime) -> Ticket:
    """Return the ticket of a job that is in no queue yet, as its request says, if there is one."""
    kind = experiment_name = created_by = ""
    if (request := _request(folder)) is not None:
        kind, created_by = request.kind, request.created_by
        experiment_name = request.work.experiment_name
    return Ticket(folder.name, JobStatus.CREATED, submitted_at, kind, experiment_name, created_by)


def _request(folder: Path) -> JobRequest | None:
    """Return a job's request; None where it is missing or damaged."""
    with suppress(OSError, ValidationError):
        return JobRequest.from_json((folder / REQUEST).read_bytes())
    return None


def _stuck(after_s: float) -> ErrorEvent:
    return ErrorEvent(
        error="DriverStuck",
        message=f"The job's driver did nothing for {after_s:g} s and was killed, so that the queue "
        "goes on.",
        advice="See what its log ends with. If the machine was short of memory, ask for less: a "
        "smaller batch_size, fewer fanouts.",
    )


def _log_tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
