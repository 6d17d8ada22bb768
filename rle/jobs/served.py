"""The files of an engine's jobs, wherever they lie: in a folder here, or served by its head."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from rle.jobs.layout import LINK, QUEUE, job_folder, served_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rle.engines.ray_api import RayApi

_BLOCK = 65536
_POLL_S = 0.1


class JobFiles(Protocol):
    """What can be read of an engine's jobs. Raises ConnectionError where it does not answer."""

    def read(self, job_id: str, name: str, *, lines: int | None = None) -> bytes | None:
        """Return a job's file, or its last lines; None where there is no such file."""

    def read_from(self, job_id: str, name: str, offset: int) -> bytes:
        """Return what a job's file holds from a byte on; nothing where it is not there."""

    def follow(self, job_id: str, name: str) -> Generator[bytes]:
        """Yield a job's file from its beginning and what is added; b"" when nothing comes."""

    def journal(self) -> bytes:
        """Return the queue's journal; nothing where there is none yet."""


class LocalFiles:
    """Jobs in a folder of this machine. They can be read while the engine is suspended, too."""

    def __init__(self, jobs: Path) -> None:
        self._jobs = jobs

    def read(self, job_id: str, name: str, *, lines: int | None = None) -> bytes | None:
        """See `JobFiles`."""
        path = job_folder(self._jobs, job_id) / name
        try:
            if lines is None:
                return path.read_bytes()
            with path.open("rb") as file:
                return b"".join(deque(file, maxlen=lines))
        except FileNotFoundError:
            return None

    def read_from(self, job_id: str, name: str, offset: int) -> bytes:
        """See `JobFiles`."""
        try:
            with (job_folder(self._jobs, job_id) / name).open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""

    def follow(self, job_id: str, name: str) -> Generator[bytes]:
        """See `JobFiles`."""
        path = job_folder(self._jobs, job_id) / name
        while not path.exists():
            time.sleep(_POLL_S)
            yield b""
        with path.open("rb") as file:
            while True:
                block = file.read(_BLOCK)
                if not block:
                    time.sleep(_POLL_S)
                yield block

    def journal(self) -> bytes:
        """See `JobFiles`."""
        try:
            return (self._jobs / QUEUE).read_bytes()
        except FileNotFoundError:
            return b""


class ServedFiles:
    """Jobs on a running engine's head.

    Args:
        api: Returns the engine's dashboard, as it is reached now.
    """

    def __init__(self, api: Callable[[], RayApi]) -> None:
        self._api = api

    def read(self, job_id: str, name: str, *, lines: int | None = None) -> bytes | None:
        """See `JobFiles`."""
        return self._api().read_file(served_name(job_id, name), lines=lines)

    def read_from(self, job_id: str, name: str, offset: int) -> bytes:
        """See `JobFiles`. The head hands out whole files only, so all of it travels."""
        return (self.read(job_id, name) or b"")[offset:]

    def follow(self, job_id: str, name: str) -> Generator[bytes]:
        """See `JobFiles`."""
        return self._api().follow_file(served_name(job_id, name))

    def journal(self) -> bytes:
        """See `JobFiles`."""
        return self._api().read_file(f"{LINK}/{QUEUE}") or b""
