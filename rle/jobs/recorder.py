"""Writes down what a job does, for everyone who watches it: events, log and state."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rle.errors import StorageError, ValidationError
from rle.jobs.layout import EVENTS, STATE
from rle.jobs.lines import mend, write_whole
from rle.runs.events import (
    ErrorEvent,
    EventLog,
    JobEvent,
    MetricEvent,
    ProgressEvent,
    ResultEvent,
    RunEvent,
    parse_event,
)
from rle.runs.redact import redacted_event

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rle.jobs.state import JobState
    from rle.runs.events import AnyEvent

STATE_EVERY_S = 1.0
"""How old state.json may be."""
PROGRESS_EVERY_S = 0.2
"""Between two progress events of a stage; its last is always written."""
RESERVE = ".reserve"
"""File that holds space back, for a job's last words on a full disk."""
RESERVE_BYTES = 256 * 1024
_AT_ONCE = (JobEvent, RunEvent, ResultEvent, ErrorEvent)


def read_state(folder: Path, start: JobState) -> JobState:
    """Return what the events in a job's folder add up to; `start` where there are none.

    A last line that a crash left unfinished is cut off, so it is for a job whose driver is dead.
    What else is damaged is left out.
    """
    mend(folder / EVENTS)
    state = start
    with suppress(FileNotFoundError), (folder / EVENTS).open("rb") as file:
        for line in file:
            with suppress(ValidationError):
                state = state.after(parse_event(line))
    return state


class Recorder:
    """The listener of a job: give it to whatever tells of events. For any number of threads.

    Each event, without secrets, becomes a line of events.jsonl and the same line of standard
    output; state.json follows at once where the job's status, run, result or error changed, else
    within a second.

    Args:
        folder: The job's.
        start: The state before the first event. What the folder's events say already is added.
        is_mirrored: Whether events are printed, too.
    """

    def __init__(self, folder: Path, start: JobState, *, is_mirrored: bool = True) -> None:
        self._folder, self._is_mirrored = folder, is_mirrored
        self._lock = threading.RLock()
        self.state = read_state(folder, start)
        """What all events so far add up to."""
        self._is_stale, self._failure = False, None  # type: bool, StorageError | None
        self._last_progress: dict[str, float] = {}
        self._held_back: ProgressEvent | None = None
        try:
            self._log = EventLog(folder)
            _reserve(folder / RESERVE)
        except OSError as error:
            raise StorageError.of(error, doing=f"Writing the events in {folder}") from error
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="rle-recorder", daemon=True)
        self._thread.start()

    def __call__(self, event: AnyEvent) -> None:
        """Write an event down. A progress event may wait for the next, and be replaced by it.

        Raises:
            StorageError: The disk is full or refuses. What was written before stays readable.
        """
        event = redacted_event(event)
        with self._lock:
            self._raise_failure()
            if isinstance(event, ProgressEvent) and not self._is_due(event):
                self._held_back = event
                return
            self._write_held_back(event)
            self._write(event)

    def last_words(self, *events: AnyEvent) -> None:
        """Write the events that end a job: all that a full disk still takes. Never raises."""
        with self._lock:
            self._failure = None
            for event in events:
                clean = redacted_event(event)
                with suppress(StorageError):
                    self._write_held_back(clean)
                try:
                    self._write(clean)
                except StorageError:
                    self.make_room()
                    with suppress(StorageError):
                        self._write(clean)

    def make_room(self) -> None:
        """Give back the space that was held for the last words."""
        with suppress(OSError):
            (self._folder / RESERVE).unlink(missing_ok=True)

    def close(self) -> None:
        """Write the state once more and stop. Twice is fine."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            if self._is_stale:
                with suppress(StorageError):
                    self._write_state()
            self._log.close()
        self.make_room()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_due(self, event: ProgressEvent) -> bool:
        if event.step >= event.num_steps and event.epoch == event.num_epochs:
            return True
        last = self._last_progress.get(event.stage)
        return last is None or time.monotonic() - last >= PROGRESS_EVERY_S

    def _write_held_back(self, following: AnyEvent | None) -> None:
        """Write the progress that waits, unless `following` replaces it or is only a number."""
        waiting = self._held_back
        if waiting is None or isinstance(following, MetricEvent):
            return
        self._held_back = None
        if not isinstance(following, ProgressEvent) or following.stage != waiting.stage:
            self._write(waiting)

    def _write(self, event: AnyEvent) -> None:
        if isinstance(event, ProgressEvent):
            self._last_progress[event.stage] = time.monotonic()
        self._write_line(event)
        self.state = self.state.after(event)
        self._is_stale = True
        if isinstance(event, _AT_ONCE):
            self._write_state()

    def _write_line(self, event: AnyEvent) -> None:
        path, line = self._log.path, event.to_json() + "\n"
        size = path.stat().st_size
        try:
            self._log(event)
            if path.stat().st_size < size + len(line.encode()):
                raise StorageError(
                    f"Writing {path} failed: the disk is full, or the largest size of a file is "
                    "reached. Free some space on the head's disk and submit the job again."
                )
        except (OSError, StorageError) as error:
            with suppress(OSError):
                os.truncate(path, size)
            if isinstance(error, StorageError):
                raise
            raise StorageError.of(error, doing=f"Writing {path}") from error
        if self._is_mirrored:
            with suppress(OSError):  # events.jsonl is the truth, and has it
                sys.stdout.write(line)
                sys.stdout.flush()

    def _write_state(self) -> None:
        self._is_stale = False
        is_end = self.state.status.is_terminal
        data = self.state.to_json().encode()
        write_whole(self._folder / STATE, data, is_durable=is_end)

    def _refresh(self) -> None:
        while not self._closed.wait(STATE_EVERY_S):
            with self._lock:
                try:
                    self._write_held_back(None)
                    if self._is_stale:
                        self._write_state()
                except StorageError as error:
                    self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def _reserve(path: Path) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
