"""The device is checked before anything is read."""

from __future__ import annotations

import pytest
import torch

from rle.errors import DeviceError
from rle.spec.config import TrainerConfig
from rle.training.device import check_device, gpus_needed


def config(**changes) -> TrainerConfig:
    connector = {"kind": "duckdb", "database": "unused.duckdb"}
    return TrainerConfig(**{"connector": connector, "device": "cuda", "n_epochs": 1} | changes)


def test_the_cpu_is_always_there():
    assert check_device(config(device="cpu", num_workers=8)) == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_error_says_so_and_what_to_do():
    with pytest.raises(DeviceError, match=r'no GPU that torch can use.*Set device="cpu"'):
        check_device(config())


def test_gpus_of_the_cluster_count_for_workers():
    assert check_device(config(num_workers=2), cluster_gpus=2.0) == torch.device("cuda")
    with pytest.raises(DeviceError, match="the Ray cluster has no GPU"):
        check_device(config(num_workers=2), cluster_gpus=0.0)
    with pytest.raises(DeviceError, match="3 workers need 3 GPUs, but there are 2"):
        check_device(config(num_workers=3), cluster_gpus=2.0)


def test_a_share_of_a_gpu_per_worker_adds_up():
    assert gpus_needed(config(num_workers=4, gpus_per_worker=0.5)) == 2.0
    assert gpus_needed(config(device="cpu", num_workers=4)) == 0.0
