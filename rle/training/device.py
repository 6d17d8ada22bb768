"""Is the device there? Asked before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rle.errors import DeviceError

if TYPE_CHECKING:
    from rle.spec.config import TrainerConfig


def check_device(config: TrainerConfig, *, cluster_gpus: float | None = None) -> torch.device:
    """The device that `config` asks for.

    Args:
        config: Its `device`, `num_workers` and `gpus_per_worker` are read.
        cluster_gpus: GPUs of the Ray cluster that will run the workers. None: this machine's count.

    Raises:
        DeviceError: device="cuda" and there is no GPU, or fewer than the workers need.
    """
    if config.device == "cpu":
        return torch.device("cpu")
    on_cluster = config.num_workers > 0 and cluster_gpus is not None
    there = cluster_gpus if on_cluster and cluster_gpus is not None else _local_gpus()
    needed = gpus_needed(config)
    if there <= 0:
        where = "the Ray cluster" if on_cluster else "this machine"
        why = "" if on_cluster or torch.version.cuda else " This torch is built without CUDA."
        raise DeviceError(
            f'TrainerConfig.device is "cuda", but {where} has no GPU that torch can use.{why} '
            f'Set device="cpu", or run where there is one and `nvidia-smi` lists it.'
        )
    if there < needed:
        raise DeviceError(
            f"{config.num_workers} workers need {needed:g} GPUs, but there are {there:g}. "
            f"Lower TrainerConfig.num_workers or gpus_per_worker."
        )
    return torch.device("cuda")


def gpus_needed(config: TrainerConfig) -> float:
    """GPUs of all workers together; a run in this process uses one."""
    if config.device == "cpu":
        return 0.0
    return max(config.num_workers, 1) * gpus_per_worker(config)


def gpus_per_worker(config: TrainerConfig) -> float:
    """GPUs reserved per worker, with the default resolved."""
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    return 1.0 if config.device == "cuda" else 0.0


def _local_gpus() -> float:
    return float(torch.cuda.device_count()) if torch.cuda.is_available() else 0.0
