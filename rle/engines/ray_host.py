"""Runs one Ray node of a local engine: `ray start --block`, with what its options cannot say.

`python -m rle.engines.ray_host start ...` takes the arguments of `ray start` and

- keeps every port of the node on loopback (`ray start` would take the machine's own address),
- starts no port that answers without the token: neither metrics of the node nor Ray's client,
- starts a dashboard that died again, where Ray would stop the node and every job with it,
- ends, with the node, when the process that started it dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK = "127.0.0.1"
PARENT = "RLE_RAY_HOST_PARENT"
"""Variable that holds the process id of who started this."""
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is 0, all Ray processes take loopback for their node's address, on Linux too."""
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main() -> None:
    """Start the node, then watch it until it ends."""
    _end_with_parent()
    # Imported by name: what is changed here is Ray's own, which has no types.
    node, ray_constants, services, scripts = map(
        import_module,
        (
            "ray._private.node",
            "ray._private.ray_constants",
            "ray._private.services",
            "ray.scripts.scripts",
        ),
    )
    # Worker nodes beside a head of the same machine are all the "cluster" there is.
    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = lambda address=None: LOOPBACK
    services.start_raylet = _without_metrics(services)
    node.Node.dead_processes = _dashboard_again(node.Node.dead_processes)
    os.environ["RAY_START_HOOK"] = f"{__spec__.name}.prepare"
    scripts.main()


def prepare(params: Any, is_head: bool) -> None:
    """Change what `ray start` is about to start; Ray calls it by the name in RAY_START_HOOK."""
    del os.environ["RAY_START_HOOK"]
    params.node_ip_address = LOOPBACK
    params.node_name = LOOPBACK
    params.ray_client_server_port = None


def _end_with_parent() -> None:
    parent = int(os.environ.pop(PARENT))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        sys.exit("Whoever started this Ray node is gone.")


def _without_metrics(services: Any) -> Callable[..., Any]:
    """Return a `start_raylet` whose node agent serves no metrics, which it would to anybody."""
    start_raylet = services.start_raylet
    start_process = services.start_ray_process
    agent = "--dashboard_agent_command="

    def start(*args: Any, **kwargs: Any) -> Any:
        def start_changed(command: list[str], *more: Any, **named: Any) -> Any:
            off = " --disable-metrics-collection"
            changed = [part + off if part.startswith(agent) else part for part in command]
            return start_process(changed, *more, **named)

        services.start_ray_process = start_changed
        try:
            return start_raylet(*args, **kwargs)
        finally:
            services.start_ray_process = start_process

    return start


def _dashboard_again(dead_processes: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """Return a `dead_processes` that starts a dead dashboard again and then leaves it out.

    Jobs live in the node's agent and in the GCS, so they do not notice.
    """

    def dead(node: Any) -> list[Any]:
        found = dead_processes(node)
        if [kind for kind, _ in found] == ["dashboard"]:
            del node.all_processes["dashboard"]
            print("The dashboard died and is started again.", flush=True)  # noqa: T201
            node.start_api_server(include_dashboard=True, raise_on_failure=True)
            return []
        return found

    return dead


if __name__ == "__main__":
    main()
