"""Waiting for one's turn: first come, first served, by the order in which the head got the jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.engines.record import EngineRecord
from rle.errors import ConnectionError, JobHandlerError, StorageError
from rle.jobs.alive import BREATH_LIMIT_S, is_alive, stopped_breathing
from rle.jobs.layout import job_folder
from rle.jobs.queue import last_ended
from rle.jobs.reconcile import reconcile
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path
    from threading import Event as Flag

    from rle.jobs.queue import Queue, Ticket
    from rle.jobs.ray_jobs import JobsApi, RayJobLike

POLL_S = 0.3
"""How often the next in line looks whether it is its turn."""
FAR_POLL_S = 1.0
"""How often the others look."""
MAX_RUNNING_JOBS = "RLE_MAX_RUNNING_JOBS"
"""Variable of the head: jobs that run at the same time, where no engine.json says so."""
ENGINE_RECORD = "engine.json"


def max_running_jobs(jobs: Path) -> int:
    """Return how many jobs of this engine may run at the same time.

    Raises:
        ValidationError: engine.json is damaged.
        JobHandlerError: The variable holds no whole number from 1 on.
    """
    record = jobs.parent / ENGINE_RECORD
    if record.exists():
        return EngineRecord.from_json(record.read_bytes()).settings.max_running_jobs
    text = os.environ.get(MAX_RUNNING_JOBS, "1")
    if not text.isdecimal() or int(text) < 1:
        raise JobHandlerError(
            f"{MAX_RUNNING_JOBS} on the head is {text!r}, but must be a whole number from 1 on.",
            "bad_setting",
        )
    return int(text)


@dataclass(frozen=True, slots=True)
class Line:
    """The queue as one waiting job sees it."""

    running: tuple[str, ...]
    """Jobs that run, and those whose drivers have ended their jobs and are about to go."""
    waiting: tuple[str, ...]
    """Jobs that were submitted earlier and wait, in order."""
    max_running: int

    @property
    def ahead(self) -> int:
        """Jobs that come first: 0 means that it is this job's turn."""
        return max(0, len(self.running) + len(self.waiting) + 1 - self.max_running)


def line_before(
    ticket: Ticket, tickets: Sequence[Ticket], leaving: Collection[str], max_running: int
) -> Line:
    """Return who comes before `ticket`. Pure.

    Args:
        ticket: Of the job that asks.
        tickets: All jobs in order.
        leaving: Jobs that have ended while their drivers still hold memory and GPUs.
        max_running: Jobs that may run at the same time.
    """
    running = [other.job_id for other in tickets if other.status is JobStatus.RUNNING]
    waiting = (
        other.job_id
        for other in tickets
        if other.status is JobStatus.QUEUED and other.place < ticket.place
    )
    return Line((*running, *leaving), tuple(waiting), max_running)


def unknown_before(
    ticket: Ticket, tickets: Sequence[Ticket], ray_jobs: Sequence[RayJobLike]
) -> list[str]:
    """Return the jobs that Ray got before this one and whose drivers are not in the queue yet."""
    known = {other.job_id for other in tickets}
    return [
        job.submission_id
        for job in ray_jobs
        if job.is_rle
        and not job.status.is_terminal
        and job.submission_id not in known
        and job.submitted_at is not None
        and (job.submitted_at, job.submission_id) < ticket.place
    ]


class Turn:
    """Waits until it is a job's turn, and sees to it that the dead make way.

    Args:
        jobs: The folder of all jobs.
        queue: Their queue, which has this job as QUEUED.
        api: Ray.
        breath_limit_s: Seconds without a breath after which a driver is killed.
        poll_s: Seconds between two looks.
    """

    def __init__(
        self,
        jobs: Path,
        queue: Queue,
        api: JobsApi,
        *,
        breath_limit_s: float = BREATH_LIMIT_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._jobs, self._queue, self._api = jobs, queue, api
        self._breath_limit_s, self._poll_s = breath_limit_s, poll_s
        self._max_running = max_running_jobs(jobs)

    def wait(self, job_id: str, tell_ahead: Callable[[int], None], stop: Flag) -> bool:
        """Wait, and put the job into the queue as RUNNING.

        Args:
            job_id: Of this process.
            tell_ahead: Told how many jobs come first: at once, and whenever that changes.
            stop: Ends the wait.

        Returns:
            Whether it is its turn; False: `stop` was set, or the job was ended by somebody else.

        Raises:
            StorageError: The queue cannot be written.
        """
        told: int | None = None
        while not stop.is_set():
            ticket = self._queue.ticket(job_id)
            if ticket is None or ticket.status is not JobStatus.QUEUED:
                return False
            line = self._line(ticket, self._queue.tickets())
            if line.ahead == 0 and self._take(ticket):
                return True
            # Where nobody is seen ahead, a job is that has not shown itself yet.
            ahead = max(line.ahead, 1)
            if ahead != told:
                tell_ahead(ahead)
                told = ahead
            self._clear(line)
            stop.wait(self._poll_s if ahead <= self._max_running + 1 else FAR_POLL_S)
        return False

    def _line(self, ticket: Ticket, tickets: Sequence[Ticket]) -> Line:
        leaving = [
            other.job_id
            for other in last_ended(tickets)
            if is_alive(job_folder(self._jobs, other.job_id))
        ]
        return line_before(ticket, tickets, leaving, self._max_running)

    def _take(self, ticket: Ticket) -> bool:
        """Put the job into the queue as RUNNING if nobody comes first, seen under the lock."""
        try:
            ray_jobs = self._api.jobs()
        except ConnectionError:
            return False  # a dashboard that was restarted answers in a moment

        def is_free(tickets: list[Ticket]) -> bool:
            if unknown_before(ticket, tickets, ray_jobs):
                return False
            return self._line(ticket, tickets).ahead == 0

        return self._queue.add(ticket.moved(JobStatus.RUNNING), only_if=is_free)

    def _clear(self, line: Line) -> None:
        """Have the dead among those who must go first found out, or who has stopped breathing."""
        folders = [job_folder(self._jobs, job_id) for job_id in (*line.running, *line.waiting[:1])]
        if all(
            is_alive(folder) and not stopped_breathing(folder, after_s=self._breath_limit_s)
            for folder in folders
        ):
            return
        try:
            reconcile(self._jobs, self._api, breath_limit_s=self._breath_limit_s)
        except (ConnectionError, StorageError):
            return  # asked again with the next look
