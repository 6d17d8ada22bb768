"""How training workers find each other, and where they listen while they train.

torch's own meeting place is a server on all interfaces that asks nobody for anything. Here workers
on one machine meet in a file that nobody else may open, and exchange over loopback. Only workers on
several machines need a server; it listens at the address by which Ray knows the first one's node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import ray
import torch.distributed as dist
from ray._private.worker import global_worker
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig
from torch.distributed import FileStore, TCPStore  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from ray.train._internal.base_worker_group import BaseWorkerGroup
    from ray.train.backend import BackendConfig
    from torch.distributed import Store  # type: ignore[attr-defined]

LOOPBACK = "127.0.0.1"
LEAVE_TIMEOUT_S = 30.0
"""How long workers have to take leave of each other; Ray ends them all the same."""
_STORE = "store"

_server: TCPStore | None = None
"""Of this process, which is the first worker of several machines; lives as long as it does."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers meet."""

    address: str
    """Of the first worker's node."""
    folder: str
    """On the first worker's machine, closed to other users."""
    port: int | None = None
    """Of the server at `address`; None: all are on one machine and meet in `folder`."""


class MeetingConfig(TorchConfig):
    """Ray Train's settings for torch, with our own way to meet."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What sets workers up."""
        return _Meeting


class _Meeting(Backend):
    share_cuda_visible_devices = True  # as Ray has it for torch: NCCL copies between GPUs

    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Make the default process group of all workers; one alone needs none."""
        assert isinstance(backend_config, TorchConfig)
        backend, timeout_s = backend_config.backend, backend_config.timeout_s
        num_ranks = len(worker_group)
        if num_ranks == 1:
            return
        place = worker_group.execute_single(0, open_place)
        if not all(worker_group.execute(is_here, place)):
            place = worker_group.execute_single(0, serve, place)
        joining: list[Any] = [
            worker_group.execute_single_async(
                rank, join, place, rank, num_ranks, backend, timeout_s
            )
            for rank in range(num_ranks)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Let the workers take leave, so that none finds the others gone."""
        leaving: list[Any] = worker_group.execute_async(leave)
        with contextlib.suppress(GetTimeoutError):
            ray.get(leaving, timeout=LEAVE_TIMEOUT_S)


def open_place() -> Place:
    """Return a place for this worker's group; its folder goes with Ray's session at the latest."""
    node: Any = global_worker.node
    session = node.get_session_dir_path()
    return Place(_own_address(), folder=tempfile.mkdtemp(prefix="rle-meeting-", dir=session))


def is_here(place: Place) -> bool:
    """Whether this worker is on the machine of the first one, and sees its files."""
    return _own_address() == place.address and Path(place.folder).is_dir()


def serve(place: Place) -> Place:
    """Start the server in this process, at the address of its node and no other."""
    global _server
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    listener = socket.create_server((place.address, 0), family=family, backlog=1024)
    port: int = listener.getsockname()[1]
    _server = TCPStore(
        place.address,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    return Place(place.address, place.folder, port)


def join(place: Place, rank: int, num_ranks: int, backend: str, timeout_s: int) -> None:
    """Make this process one of the group; returns when all are there.

    Args:
        place: Where they meet.
        rank: Of this process.
        num_ranks: Of the group.
        backend: "gloo" or "nccl".
        timeout_s: How long an exchange waits for the others.
    """
    timeout = timedelta(seconds=timeout_s)
    store: Store
    if place.port is None:
        store = FileStore(str(Path(place.folder) / _STORE), num_ranks)
    elif _server is not None:
        store = _server
    else:
        store = TCPStore(place.address, place.port, timeout=timeout, wait_for_workers=False)
    store.set_timeout(timeout)
    _choose_interface(is_one_machine=place.port is None)
    # As Ray has it: an exchange that times out ends the process instead of hanging.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    dist.init_process_group(backend, store=store, rank=rank, world_size=num_ranks, timeout=timeout)
    if rank == 0 and place.port is not None:
        shutil.rmtree(place.folder, ignore_errors=True)


def leave() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _choose_interface(*, is_one_machine: bool) -> None:
    """Say where gloo and NCCL listen: loopback on one machine, whatever was said before.

    Between machines it is the interface of the node's address. There users may name another, and
    NCCL, which may know a faster one, chooses for itself.
    """
    # A service of NCCL that tells everybody on the machine about the workers.
    os.environ.setdefault("NCCL_RAS_ENABLE", "0")
    if is_one_machine:
        loopback = interface_of(LOOPBACK) or "lo"
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    elif name := interface_of(_own_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface_of(address: str) -> str | None:
    """Return the name of this machine's network interface that has an address; None: none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address.partition("%")[0] == address for found in addresses):
            return name
    return None


def _own_address() -> str:
    """Return the address by which Ray knows this node."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address
