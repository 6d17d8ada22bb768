"""Shows a job's log as it grows: its events as one live bar and lines, all else as it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from rle.engines.record import EngineState
from rle.errors import ConnectionError, ValidationError
from rle.runs.events import ErrorEvent, ProgressEvent, parse_event
from rle.runs.job_status import JobStatus
from rle.runs.printable import printable
from rle.runs.progress import ProgressDisplay, lines_of
from rle.runs.redact import redact
from rle.sdk.notebook import as_html, in_notebook, progress_html, show_html
from rle.sdk.shown import activity, error_of, failure
from rle.sdk.waiting import check_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.jobs.state import JobState
    from rle.runs.events import AnyEvent
    from rle.sdk.engine_jobs import EngineJobs
    from rle.sdk.notebook import Handle

RESTART_S = 180.0
"""How long an engine that starts again is waited for, in seconds."""
SHORTEST_S, LONGEST_S = 0.01, 10.0
"""Bounds of the time between two tries, in seconds."""
REDRAW_S = 0.5
"""Least time between two changes of a notebook's bar."""
_EVENT = b'{"type":"'


class View(Protocol):
    """Where a log is shown."""

    def event(self, event: AnyEvent) -> None:
        """Show one event."""

    def text(self, lines: str) -> None:
        """Show lines; they end with a line end."""


class TerminalView:
    """A terminal, or a file: the bar of `ProgressDisplay` and lines above it."""

    def __init__(self, console: Console, display: ProgressDisplay) -> None:
        self._display, self._colours = display, console.is_terminal

    def event(self, event: AnyEvent) -> None:
        """Show one event."""
        self._display(event)

    def text(self, lines: str) -> None:
        """Show lines in one piece."""
        self._display.write(printable(lines, colours=self._colours))


class NotebookView:
    """A cell: lines as they come, and one bar in HTML that changes in its place."""

    def __init__(self, state: JobState) -> None:
        self._state, self._drawn_at = state, 0.0
        self._handle: Handle | None = None

    def event(self, event: AnyEvent) -> None:
        """Show one event; progress at most every `REDRAW_S`."""
        self._state = self._state.after(event)
        if not isinstance(event, ProgressEvent):
            for line, _ in lines_of(event):
                self.text(f"{line}\n")
        elif time.monotonic() - self._drawn_at >= REDRAW_S or event.step >= event.num_steps:
            self._draw()

    def text(self, lines: str) -> None:
        """Show lines in one piece."""
        sys.stdout.write(printable(lines, colours=True))
        sys.stdout.flush()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        drawn = progress_html(self._state)
        if self._handle is None:
            self._handle = show_html(drawn)
        else:
            self._handle.update(as_html(drawn))


@contextmanager
def view_of(state: JobState) -> Iterator[View]:
    """Yield what fits the place: a notebook's cell, a terminal, or plain lines."""
    if in_notebook():
        yield NotebookView(state)
        return
    console = Console(highlight=False, soft_wrap=True)
    with ProgressDisplay(console) as display:
        yield TerminalView(console, display)


class LogFollower:
    """Reads one job's log from where it stopped last, over dropped connections.

    Args:
        engine: Where the job is.
        job_id: Which.
    """

    def __init__(self, engine: EngineJobs, job_id: str) -> None:
        self._engine, self._job_id = engine, job_id
        self._offset = 0

    def follow(self, view: View, *, num_retries: int, retry_delay: float) -> JobState:
        """Show the log until the job has ended; return its last state.

        Args:
            view: Where to.
            num_retries: How often in a row a lost connection is tried again.
            retry_delay: Seconds before the first of these; each waits twice as long as the last.

        Raises:
            JobMonitorError: The engine was suspended before the job ended.
            ConnectionError: The connection was lost for good. Call again to go on where it stopped.
        """
        outage = _Outage(self._engine, num_retries=num_retries, delay_s=retry_delay)
        while True:
            try:
                self._read(view, outage)
                state = self._engine.jobs.state(self._job_id)
                if state.status.is_terminal:
                    self._offset = 0  # the next call shows it anew
                    return state
                time.sleep(max(retry_delay, 0.05))
            except ConnectionError as error:
                outage.wait_or_raise(error, view)

    def _read(self, view: View, outage: _Outage) -> None:
        log = self._engine.jobs.follow_log(self._job_id, offset=self._offset)
        try:
            for block in log:
                outage.is_over()
                if block:
                    show_block(block, view)
                    self._offset += len(block)
                else:
                    check_runs(self._engine, self._job_id)
        finally:
            if isinstance(log, Generator):
                log.close()  # it may hold a connection, which Ctrl-C leaves open


class _Outage:
    """How long a lost connection has lasted, and whether to try again."""

    def __init__(self, engine: EngineJobs, *, num_retries: int, delay_s: float) -> None:
        for name, value in (("num_retries", num_retries), ("retry_delay", delay_s)):
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValidationError(f"{name} must be 0 or more, not {value!r}.")
        self._engine, self._num_retries = engine, num_retries
        self._delay_s = max(delay_s, SHORTEST_S)
        self._failures, self._since = 0, 0.0

    def is_over(self) -> None:
        """Begin anew: the connection is there."""
        self._failures = 0

    def wait_or_raise(self, error: ConnectionError, view: View) -> None:
        """Wait before the next try; raise `error` with more words where there is none."""
        self._failures += 1
        if self._failures == 1:
            self._since = time.monotonic()
        state = self._engine.ask_state()
        may_return = state is EngineState.PENDING and self._num_retries > 0
        waited = time.monotonic() - self._since
        if self._failures > self._num_retries and not (may_return and waited < RESTART_S):
            raise ConnectionError(
                f"The log broke off: {error} Engine {self._engine.name!r} is {state.value}. The "
                "job is not stopped by this; call stream_logs() again to go on where it broke off."
            ) from error
        if self._failures == 1:
            view.text(f"connection lost, trying again: {error}\n")
        time.sleep(min(self._delay_s * 2 ** min(self._failures - 1, 10), LONGEST_S))


def show_block(block: bytes, view: View) -> None:
    """Show whole lines: those that are events as such, runs of others in one piece."""
    if _EVENT not in block:
        view.text(_decoded(block))
        return
    others: list[bytes] = []
    for line in block.splitlines(keepends=True):
        event = event_of(line)
        if event is None:
            others.append(line)
            continue
        if others:
            view.text(_decoded(b"".join(others)))
            others.clear()
        # Why a job failed is said once, at the end.
        if not isinstance(event, ErrorEvent):
            view.event(event)
    if others:
        view.text(_decoded(b"".join(others)))


def event_of(line: bytes) -> AnyEvent | None:
    """Return the event that a line of a log is; None where it is something else."""
    if not line.startswith(_EVENT):
        return None
    try:
        return parse_event(line)
    except ValidationError:  # a program may print JSON of its own
        return None


def _decoded(lines: bytes) -> str:
    # Native code may have printed past the job's own net.
    text = redact(lines.decode(errors="replace"))
    return text if text.endswith("\n") else f"{text}\n"


def ending(state: JobState) -> str:
    """Return the last lines of a stream: how the job ended and, where it failed, what to do."""
    line = f"job {state.job_id} {state.status.value}"
    error = error_of(state)
    if error is not None:
        return f"{line}\n{printable(failure(error))}\n"
    said = activity(state)
    return f"{line}: {said}\n" if said and state.status is not JobStatus.CANCELED else f"{line}\n"
