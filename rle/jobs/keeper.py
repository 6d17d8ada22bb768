"""The daemon that keeps one local engine: starts Ray, watches it, lets it rest when nobody works.

`python -m rle.jobs.keeper ENGINE_FOLDER LOCK` is started by `rle.engines.local`, which hands over
the lock as an open file descriptor. It writes keeper.json, and its own and Ray's lines to
keeper.log. SIGTERM suspends the engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pkgutil
import resource
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rle.engines import ray_node
from rle.engines.base import EngineAccess
from rle.engines.keeper_state import (
    LOG,
    TOKEN,
    KeeperState,
    log_tail,
    read_state,
    write_state,
)
from rle.engines.local import num_gpus
from rle.engines.ray_api import RayApi
from rle.engines.ray_http import RayHttp
from rle.engines.ray_node import NodeProcess, RayPlan
from rle.engines.record import EngineRecord, EngineState
from rle.engines.store import RECORD
from rle.engines.token import read_token
from rle.errors import ConnectionError
from rle.jobs.layout import LINK, QUEUE, REQUEST, jobs_folder
from rle.jobs.queue import Queue
from rle.runs.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT_S = 180.0
END_TIMEOUT_S = 6.0
POLL_S = 0.5
CHORES_S = 5.0
"""How often jobs are looked after, and whether there are any."""
SHORT_LIFE_S = 60.0
"""A Ray that ends sooner counts as one that could not start."""
MAX_SHORT_LIVES = 3
_TIMEOUT_S = 5.0
_RECONCILE = "rle.jobs.reconcile:reconcile"
_RAYLET_LOG = "raylet.out"
_NO_JOB = "none"
_OTHER_MLFLOW = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


class RayEndedError(Exception):
    """Ray could not start or ended by itself; says why."""


class Keeper:
    """Keeps one engine from its start to its suspension.

    Args:
        folder: The engine's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = jobs_folder(folder)
        self.record = EngineRecord.from_json((folder / RECORD).read_bytes())
        self._queue = Queue(self.jobs)
        self._stop = threading.Event()
        self._nodes: list[NodeProcess] = []
        self._said = KeeperState(
            state=EngineState.PENDING,
            message="It starts.",
            pid=os.getpid(),
            keeps_runs_here=not any(map(os.environ.get, _OTHER_MLFLOW)),
        )
        self._log_offset = 0
        self._trouble = ""
        self._is_said = False

    def stop(self) -> None:
        """Make `run` return soon; may be called in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Keep the engine until it is stopped, idle for long, or cannot be kept."""
        before = read_state(self.folder) or self._said
        self._say(ray_folder=before.ray_folder)
        # What a keeper that was killed left behind.
        ray_node.kill(ray_node.left_over(self.folder, before.session))
        self._say(ray_folder=str(ray_node.ray_folder(before.ray_folder)), session=os.getsid(0))
        self.jobs.mkdir(mode=0o700, exist_ok=True)
        short_lives = 0
        while True:
            began = time.monotonic()
            try:
                why = self._live()
                break
            except RayEndedError as error:
                why = str(error)
            finally:
                ray_node.end_nodes(self._nodes, timeout_s=END_TIMEOUT_S)
                self._nodes = []
            lived_s = time.monotonic() - began
            short_lives = short_lives + 1 if lived_s < SHORT_LIFE_S else 1
            if self._stop.is_set():
                break
            if short_lives >= MAX_SHORT_LIVES:
                why = f"Ray ended {short_lives} times in a row. {why}"
                break
            self._note(f"{why}\nRay is started again.")
            self._say(state=EngineState.PENDING, message=f"Ray is started again. {why}")
        self._note(why)
        self._say(state=EngineState.SUSPENDED, message=why, pid=None, address=None)

    def _live(self) -> str:
        """Run one Ray; returns why it is to rest, raises RayEndedError where it ended itself."""
        self._log_offset = (self.folder / LOG).stat().st_size
        plan = self._plan()
        self._start(plan.command(is_head=True), plan)
        with RayApi(self._access(plan.address), timeout_s=_TIMEOUT_S) as api:
            # The way to a file leads through all of it: dashboard, GCS, raylet and node agent.
            self._wait_for(
                lambda: api.read_file(_RAYLET_LOG, lines=1) is not None, "Ray does not answer"
            )
            num_nodes = 1 + self.record.settings.num_workers
            for _ in range(1, num_nodes):
                self._start(plan.command(is_head=False), plan)
            if num_nodes > 1:
                self._wait_for(
                    lambda: sum(node.is_alive for node in api.nodes()) >= num_nodes,
                    f"{num_nodes} nodes are not there",
                )
            self._link_logs()
            self._wake_agent(plan)
            self._say(state=EngineState.READY, message="", address=plan.address)
            return self._watch(api, plan)

    def _watch(self, api: RayApi, plan: RayPlan) -> str:
        next_chores = 0.0
        while not self._stop.wait(POLL_S):
            self._check_nodes(plan)
            ray_node.reap(self._nodes)
            if time.monotonic() < next_chores:
                continue
            if not self._is_said:
                self._say()
            self._look_after_jobs(api)
            if (minutes := self._idle_minutes(api)) is not None:
                return f"It was suspended after {minutes:g} minutes without a job."
            next_chores = time.monotonic() + CHORES_S
        return "It was suspended."

    def _check_nodes(self, plan: RayPlan) -> None:
        if not self._nodes[0].is_alive:
            raise RayEndedError(f"Ray's head ended by itself. Its last lines:\n{self._tail()}")
        for place, node in enumerate(self._nodes):
            if not node.is_alive:
                self._note(f"Worker node {place} ended and is started again.")
                self._nodes[place] = self._node(plan.command(is_head=False), plan)

    def _look_after_jobs(self, api: RayApi) -> None:
        try:
            pkgutil.resolve_name(_RECONCILE)(self.jobs, api)
            self._trouble = ""
        except ConnectionError:
            return  # a head or a dashboard that ended is seen, and said, elsewhere
        except Exception:  # noqa: BLE001  whatever is wrong with a job must not stop the engine
            trouble = traceback.format_exc()
            if trouble != self._trouble:  # once, not every few seconds
                self._note(f"Jobs could not be looked after:\n{trouble}")
            self._trouble = trouble

    def _idle_minutes(self, api: RayApi) -> float | None:
        """Return the minutes without a job where it is time to rest, else None."""
        limit = self.record.settings.auto_suspend_mins
        if not limit:
            return None
        idle_s = time.time() - self._last_activity()
        if idle_s < limit * 60 or any(not job.status.is_terminal for job in self._queue.tickets()):
            return None
        try:
            is_busy = any(not job.status.is_terminal for job in api.jobs())
        except ConnectionError:
            return None
        return None if is_busy else limit

    def _last_activity(self) -> float:
        """Return when a job last moved or a request came, in Unix seconds."""
        paths = [self.jobs / QUEUE, *self.jobs.glob(f"*/{REQUEST}")]
        times = [path.stat().st_mtime for path in paths if path.exists()]
        return max(self._said.started_at.timestamp(), *times, 0.0)

    def _plan(self) -> RayPlan:
        settings = self.record.settings
        gcs_port, agent_port, free_port = ray_node.free_ports(3)
        return RayPlan(
            engine_folder=self.folder,
            token_file=self.folder / TOKEN,
            ray_folder=Path(self._said.ray_folder or ""),
            gcs_port=gcs_port,
            dashboard_port=settings.dashboard_port or self._last_port() or free_port,
            agent_port=agent_port,
            num_cpus=settings.num_cpus,
            num_gpus=num_gpus(self.record),
            object_store_mb=settings.object_store_mb,
        )

    def _last_port(self) -> int | None:
        """Return the dashboard's port of before, so that those who watch need no new address."""
        if self._said.address is None:
            return None
        port = int(self._said.address.rpartition(":")[2])
        return port if ray_node.is_free(port) else None

    def _access(self, address: str) -> EngineAccess:
        token = read_token(self.record.token, default=self.folder / TOKEN)
        return EngineAccess(name=self.record.name, address=address, token=token)

    def _start(self, command: list[str], plan: RayPlan) -> None:
        self._nodes.append(self._node(command, plan))

    def _node(self, command: list[str], plan: RayPlan) -> NodeProcess:
        return NodeProcess(command, environment=plan.environment(os.environ))

    def _wait_for(self, is_done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if not all(node.is_alive for node in self._nodes):
                raise RayEndedError(f"Ray could not start. Its last lines:\n{self._tail()}")
            with contextlib.suppress(ConnectionError):
                if is_done():
                    return
            if time.monotonic() > deadline:
                raise RayEndedError(
                    f"{what} after {START_TIMEOUT_S:g} seconds. Ray's last lines:\n{self._tail()}"
                )
            if self._stop.wait(0.1):
                raise RayEndedError("It was suspended while it started.")

    def _link_logs(self) -> None:
        """Let the dashboard hand out the jobs' files, as `rle.jobs.layout` says."""
        session = Path(self._said.ray_folder or "") / "session_latest"
        link = session.resolve() / "logs" / LINK
        with contextlib.suppress(FileExistsError):
            link.symlink_to(self.jobs, target_is_directory=True)

    def _wake_agent(self, plan: RayPlan) -> None:
        """Let the agent that starts jobs connect to its cluster now; the first job need not wait.

        It does so at its first call, whatever it is asked, and takes seconds.
        """
        http = RayHttp(self._access(plan.agent_address), timeout_s=START_TIMEOUT_S)
        with contextlib.suppress(ConnectionError), contextlib.closing(http):
            http.post(f"/api/job_agent/jobs/{_NO_JOB}/stop", {})

    def _tail(self) -> str:
        return log_tail(self.folder, offset=self._log_offset)

    def _note(self, text: str) -> None:
        line = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} keeper: {redact(text)}"
        print(line, flush=True)  # noqa: T201

    def _say(self, **changes: object) -> None:
        """Change what keeper.json says; where the disk is full, later."""
        self._said = self._said.replace(**changes)
        try:
            write_state(self.folder, self._said)
            self._is_said = True
        except OSError as error:
            self._is_said = False
            self._note(f"keeper.json cannot be written: {error}")


def main() -> None:
    """Keep the engine that the command line names."""
    folder, lock = Path(sys.argv[1]), int(sys.argv[2])
    # A core file would hold the token and every secret of the environment.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(lock, False)  # Ray must not hold it when this process is gone
    if sys.platform == "linux":
        # What Ray leaves behind becomes a child of this process, which then can end it.
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(folder)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: keeper.stop())
    keeper.run()


if __name__ == "__main__":
    main()
