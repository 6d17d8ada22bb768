"""Runs one Ray node of a local engine, and ends it with itself.

`python -m rle.engines.ray_host OPTIONS` does what `ray start --block` does, at half the memory,
and some things that its options cannot say:

- every port of the node is bound to loopback (`ray start` takes the machine's own address),
- no port answers without the token: neither metrics of the node nor Ray's client are served,
- a dashboard that died is started again, where Ray would stop the node and every job with it,
- the node ends when the process that started it dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Any

from rle.values import Value

LOOPBACK = "127.0.0.1"
PARENT = "RLE_RAY_HOST_PARENT"
"""Variable that holds the process id of who started this."""
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is 0, all Ray processes take loopback for their node's address, on Linux too."""
_POLL_S = 0.5
_AGENT = "--dashboard_agent_command="
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class NodeOptions(Value):
    """What a node is to be."""

    is_head: bool
    gcs_port: int
    """Of the head, on loopback."""
    dashboard_port: int
    """Of the head, on loopback."""
    agent_port: int
    """Of the head's agent, which starts jobs, on loopback."""
    ray_folder: str
    """For Ray's sessions."""
    num_cpus: int | None
    """None: those of the machine."""
    num_gpus: int
    object_store_mb: int


def main() -> None:
    """Start the node, then watch it until it ends or is told to."""
    _end_with_parent()
    options = NodeOptions.from_json(sys.argv[1])
    is_over = threading.Event()
    # Before Ray is loaded, so that whoever changes their mind need not wait for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from ray._private import node as ray_node
    from ray._private import services, utils

    _serve_no_metrics(services)
    node = ray_node.Node(
        _parameters(options), head=options.is_head, shutdown_at_exit=True, spawn_reaper=True
    )
    if options.is_head:
        # Where several Rays run on a machine, this is how a job knows its own.
        utils.write_ray_address(f"{LOOPBACK}:{options.gcs_port}", options.ray_folder)
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    why = ""
    while not why and not is_over.wait(_POLL_S):
        why = _checked(node)
    node.kill_all_processes(check_alive=False, allow_graceful=not why)
    sys.exit(why or 0)


def _parameters(options: NodeOptions) -> Any:
    from ray._private.parameter import RayParams

    head = {
        "gcs_server_port": options.gcs_port,
        "include_dashboard": True,
        "dashboard_host": LOOPBACK,
        "dashboard_port": options.dashboard_port,
        "temp_dir": options.ray_folder,
        "no_monitor": True,  # of the autoscaler; nothing scales here
    }
    worker = {"gcs_address": f"{LOOPBACK}:{options.gcs_port}"}
    return RayParams(
        **(head if options.is_head else worker),
        node_ip_address=LOOPBACK,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        object_store_memory=options.object_store_mb * 2**20,
        # Any free ports: fixed ranges clash with other Rays of this machine.
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=options.agent_port if options.is_head else 0,
    )


def _end_with_parent() -> None:
    parent = int(os.environ.pop(PARENT))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        sys.exit("Whoever started this Ray node is gone.")


def _serve_no_metrics(services: Any) -> None:
    """Let the node's agent serve no metrics, which it would to anybody."""
    start_process = services.start_ray_process

    def start(command: list[str], *args: Any, **kwargs: Any) -> Any:
        off = " --disable-metrics-collection"
        changed = [part + off if part.startswith(_AGENT) else part for part in command]
        return start_process(changed, *args, **kwargs)

    services.start_ray_process = start


def _checked(node: Any) -> str:
    """Return why the node cannot go on; nothing if it can, with a new dashboard if need be."""
    dead = {kind: process.returncode for kind, process in node.dead_processes()}
    if set(dead) == {"dashboard"}:
        # Jobs live in the node's agent and in the GCS, so they do not notice.
        _say(f"The dashboard ended ({dead['dashboard']}) and is started again.")
        del node.all_processes["dashboard"]
        node.start_api_server(include_dashboard=True, raise_on_failure=True)
        return ""
    return ", ".join(f"Ray's {kind} ended by itself ({code})" for kind, code in dead.items())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  it goes to the keeper's log


if __name__ == "__main__":
    main()
