"""Normalisation, the same on one process and on many.

Statistics of a batch are over all its rows that count, on every rank together: rank r of n holds
a share of the global batch, so per-rank statistics would make a run depend on the worker count.

Shapes: N rows, C channels, T tables, S seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from rle.model.fused import EPS, norm_relu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rle.model.tensors import TensorBatch
    from rle.sampling.batch import FrontierKey

MOMENTUM = 0.1


class BatchNorm(nn.Module):
    """Batch normalisation of several groups of rows at once, [T groups, C channels].

    Two sums over all ranks serve all groups, so that ranks cannot take them in different order.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_groups: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_groups, channels))
        self.bias = nn.Parameter(torch.zeros(num_groups, channels))
        self.register_buffer("running_mean", torch.zeros(num_groups, channels))
        self.register_buffer("running_var", torch.ones(num_groups, channels))

    def forward(self, groups: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> list[list[Tensor]]:
        """Normalise; per group, (rows float32 [N, C], weights float32 [N]) pairs are one batch.

        Rows of weight 0 are normalised but do not count.
        """
        if self.training:
            mean, var = self._measure(groups)
        else:
            mean, var = self.running_mean, self.running_var
        scale = (var + EPS).rsqrt() * self.weight
        shift = self.bias - mean * scale
        return [
            [torch.addcmul(shift[t], rows, scale[t]) for rows, _ in group]
            for t, group in enumerate(groups)
        ]

    def _measure(self, groups: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> tuple[Tensor, Tensor]:
        counts = torch.stack([sum_of([w.sum() for _, w in group]) for group in groups])
        sums = torch.stack([sum_of([w @ rows for rows, w in group]) for group in groups])
        totals = _over_ranks(torch.cat([sums, counts.unsqueeze(1)], dim=1))
        count = totals[:, -1:].clamp(min=1)
        mean = totals[:, :-1] / count
        # The second pass is about the true mean: no cancellation.
        squares = torch.stack(
            [
                sum_of([w @ (rows - mean[t]).square() for rows, w in group])
                for t, group in enumerate(groups)
            ]
        )
        var = _over_ranks(squares) / count
        self._remember(mean.detach(), var.detach(), count.detach(), totals[:, -1:].detach())
        return mean, var

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, count: Tensor, seen: Tensor) -> None:
        unbiased = var * count / (count - 1).clamp(min=1)
        step = MOMENTUM * (seen > 0).float()  # an empty group teaches nothing
        self.running_mean += step * (mean - self.running_mean)
        self.running_var += step * (unbiased - self.running_var)


class NodeNorm(nn.Module):
    """Normalises the nodes of every frontier after a layer, with weights per table, then ReLU."""

    def __init__(self, kind: str, tables: Sequence[str], channels: int) -> None:
        super().__init__()
        self.kind, self.tables = kind, tuple(tables)
        self.batch_norm = BatchNorm(len(tables), channels) if kind == "batch_norm" else None
        if kind != "batch_norm":
            self.weight = nn.Parameter(torch.ones(len(tables), channels))
            self.bias = nn.Parameter(torch.zeros(len(tables), channels))

    def forward(
        self, states: Mapping[FrontierKey, Tensor], batch: TensorBatch
    ) -> dict[FrontierKey, Tensor]:
        """[N, C] per frontier -> float32 [N, C] per frontier, not below zero."""
        if self.batch_norm is not None:
            return self._by_batch(self.batch_norm, states, batch)
        normed = {}
        for key, rows in states.items():
            t = self.tables.index(key[1])
            if self.kind == "layer_norm":
                normed[key] = norm_relu(rows.float(), self.weight[t], self.bias[t])
            else:
                centred = _per_tree(rows.float(), batch.seed[key], batch.times.shape[0])
                out = torch.addcmul(self.bias[t], centred, self.weight[t])
                normed[key] = functional.relu_(out)
        return normed

    def _by_batch(
        self, norm: BatchNorm, states: Mapping[FrontierKey, Tensor], batch: TensorBatch
    ) -> dict[FrontierKey, Tensor]:
        keys = [[key for key in states if key[1] == table] for table in self.tables]
        groups = [
            [(states[key].float(), batch.weights.index_select(0, batch.seed[key])) for key in group]
            for group in keys
        ]
        return {
            key: functional.relu_(rows)
            for group, normed in zip(keys, norm(groups), strict=True)
            for key, rows in zip(group, normed, strict=True)
        }


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Add one or more tensors."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _over_ranks(local: Tensor) -> Tensor:
    """Sum over all ranks, through which gradients flow; `local` itself without a process group."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return local
    total: Tensor = _SumOverRanks.apply(local)  # type: ignore[no-untyped-call]
    return total


class _SumOverRanks(torch.autograd.Function):
    """A sum over ranks whose gradient is the sum of what the ranks' losses want of it."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        """Every rank gets the sum."""
        total = local.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Every rank used the sum, so every rank's gradient counts."""
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _per_tree(rows: Tensor, seed: Tensor, num_seeds: int) -> Tensor:
    """Normalise each channel over the nodes that a seed owns in this frontier.

    A node alone in its tree has nothing to be compared with; it is normalised over its channels.
    """
    count = torch.bincount(seed, minlength=num_seeds).to(rows.dtype).unsqueeze(1)
    share = 1 / count.clamp(min=1)
    empty = rows.new_zeros(num_seeds, rows.shape[1])
    mean = empty.index_add(0, seed, rows) * share
    centred = rows - mean.index_select(0, seed)
    var = empty.index_add(0, seed, centred.square()) * share
    normed = centred * (var + EPS).rsqrt().index_select(0, seed)
    is_alone = count.index_select(0, seed) == 1
    return torch.where(is_alone, functional.layer_norm(rows, (rows.shape[1],), eps=EPS), normed)
