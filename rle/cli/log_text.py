"""A job's log as people read it: its events in words, all else as it was printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.runs.events import ProgressEvent
from rle.runs.progress import lines_of
from rle.sdk.follow import event_of
from rle.sdk.shown import stage_label

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW_PER_LINE, LEAST_RAW = 20, 2000
"""How many lines of a log are read for each one that is shown: progress has many, and shows one."""


def raw_lines(lines: int | None) -> int | None:
    """Return how many lines of the log to read so that about `lines` can be shown."""
    return None if lines is None else max(LEAST_RAW, RAW_PER_LINE * lines)


def readable(log: str, *, lines: int | None = None) -> str:
    """Return a driver's log in words.

    Args:
        log: As `JobMonitor.get_logs` returns it.
        lines: At most so many, the last; None: all.
    """
    shown = [line for text in _texts(log) for line in text.splitlines()]
    return "".join(f"{line}\n" for line in (shown if lines is None else shown[-lines:]))


def printed(log: str) -> list[str]:
    """Return the lines of a driver's log that are no events: what the job's libraries printed."""
    return [line for line in log.splitlines() if event_of(line.encode()) is None]


def _texts(log: str) -> Iterator[str]:
    """Yield what is shown of each line; of progress only where it stood before something else."""
    progress: ProgressEvent | None = None
    for line in log.split("\n"):
        event = event_of(line.encode())
        if isinstance(event, ProgressEvent):
            progress = event
            continue
        if progress is not None and line:
            yield _progress_words(progress)
            progress = None
        yield from [line] if event is None else (words for words, _ in lines_of(event))
    if progress is not None:
        yield _progress_words(progress)


def _progress_words(event: ProgressEvent) -> str:
    loss = "" if event.loss is None else f", loss {event.loss:.4f}"
    return f"{stage_label(event)}: step {event.step}/{event.num_steps}{loss}"
