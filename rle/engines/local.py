"""Engines on this machine: Ray in the background, kept by a daemon that outlives the terminal.

The daemon, called the keeper, is `rle.jobs.keeper`. Here it is started, asked and stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from rle.engines import ray_node
from rle.engines.base import EngineAccess, EngineBackend
from rle.engines.keeper_state import (
    LOG,
    TOKEN,
    KeeperState,
    is_kept,
    log_tail,
    read_state,
    take_lock,
    write_state,
)
from rle.engines.record import EngineState, EngineStatus
from rle.engines.token import read_token, write_token
from rle.errors import ConnectionError, DeviceError, StorageError, UnknownNameError, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

    from rle.engines.record import EngineRecord

SIZES = {"HIGHMEM_X64_S": 0, "GPU_NV_S": 1}
"""GPUs that the head of each size counts."""
_LEAST_OBJECT_STORE_MB = 80  # Ray refuses less
_ANSWER_TIMEOUT_S = 2.0
_END_TIMEOUT_S = 20.0
_LOG_BYTES = 8 * 2**20
# Leaves the keeper to init, so that it is nobody's child and never a zombie of this process.
_DETACH = "import os, sys; os.fork() and os._exit(0); os.execv(sys.executable, sys.argv[1:])"


class LocalBackend(EngineBackend):
    """Ray heads and worker nodes on this machine."""

    def check(self, record: EngineRecord) -> None:
        """Check size, GPUs, object store and port; see `EngineBackend.check`."""
        if record.size not in SIZES:
            raise UnknownNameError("engine size", record.size, SIZES)
        wanted, there = num_gpus(record), ray_node.num_gpus_here()
        if wanted > there:
            raise DeviceError(
                f"Engine {record.name!r} of size {record.size} needs {wanted} GPU(s) and this "
                f"machine shows {there}. Take size HIGHMEM_X64_S, which needs none."
            )
        settings = record.settings
        if settings.object_store_mb < _LEAST_OBJECT_STORE_MB:
            raise ValidationError(
                f"object_store_mb is {settings.object_store_mb}; Ray needs "
                f"{_LEAST_OBJECT_STORE_MB} at least."
            )
        self._check_port(record)

    def create(self, record: EngineRecord, folder: Path) -> None:
        """Begin to start a new engine."""
        write_token(folder / TOKEN)
        self._start(folder)

    def resume(self, record: EngineRecord, folder: Path) -> None:
        """Begin to start a suspended engine. One that runs is left alone.

        Raises:
            ValidationError: Its dashboard's port is taken by another program.
        """
        if is_kept(folder):
            return
        self._check_port(record)
        self._start(folder)

    def status(self, record: EngineRecord, folder: Path) -> EngineStatus:
        """Return where it stands; asks the dashboard where the keeper says that it is READY."""
        said = read_state(folder)
        if not is_kept(folder):
            return EngineStatus(state=EngineState.SUSPENDED, message=_last_words(folder, said))
        if said is None or said.state is not EngineState.READY:
            message = said.message if said else "It starts."
            return EngineStatus(state=EngineState.PENDING, message=message)
        try:
            _ask(self.access(record, folder))
        except ConnectionError as error:
            return EngineStatus(state=EngineState.PENDING, message=str(error))
        return EngineStatus(state=EngineState.READY)

    def suspend(self, record: EngineRecord, folder: Path) -> None:
        """Stop it and keep its jobs; takes a few seconds."""
        self._stop(folder, "It was suspended.")

    def delete(self, record: EngineRecord, folder: Path) -> None:
        """Stop it and remove what lies outside its folder."""
        said = self._stop(folder, "It is deleted.")
        if said and said.ray_folder:
            ray_node.remove_ray_folder(said.ray_folder)

    def access(self, record: EngineRecord, folder: Path) -> EngineAccess:
        """Return how to reach it; see `EngineBackend.access`. Asks nobody, so it is quick."""
        said = read_state(folder)
        is_ready = said is not None and said.state is EngineState.READY and is_kept(folder)
        if not is_ready or said is None or said.address is None:
            raise ConnectionError(self.status(record, folder).not_ready(record.name))
        token = read_token(record.token, default=folder / TOKEN)
        return EngineAccess(name=record.name, address=said.address, token=token)

    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        """Return the folder of its jobs, which is on this machine."""
        return folder / "jobs"

    @staticmethod
    def _check_port(record: EngineRecord) -> None:
        port = record.settings.dashboard_port
        if port is not None and not ray_node.is_free(port):
            raise ValidationError(
                f"Port {port}, which engine {record.name!r} asks for with dashboard_port, is taken "
                "by another program or closed to this user. Take another, or leave it out for a "
                "free one."
            )

    @staticmethod
    def _start(folder: Path) -> None:
        lock = take_lock(folder)
        if lock is None:
            return  # somebody else starts it right now
        try:
            before = read_state(folder)
            starts = KeeperState(state=EngineState.PENDING, message="It starts.")
            if before:  # its folder is used again, and what is left of it is ended
                starts = starts.replace(ray_folder=before.ray_folder, session=before.session)
            write_state(folder, starts)
            _start_keeper(folder, lock)
        except OSError as error:
            raise StorageError.of(error, doing=f"Starting the engine in {folder}") from error
        finally:
            os.close(lock)

    @staticmethod
    def _stop(folder: Path, message: str) -> KeeperState | None:
        deadline = time.monotonic() + _END_TIMEOUT_S
        is_told = False
        while is_kept(folder) and time.monotonic() < deadline:
            said = read_state(folder)
            if said and said.pid and not is_told:
                _send(said.pid, signal.SIGTERM, folder)
                is_told = True
            time.sleep(0.05)
        said = read_state(folder)
        if is_kept(folder) and said and said.pid:
            _send(said.pid, signal.SIGKILL, folder)
        ray_node.kill(ray_node.left_over(folder, said.session if said else None))
        if said and said.state is not EngineState.SUSPENDED:
            said = said.replace(state=EngineState.SUSPENDED, message=message, pid=None)
            write_state(folder, said)
        return said


def num_gpus(record: EngineRecord) -> int:
    """Return how many GPUs the engine's head counts."""
    asked = record.settings.num_gpus
    return SIZES.get(record.size, 0) if asked is None else asked


def _start_keeper(folder: Path, lock: int) -> None:
    log = folder / LOG
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    keeper = [sys.executable, "-m", "rle.jobs.keeper", str(folder), str(lock)]
    with open(log, "ab", opener=_private) as output:
        subprocess.run(  # noqa: S603
            [sys.executable, "-S", "-E", "-c", _DETACH, *keeper],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            pass_fds=(lock,),
            start_new_session=True,
            check=True,
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ask(access: EngineAccess) -> None:
    from rle.engines.ray_api import RayApi

    with RayApi(access, timeout_s=_ANSWER_TIMEOUT_S) as api:
        api.version()


def _last_words(folder: Path, said: KeeperState | None) -> str:
    if said is None:
        return "It was never started."
    if said.state is EngineState.SUSPENDED:
        return said.message
    return f"Its keeper ended without a word. Its log ends so:\n{log_tail(folder)}"


def _send(pid: int, number: signal.Signals, folder: Path) -> None:
    """Signal the keeper, and no other process that got its number since."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if str(folder) in process.cmdline():
            process.send_signal(number)
