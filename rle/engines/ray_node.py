"""The Ray processes of a local engine: their ports, commands, environment, start and end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rle.engines.ray_host import LOOPBACK, ONE_MACHINE, PARENT, NodeOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import psutil

MARK = "RLE_LOCAL_ENGINE"
"""Variable of every process of a local engine; holds the engine's folder."""
ENGINE_FOLDER = "RLE_ENGINE_FOLDER"
"""Variable that tells jobs where their engine's folder is."""
DASHBOARD_ADDRESS = "RLE_DASHBOARD_ADDRESS"
"""Variable that tells jobs where their engine's dashboard is."""
_NOT_INHERITED = (
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_JOB_ID",
    "RAY_NODE_ID",
    "RAY_RAYLET_PID",
    "RAY_START_HOOK",
    "RAY_TMPDIR",
)
_RAY_TITLES = ("ray::", "ray-")
_KEPT_SESSIONS = 2
"""Of Ray's; the newest, for whoever looks for what went wrong."""


@dataclass(frozen=True, slots=True)
class RayPlan:
    """One life of an engine's Ray."""

    engine_folder: Path
    token_file: Path
    ray_folder: Path
    """For sessions; short, because Unix sockets lie in it."""
    gcs_port: int
    dashboard_port: int
    agent_port: int
    num_cpus: int | None
    num_gpus: int
    object_store_mb: int

    @property
    def address(self) -> str:
        """URL of the dashboard."""
        return f"http://{LOOPBACK}:{self.dashboard_port}"

    @property
    def agent_address(self) -> str:
        """URL of the head's agent, which starts jobs."""
        return f"http://{LOOPBACK}:{self.agent_port}"

    def command(self, *, is_head: bool) -> list[str]:
        """Return the command that runs the head, or a worker node."""
        options = NodeOptions(
            is_head=is_head,
            gcs_port=self.gcs_port,
            dashboard_port=self.dashboard_port,
            agent_port=self.agent_port,
            ray_folder=str(self.ray_folder),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus if is_head else 0,
            object_store_mb=self.object_store_mb,
        )
        return [sys.executable, "-m", "rle.engines.ray_host", options.to_json()]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of all the engine's processes, from the one that is inherited.

        It names the token's file and never holds the token.
        """
        bin_folder = str(Path(sys.executable).parent)
        kept = {name: text for name, text in inherited.items() if name not in _NOT_INHERITED}
        return kept | {
            "PATH": os.pathsep.join([bin_folder, inherited.get("PATH", os.defpath)]),
            "RLE_HOME": str(self.engine_folder.parents[1]),
            ENGINE_FOLDER: str(self.engine_folder),
            DASHBOARD_ADDRESS: self.address,
            MARK: str(self.engine_folder),
            PARENT: str(os.getpid()),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            ONE_MACHINE: "0",
            # These two would answer everybody.
            "DASHBOARD_METRIC_PORT": "-1",
            "AUTOSCALER_METRIC_PORT": "-1",
            "PYTHONUNBUFFERED": "1",
        }


class NodeProcess:
    """One Ray node that runs: a head or a worker, ended with this process.

    Args:
        command: From a `RayPlan`.
        environment: From the same plan.
    """

    def __init__(self, command: list[str], *, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, env=dict(environment)
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Ask it to stop; returns at once."""
        if self.is_alive:
            self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has stopped; after `timeout_s` seconds it is killed."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def end_nodes(nodes: Iterable[NodeProcess], *, timeout_s: float) -> None:
    """Stop nodes, all at the same time, and whatever they started."""
    import psutil

    nodes = list(nodes)
    family = psutil.Process().children(recursive=True)
    for node in nodes:
        node.end()
    deadline = time.monotonic() + timeout_s
    for node in nodes:
        node.wait(max(0.0, deadline - time.monotonic()))
    family += psutil.Process().children(recursive=True)
    kill(family)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes and wait until they are gone."""
    import psutil

    found = set(processes)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(found, timeout=5.0)


def reap(nodes: Iterable[NodeProcess]) -> None:
    """Take leave of dead children that are no `nodes`: theirs, after their parents died."""
    import psutil

    known = {node.pid for node in nodes}

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def left_over(engine_folder: Path, session: int | None) -> list[psutil.Process]:
    """Return this user's processes that belong to the engine, except this one.

    Args:
        engine_folder: Named by the variable `MARK` of all of them.
        session: Their keeper's; some Ray processes write their title over their variables.
    """
    import psutil

    mark, own, found = str(engine_folder), os.getpid(), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == own or process.uids().real != os.getuid():
                continue
            is_titled = process.cmdline()[:1] and process.cmdline()[0].startswith(_RAY_TITLES)
            if process.environ().get(MARK) == mark or (
                is_titled and session is not None and os.getsid(process.pid) == session
            ):
                found.append(process)
    return found


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for opened in sockets:
            opened.bind((LOOPBACK, 0))
        return [opened.getsockname()[1] for opened in sockets]


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
        return True


def ray_folder(known: str | None) -> Path:
    """Return a folder for Ray's sessions: `known` if it is still there, else a new one.

    Ray opens its folder to everybody, so it is made in one that is closed to all but its user.
    Of earlier sessions only the newest are kept.
    """
    folder = Path(known) if known else None
    if folder and _is_closed(folder.parent) and folder.is_dir() and not folder.is_symlink():
        sessions = sorted(path for path in folder.glob("session_2*") if path.is_dir())
        for old in sessions[: -_KEPT_SESSIONS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        return folder
    place = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  a socket's path is short
    made = Path(tempfile.mkdtemp(prefix="rle-", dir=place)) / "r"
    made.mkdir()
    return made


def remove_ray_folder(folder: str) -> None:
    """Remove what `ray_folder` made."""
    if _is_closed(Path(folder).parent):
        shutil.rmtree(Path(folder).parent, ignore_errors=True)


def num_gpus_here() -> int:
    """Return how many NVIDIA GPUs this machine shows to this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
    if visible is None:
        return there
    return min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))


def _is_closed(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_folder = stat.S_ISDIR(found.st_mode)
    return is_folder and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
