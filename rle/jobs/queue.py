"""The queue of an engine: one durable journal of transitions, which only ever goes forward.

Whoever reads it needs no lock: what the whole lines say, added up, is where every job stands.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pydantic
from pydantic import AwareDatetime, Field, field_validator

from rle.errors import StorageError
from rle.jobs.layout import QUEUE, QUEUE_LOCK
from rle.jobs.lines import append_line, write_whole
from rle.jobs.request import check_job_id
from rle.runs.job_status import JobStatus
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rle.jobs.request import JobRequest

COMPACT_BYTES = 4 * 2**20
"""Size from which on the journal forgets its oldest jobs."""
KEPT_JOBS = 2_000
"""Finished jobs that it keeps then, the newest."""
LAST_ENDED = 8
LOCK_TIMEOUT_S = 30.0
_POLL_S = 0.01


class Entry(Value):
    """One transition of one job. Equal to one line of queue.jsonl."""

    job_id: str
    status: JobStatus
    submitted_at: AwareDatetime
    """When the head got the job, by its own clock, UTC; its place in the queue."""
    kind: str = ""
    """As in `JobRequest`, like the next two; empty where the request could not be read."""
    experiment_name: str = ""
    created_by: str = ""
    message: str = ""
    """One line for people."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it happened, UTC."""

    @field_validator("job_id")
    @classmethod
    def _check_id(cls, job_id: str) -> str:
        return check_job_id(job_id)

    @classmethod
    def of(
        cls,
        job_id: str,
        request: JobRequest | None,
        status: JobStatus,
        *,
        submitted_at: datetime,
        message: str = "",
    ) -> Entry:
        """Return the entry of a job that the queue may not know yet."""
        said = (
            {}
            if request is None
            else {
                "kind": request.kind,
                "experiment_name": request.work.experiment_name,
                "created_by": request.created_by,
            }
        )
        return cls(job_id=job_id, status=status, submitted_at=submitted_at, message=message, **said)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job's place in the queue and where it stands. Times are UTC by the head's clock."""

    job_id: str
    status: JobStatus
    submitted_at: datetime
    kind: str
    experiment_name: str
    created_by: str
    message: str = ""
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def place(self) -> tuple[datetime, str]:
        """What the queue is sorted by."""
        return self.submitted_at, self.job_id

    def moved(self, status: JobStatus, message: str = "") -> Entry:
        """Return the entry that brings this job to another status."""
        return Entry(
            job_id=self.job_id,
            status=status,
            submitted_at=self.submitted_at,
            kind=self.kind,
            experiment_name=self.experiment_name,
            created_by=self.created_by,
            message=message,
        )


class _Fold:
    """Adds up entries, in the order in which they were written."""

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}

    def takes(self, entry: Entry) -> bool:
        """Whether `entry` goes forward from where its job stands."""
        known = self.tickets.get(entry.job_id)
        return (JobStatus.CREATED if known is None else known.status).may_become(entry.status)

    def add(self, entry: Entry) -> None:
        if not self.takes(entry):
            return
        ticket = self.tickets.get(entry.job_id) or Ticket(
            entry.job_id,
            entry.status,
            entry.submitted_at,
            entry.kind,
            entry.experiment_name,
            entry.created_by,
        )
        moved = replace(ticket, status=entry.status, message=entry.message)
        if entry.status is JobStatus.QUEUED:
            moved = replace(moved, queued_at=entry.at)
        elif entry.status is JobStatus.RUNNING:
            moved = replace(moved, started_at=entry.at)
        else:
            moved = replace(moved, finished_at=entry.at)
        self.tickets[entry.job_id] = moved

    def add_lines(self, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            entry = _parsed(line)
            if entry is not None:
                self.add(entry)

    def in_order(self) -> list[Ticket]:
        return sorted(self.tickets.values(), key=lambda ticket: ticket.place)


def _parsed(line: bytes) -> Entry | None:
    """Return what a line says; None for one that is damaged or not finished yet."""
    if not line.endswith(b"\n"):
        return None
    with suppress(pydantic.ValidationError):
        return Entry.model_validate_json(line)
    return None


def fold_journal(data: bytes) -> list[Ticket]:
    """Return where every job stands, in queue order, from the bytes of a journal.

    A last line that is still being written is left out, and so is a damaged one. Costs about
    10 microseconds per line.
    """
    fold = _Fold()
    fold.add_lines(data)
    return fold.in_order()


def last_ended(tickets: Sequence[Ticket]) -> list[Ticket]:
    """Return the jobs that ran and ended last, a few: their drivers may not have gone yet."""
    ended = ((t.finished_at, t) for t in tickets if t.started_at and t.finished_at)
    return [ticket for _, ticket in heapq.nlargest(LAST_ENDED, ended, key=lambda pair: pair[0])]


class Queue:
    """The journal of one engine on its head's disk. For one thread; any number of processes.

    Args:
        jobs: The folder of all jobs; made where it is missing.
    """

    def __init__(self, jobs: Path) -> None:
        self._path, self._lock_path = jobs / QUEUE, jobs / QUEUE_LOCK
        try:
            jobs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError.of(error, doing=f"Making {jobs}") from error
        self._fold = _Fold()
        self._file_id, self._read_to = (0, 0), 0

    def tickets(self) -> list[Ticket]:
        """Return where every job stands, in queue order. Reads only what is new."""
        self._read()
        return self._fold.in_order()

    def ticket(self, job_id: str) -> Ticket | None:
        """Return where one job stands; None where the queue does not know it."""
        self._read()
        return self._fold.tickets.get(job_id)

    def add(
        self,
        entry: Entry,
        *,
        only_if: Callable[[list[Ticket]], bool] | None = None,
        timeout_s: float = LOCK_TIMEOUT_S,
    ) -> bool:
        """Add a transition, unless it does not go forward; whether it was added.

        Args:
            entry: It keeps the place that the job was first given, if it has one.
            only_if: Asked with all tickets in order while nobody else can add anything.
            timeout_s: Longest wait for the others.

        Raises:
            StorageError: The disk is full or refuses, or somebody holds the lock for too long; the
                journal is as it was.
        """
        with self._locked(timeout_s):
            self._read()
            if not self._fold.takes(entry) or (only_if and not only_if(self._fold.in_order())):
                return False
            if (known := self._fold.tickets.get(entry.job_id)) is not None:
                entry = entry.replace(submitted_at=known.submitted_at)
            append_line(self._path, entry.to_json().encode() + b"\n")
            if self._path.stat().st_size > COMPACT_BYTES:
                self._compact()
            return True

    def move(
        self,
        job_id: str,
        status: JobStatus,
        message: str = "",
        *,
        timeout_s: float = LOCK_TIMEOUT_S,
    ) -> bool:
        """Bring a job that is queued already to another status; whether that was new. As `add`."""
        ticket = self.ticket(job_id)
        return ticket is not None and self.add(ticket.moved(status, message), timeout_s=timeout_s)

    def _read(self) -> None:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            about = os.fstat(file.fileno())
            if (about.st_dev, about.st_ino) != self._file_id or about.st_size < self._read_to:
                self._file_id, self._read_to = (about.st_dev, about.st_ino), 0
                self._fold = _Fold()
            file.seek(self._read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._fold.add_lines(whole)
        self._read_to += len(whole)

    def _compact(self) -> None:
        """Write the journal anew without its oldest jobs. Where that fails, it stays as it is."""
        self._read()
        lines = self._path.read_bytes().splitlines(keepends=True)
        kept = _kept(self._fold.tickets.values())
        data = b"".join(
            line for line in lines if (entry := _parsed(line)) is not None and entry.job_id in kept
        )
        with suppress(StorageError):
            write_whole(self._path, data)

    @contextmanager
    def _locked(self, timeout_s: float) -> Iterator[None]:
        try:
            file = self._lock_path.open("ab")
        except OSError as error:
            raise StorageError.of(error, doing=f"Opening {self._lock_path}") from error
        with file:
            until = time.monotonic() + timeout_s
            # A process that was stopped while it held the lock must not stop all others for good.
            while not _try_lock(file.fileno()):
                if time.monotonic() > until:
                    raise StorageError(
                        f"{self._lock_path} has been held by another process for {timeout_s:.0f} "
                        f"s. `fuser {self._lock_path}` names it."
                    )
                time.sleep(_POLL_S)
            yield


def _kept(tickets: Iterable[Ticket]) -> set[str]:
    """Return the jobs that a compacted journal still tells of."""
    finished = [ticket for ticket in tickets if ticket.finished_at is not None]
    newest = sorted(finished, key=lambda ticket: ticket.place)[-KEPT_JOBS:]
    live = (ticket for ticket in tickets if ticket.finished_at is None)
    return {ticket.job_id for ticket in (*newest, *live)}


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
