"""One run from its first event to its last, whatever happens in between."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rle.runs.events import ErrorEvent, EventLog, RunStatus, StatusEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rle.runs.events import AnyEvent


@contextmanager
def recorded(
    folder: Path, *, listeners: tuple[Callable[[AnyEvent], None], ...], message: str
) -> Iterator[EventLog]:
    """Record what the block does: it begins, and completes, fails or is canceled (Ctrl-C).

    Args:
        folder: Where events.jsonl is written.
        listeners: Told of every event, the last one included.
        message: What begins, in one line for people.

    Yields:
        The log; pass it on as `on_event`.
    """
    started = time.monotonic()
    with EventLog(folder, listeners=listeners) as log:
        log(StatusEvent(status=RunStatus.RUNNING, message=message))
        try:
            yield log
        except KeyboardInterrupt:
            log(StatusEvent(status=RunStatus.CANCELED, message="canceled by Ctrl-C"))
            raise
        except Exception as error:
            log(ErrorEvent(error=type(error).__name__, message=str(error)))
            log(StatusEvent(status=RunStatus.FAILED))
            raise
        took = f"completed in {time.monotonic() - started:.0f} s"
        log(StatusEvent(status=RunStatus.COMPLETED, message=took))
