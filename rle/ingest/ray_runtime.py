"""A Ray to run on: the one that is there, or a small private one on this machine."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 2**20
OBJECT_STORE_BYTES = 512 * MEBIBYTE
"""Shared memory of a private Ray; snapshots are memory-mapped files and need none of it."""

_started_folder: Path | None = None


def joins_cluster() -> bool:
    """Whether `ensure_ray` joins a Ray that is there instead of starting one. Imports nothing."""
    ray = sys.modules.get("ray")
    return bool(os.environ.get("RAY_ADDRESS")) or (ray is not None and ray.is_initialized())


def ensure_ray(*, num_cpus: float = 1, num_gpus: float = 0) -> None:
    """Make sure that this process is connected to a Ray.

    A connection that is there is kept. Otherwise RAY_ADDRESS, if set, says where to connect;
    otherwise a Ray is started that listens on the loopback address, asks for a token, keeps its
    files in a private folder, and ends with this process or with `stop_ray`. It takes 5 to 20 s.

    Args:
        num_cpus: CPUs a private Ray counts at least; it never counts fewer than there are. Ray
            only counts them, so more than there are is allowed and shares the cores.
        num_gpus: GPUs a private Ray counts.
    """
    import ray  # seconds: a run without workers never pays them

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        with _sigterm_kept():
            ray.init(**quiet)
        return
    _guard_token()
    # A Unix socket's path may have 107 bytes, so a long TMPDIR will not do.
    parent = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="rle-", dir=parent))
    try:
        ray.init(
            num_cpus=max(int(-(-num_cpus // 1)), os.cpu_count() or 1),
            num_gpus=int(-(-num_gpus // 1)),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,  # without it Ray Train floods its log
            dashboard_host="127.0.0.1",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
            **quiet,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    global _started_folder
    if _started_folder is None:
        atexit.register(stop_ray)
    _started_folder = folder


def stop_ray() -> None:
    """End the Ray that `ensure_ray` started and remove its files; leave any other alone."""
    global _started_folder
    folder, _started_folder = _started_folder, None
    if folder is None:
        return
    sys.modules["ray"].shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    atexit.unregister(stop_ray)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Let whoever handles SIGTERM go on doing so; Ray, as it connects, would take it over."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _guard_token() -> None:
    """Give Ray's token file to its owner alone; Ray itself writes it for everyone to read."""
    if os.environ.get("RAY_AUTH_MODE") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return  # whoever set these looks after the token
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_uid == os.getuid():
            path.chmod(0o600)
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_hex(32))
