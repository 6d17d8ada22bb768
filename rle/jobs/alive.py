"""Whether a job's driver lives: it holds a lock as long as it does, and breathes into the file.

The kernel frees the lock however a process dies. A process that is stopped, or hangs, holds it
still, but breathes no more. Breaths are told by the machine's monotonic clock, which all processes
share, so setting the wall clock changes nothing. Linux only, like the heads of our engines.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rle.errors import StorageError
from rle.jobs.layout import ALIVE

if TYPE_CHECKING:
    from types import TracebackType

BREATH_S = 2.0
"""Seconds between two breaths."""
BREATH_LIMIT_S = 300.0
"""Seconds without a breath after which a driver is taken for stuck."""
_PATIENCE_S = 1.0
"""How long a driver tries to get its lock: whoever asks whether it lives holds it for a moment."""


@dataclass(frozen=True, slots=True)
class _Holder:
    pid: int
    started: str
    """When the process began, in the kernel's ticks since it booted: a pid may be used again."""
    breath_s: float
    """Monotonic time of its last breath."""

    @classmethod
    def parse(cls, data: bytes) -> _Holder | None:
        parts = data.decode("ascii", "replace").split()
        with suppress(ValueError, IndexError):
            return cls(int(parts[1]), parts[2], float(parts[0]))
        return None

    def to_bytes(self) -> bytes:
        # Always equally long, so that a breath needs no new space on a full disk.
        return f"{self.breath_s:020.3f} {self.pid:010d} {self.started:>20}\n".encode()

    @property
    def lives(self) -> bool:
        return _started(self.pid) == self.started


class AliveLock:
    """Says that this process is the driver of a job, until it is released or the process dies.

    Args:
        folder: The job's.
        breath_s: Seconds between two breaths.
    """

    def __init__(self, folder: Path, *, breath_s: float = BREATH_S) -> None:
        self._path, self._breath_s = folder / ALIVE, breath_s
        self._file: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._breathe, name="rle-alive", daemon=True)

    def acquire(self) -> bool:
        """Take the lock and begin to breathe; False: another driver has it.

        Raises:
            StorageError: The file cannot be written.
        """
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError.of(error, doing=f"Opening {self._path}") from error
        until = time.monotonic() + _PATIENCE_S
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > until:
                os.close(file)
                return False
            time.sleep(0.02)
        self._file = file
        try:
            self._write_breath()
        except OSError as error:
            self.release()
            raise StorageError.of(error, doing=f"Writing {self._path}") from error
        os.register_at_fork(after_in_child=self._close)
        self._thread.start()
        return True

    def release(self) -> None:
        """Stop breathing and free the lock. Twice is fine."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _breathe(self) -> None:
        while not self._ended.wait(self._breath_s):
            with suppress(OSError):  # the disk may have room again for the next
                self._write_breath()

    def _write_breath(self) -> None:
        if self._file is not None:
            me = _Holder(os.getpid(), _started(os.getpid()) or "?", time.monotonic())
            os.pwrite(self._file, me.to_bytes(), 0)


def is_alive(folder: Path) -> bool:
    """Whether the driver of the job in `folder` lives; a stopped one does."""
    if not _is_locked(folder):
        return False
    holder = _holder(folder)
    if holder is None or holder.lives:
        return True
    # Either a child holds the dead one's lock, or a new driver has not signed yet: the latter does
    # at once.
    time.sleep(0.05)
    holder = _holder(folder)
    return _is_locked(folder) and (holder is None or holder.lives)


def stopped_breathing(folder: Path, *, after_s: float = BREATH_LIMIT_S) -> bool:
    """Whether the driver holds its lock but has not breathed for `after_s` seconds."""
    holder = _holder(folder)
    if holder is None or not is_alive(folder):
        return False
    return time.monotonic() - holder.breath_s > after_s


def kill_holder(folder: Path, *, timeout_s: float = 5.0) -> bool:
    """Kill the driver and its children; whether it is dead now.

    Another process that was given the same pid meanwhile is left alone.
    """
    holder = _holder(folder)
    if holder is not None:
        _kill(holder)
    until = time.monotonic() + timeout_s
    while is_alive(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _kill(holder: _Holder) -> None:
    import psutil

    try:
        # Names this process and no later one.
        handle = os.pidfd_open(holder.pid)
    except OSError:
        return
    try:
        if not holder.lives:
            return
        with suppress(psutil.Error):
            children = psutil.Process(holder.pid).children(recursive=True)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            for child in children:
                with suppress(psutil.Error):
                    child.kill()
    finally:
        os.close(handle)


def _holder(folder: Path) -> _Holder | None:
    try:
        return _Holder.parse((folder / ALIVE).read_bytes())
    except OSError:
        return None


def _is_locked(folder: Path) -> bool:
    try:
        file = os.open(folder / ALIVE, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not take each other for the driver.
        return not _try_lock(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _started(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine booted; None: it is gone."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name before it may hold spaces and brackets.
    fields = about.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
