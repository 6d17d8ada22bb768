"""How many threads torch computes with in this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.spec.config import TrainerConfig


@contextmanager
def torch_threads(config: TrainerConfig) -> Iterator[None]:
    """Compute with as many threads as `config` reserves cores for a worker, for the block.

    Torch would take every core. The products here are small, so that more threads than reserved
    mostly wait for each other, and on a shared machine they wait spinning.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(int(config.cpus_per_worker), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
