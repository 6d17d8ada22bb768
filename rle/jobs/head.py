"""How a driver finds its way about the head it runs on: the dashboard, the session's logs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rle.engines.address import find_token
from rle.engines.base import EngineAccess
from rle.engines.ray_node import DASHBOARD_ADDRESS
from rle.engines.record import TokenSource
from rle.errors import ConnectionError, StorageError
from rle.jobs.layout import LINK, LOG

_DRIVER_LOG = re.compile(r"job-driver-.+\.log")
_ASK_RAY = (
    "import os\n"
    "from ray.dashboard.utils import ray_address_to_api_server_url\n"
    "print(ray_address_to_api_server_url(os.environ.get('RAY_ADDRESS', 'auto')))\n"
)
_ASK_TIMEOUT_S = 60.0


def find_access() -> EngineAccess:
    """Return how a driver reaches the dashboard of its own cluster.

    $RLE_DASHBOARD_ADDRESS says where it is, or else Ray does; a process of its own asks it, so
    that a driver that waits for its turn never loads Ray. The token is where Ray itself looks.

    Raises:
        ConnectionError: Neither says where it is, or the token is not where it should be.
        PermissionError: The token's file is closed to this user.
    """
    address = os.environ.get(DASHBOARD_ADDRESS) or _ask_ray()
    return EngineAccess("of this job", address.rstrip("/"), find_token(TokenSource()))


def _ask_ray() -> str:
    try:
        asked = subprocess.run(  # noqa: S603  nothing in it comes from outside
            [sys.executable, "-c", _ASK_RAY],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,
            cwd="/",  # what travels with a job may shadow any module
        )
    except subprocess.TimeoutExpired:
        said, complaint = "", f"no answer within {_ASK_TIMEOUT_S:.0f} s"
    else:
        said = (asked.stdout.split() or [""])[-1]
        complaint = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if not said.startswith(("http://", "https://")):
        raise ConnectionError(
            f"Ray does not say where its dashboard is: {complaint:.300} Set {DASHBOARD_ADDRESS} on "
            "the head to its URL, such as http://127.0.0.1:8265."
        )
    return said


def take_over_log(folder: Path) -> Path | None:
    """Send what this process prints to log.txt in the job's folder, from Ray's file of the job.

    What is in Ray's file moves along, and a link takes its place, so that Ray's tools show it, too.

    Returns:
        The folder of the session's logs; None where Ray did not start this process, and nothing is
        taken over.

    Raises:
        StorageError: log.txt cannot be written; nothing has changed.
    """
    with suppress(OSError):
        ours = Path(os.readlink("/proc/self/fd/1"))
        if _DRIVER_LOG.fullmatch(ours.name):
            _move_log(ours, (folder / LOG).resolve())
            return ours.parent
    return None


def _move_log(ours: Path, log: Path) -> None:
    link = ours.with_name(f".{ours.name}.link")
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, ours.read_bytes())
        link.unlink(missing_ok=True)
        link.symlink_to(log)
        link.replace(ours)
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {log}") from error
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def link_jobs(logs: Path, jobs: Path) -> None:
    """Let Ray's dashboard hand out the files of the jobs: a link to them among a session's logs.

    One that leads elsewhere is left alone, unless it leads nowhere.

    Raises:
        StorageError: It cannot be made.
    """
    link = logs / LINK
    if link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)
    try:
        link.symlink_to(jobs.resolve())
    except FileExistsError:
        return
    except OSError as error:
        raise StorageError.of(error, doing=f"Making the link {link}") from error
