"""The few exchanges between training processes, and their absence in a run of one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the training processes. Every rank makes the same calls in order."""

    device: torch.device
    rank: int = 0
    num_ranks: int = 1

    @classmethod
    def current(cls, device: torch.device) -> Ranks:
        """The ranks of the default process group, or a single one where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls(device=device)
        return cls(rank=dist.get_rank(), num_ranks=dist.get_world_size(), device=device)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` (on `device`) by its sum over the ranks, equal bit for bit on each."""
        if self.num_ranks > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` (on `device`) by the one of rank 0."""
        if self.num_ranks > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def agree(self, values: list[float]) -> list[float]:
        """Rank 0's numbers, on every rank (float64)."""
        sent = torch.tensor(values, dtype=torch.float64, device=self.device)
        return [float(value) for value in self.broadcast_(sent).tolist()]
