"""One run from its first event to its last, whatever happens in between."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rle.runs.events import ErrorEvent, EventLog, RunStatus, StatusEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from rle.runs.events import AnyEvent


class Terminated(SystemExit):
    """SIGTERM came: the process ends with the status that shells give it, 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def recorded(
    folder: Path, *, listeners: tuple[Callable[[AnyEvent], None], ...], message: str
) -> Iterator[EventLog]:
    """Record what the block does: it begins, and completes, fails or is canceled.

    Ctrl-C cancels it, and so do SIGTERM (in the main thread, unless somebody handles it already)
    and an exit.

    Args:
        folder: Where events.jsonl is written.
        listeners: Told of every event, the last one included.
        message: What begins, in one line for people.

    Yields:
        The log; pass it on as `on_event`.
    """
    started = time.monotonic()
    with EventLog(folder, listeners=listeners) as log, _sigterm_raises():
        log(StatusEvent(status=RunStatus.RUNNING, message=message))
        try:
            yield log
        except (KeyboardInterrupt, SystemExit) as stop:
            log(StatusEvent(status=RunStatus.CANCELED, message=f"canceled by {_cause(stop)}"))
            raise
        except Exception as error:
            log(ErrorEvent(error=type(error).__name__, message=str(error)))
            log(StatusEvent(status=RunStatus.FAILED))
            raise
        took = f"completed in {time.monotonic() - started:.0f} s"
        log(StatusEvent(status=RunStatus.COMPLETED, message=took))


def _cause(stop: BaseException) -> str:
    if isinstance(stop, KeyboardInterrupt):
        return "Ctrl-C"
    # Where Ray runs, it handles SIGTERM by an exit whose code is the signal.
    is_signal = isinstance(stop, Terminated) or getattr(stop, "code", None) == signal.SIGTERM
    return "SIGTERM" if is_signal else f"an exit ({stop})"


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, as Ctrl-C is one, so that the run can still say its end."""
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        # A library that set its own meanwhile, as Ray does, keeps it.
        if signal.getsignal(signal.SIGTERM) is _raise_terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_terminated(signum: int, frame: FrameType | None) -> None:
    raise Terminated
