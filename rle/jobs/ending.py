"""How a driver ends: it hears that it is to stop, whatever it does, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rle.runs.run import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

CANCELED_EXIT_CODE = 128 + signal.SIGTERM
GRACE_S = 4.0
"""Seconds that the work has to end itself after SIGTERM; Ray kills 6 s after it."""
LEAVE_S = 10.0
"""Seconds that threads and libraries have to end after the work."""
_HEARD_S = 1.0
"""Seconds that the main thread has to be interrupted in, unless it is deep in native code."""
_CHILDREN_S = 0.5
_WORDS = {signal.SIGTERM: "canceled", signal.SIGINT: "canceled by Ctrl-C"}


class Stopper:
    """Hears SIGTERM and Ctrl-C at once, and then ends the process within a few seconds.

    The main thread may be deep in native code and see a signal minutes later. So a thread of its
    own says that the job is canceled, while the main thread is interrupted as soon as it can be; if
    that takes too long, the process ends without it. For the main thread of a process.

    Args:
        on_stop: Called once, in that thread, with what happened in words.
    """

    def __init__(self, on_stop: Callable[[str], None]) -> None:
        self._on_stop = on_stop
        self.stopped = threading.Event()
        """Set as soon as a signal came."""
        self._is_quiet = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._listen, name="rle-stopper", daemon=True)
        self._left = threading.Event()
        # The byte of a signal is written when it comes, not when Python gets round to it.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.getsignal(number) for number in _WORDS}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # as a shell has its background jobs ignore Ctrl-C
                signal.signal(number, self._interrupt)
        self._thread.start()

    def quiet(self) -> None:
        """Interrupt the main thread no more: the work has ended. What libraries set is undone."""
        self._is_quiet = True
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def close(self) -> None:
        """Hear nothing more; what was heard already is said first."""
        self.quiet()
        self._left.set()
        signal.set_wakeup_fd(-1)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_quiet:
            return
        self._is_quiet = True  # one is enough: the next must not interrupt what the first began
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated

    def _listen(self) -> None:
        while heard := os.read(self._reader, 64):
            for number in (signal.SIGTERM, signal.SIGINT):
                if number in heard and not self.stopped.is_set():
                    self._stop(_WORDS[number])

    def _stop(self, words: str) -> None:
        self.stopped.set()
        try:
            self._on_stop(words)
        finally:
            exit_soon(CANCELED_EXIT_CODE, after_s=GRACE_S, unless=self._left)
            deadline = time.monotonic() + _HEARD_S
            while not self._is_quiet and time.monotonic() < deadline:
                self._left.wait(0.05)
            if not self._is_quiet:
                _cut_sessions()


def _cut_sessions() -> None:
    """End what the work asks of a warehouse, so that it neither runs on there nor is waited for."""
    sessions = sys.modules.get("rle.connectors.snowflake.session")
    if sessions is not None:
        sessions.cut_sessions()


def exit_soon(code: int, *, after_s: float, unless: threading.Event) -> None:
    """End this process and its children in `after_s` seconds, unless it has ended by then."""

    def end() -> None:
        if not unless.wait(after_s):
            kill_children()
            os._exit(code)

    threading.Thread(target=end, name="rle-exit", daemon=True).start()


def leave() -> None:
    """Let go of Ray and end all processes that this one started."""
    ray = sys.modules.get("ray")
    if ray is not None and hasattr(ray, "is_initialized") and ray.is_initialized():
        ray.shutdown()
    kill_children()


def kill_children() -> None:
    """End all processes that this one started, and theirs: at first kindly, then at once."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.Error):
            child.terminate()
    _, left = psutil.wait_procs(children, timeout=_CHILDREN_S)
    for child in left:
        with suppress(psutil.Error):
            child.kill()
