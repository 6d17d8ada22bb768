"""Sums over runs of rows, forward with `embedding_bag` and backward with one scatter.

`embedding_bag` is the fastest forward that torch has on a CPU for sums over bags of rows, and
never writes the rows out; its own backward sorts, and is ten times slower than the gathers and
scatters used here.

Shapes: B rows of a block, C channels, P parents and n children of a hop, A aggregates, K columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from rle.model.tensors import TensorHop

SUM_SCALE = 0.125
"""What a sum beside a mean is multiplied by, so that both begin at a like size."""


@dataclass(frozen=True, slots=True)
class Aggregates:
    """How the children of one parent are pooled, each way an aggregate of its own."""

    main: str
    """"mean", "sum" or "max": the first aggregate."""
    with_sum: bool
    """Whether the sum times `SUM_SCALE` is the second."""
    num_newest: int
    """The last aggregates: the sum over the children of the newest moment, of the one before it,
    and so on."""

    @property
    def is_linear(self) -> bool:
        """Whether pooling and linear maps may change places."""
        return self.main != "max"

    @property
    def num_sums(self) -> int:
        """Aggregates before the newest children."""
        return 1 + self.with_sum

    def __len__(self) -> int:
        return self.num_sums + self.num_newest


def bag_sum(table: Tensor, ids: Tensor) -> Tensor:
    """Sum rows of `table` [B, C] over int64 [U, K] `ids`: [U, C]."""
    result: Tensor = _BagSum.apply(table, ids)  # type: ignore[no-untyped-call]
    return result


def pool(block: Tensor, index: Tensor | None, hop: TensorHop, how: Aggregates) -> Tensor:
    """Pool the children of every parent of a hop, in several ways at once: [P, A, C].

    Args:
        block: [B, C], what is pooled.
        index: int64 [hop.size], row of `block` for each node of the piece. None: its own row.
        hop: Which children belong to which parent.
        how: Linear aggregates only; `pool_max` is for the other.

    A parent without children, or without that many, gets zeros.
    """
    result: Tensor = _Pool.apply(block, index, hop, how)  # type: ignore[no-untyped-call]
    return result


def pool_max(block: Tensor, hop: TensorHop) -> Tensor:
    """Largest value per channel over the children of every parent: [P, C], zeros without any."""
    rows = torch.arange(hop.num_children, device=block.device)
    if hop.num_children == 0:
        return block.index_select(0, rows).sum(0) + block.new_zeros(hop.num_parents, 1)
    return functional.embedding_bag(rows, block, hop.offset, mode="max", include_last_offset=True)


def pool_ones(hop: TensorHop, how: Aggregates) -> Tensor:
    """What `pool` makes of a column of ones, float32 [P, A]: the way of a bias through it."""
    ones = hop.degree.new_zeros(hop.num_parents, len(how))
    ones[:, 0] = (hop.degree > 0).float() if how.main == "mean" else hop.degree
    if how.with_sum:
        ones[:, 1] = hop.degree * SUM_SCALE
    slot, _ = _newest_links(hop, how)
    ones.view(-1).index_add_(0, slot, torch.ones_like(slot, dtype=ones.dtype))
    return ones


class _BagSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = table.shape
        if ids.numel() == 0:
            return table.new_zeros(ids.shape[0], table.shape[1])
        return functional.embedding_bag(ids, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        total = grad.new_zeros(ctx.shape)
        for column in ids.unbind(1):
            total.index_add_(0, column, grad)
        return total, None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, block: Tensor, index: Tensor | None, hop: TensorHop, how: Aggregates
    ) -> Tensor:
        ctx.shape, ctx.index, ctx.hop, ctx.how = block.shape, index, hop, how
        channels = block.shape[1]
        out = block.new_zeros(hop.num_parents, len(how), channels)
        if hop.num_children:
            total = _children_sum(block, index, hop)
            out[:, 0] = (
                total / hop.degree.clamp(min=1).unsqueeze(1) if how.main == "mean" else total
            )
            if how.with_sum:
                torch.mul(total, SUM_SCALE, out=out[:, 1])
        slot, child = _newest_links(hop, how)
        if child.numel():
            rows = child if index is None else index.index_select(0, child)
            out.view(-1, channels).index_add_(0, slot, block.index_select(0, rows))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        hop: TensorHop = ctx.hop
        how: Aggregates = ctx.how
        share = grad[:, 0]
        if how.main == "mean":
            share = share / hop.degree.clamp(min=1).unsqueeze(1)
        if how.with_sum:
            share = torch.add(share, grad[:, 1], alpha=SUM_SCALE)
        spread = share.contiguous().index_select(0, hop.parent)
        slot, child = _newest_links(hop, how)
        if ctx.index is None:
            num_rest = ctx.shape[0] - hop.num_children
            total = functional.pad(spread, (0, 0, 0, num_rest)) if num_rest else spread
        else:
            total = grad.new_zeros(ctx.shape)
            total.index_add_(0, ctx.index[: hop.num_children], spread)
            child = ctx.index.index_select(0, child)
        if child.numel():
            flat = grad.reshape(-1, grad.shape[2])
            total.index_add_(0, child, flat.index_select(0, slot))
        return total, None, None, None


def _children_sum(block: Tensor, index: Tensor | None, hop: TensorHop) -> Tensor:
    if index is None:
        rows = torch.arange(hop.num_children, device=block.device)
    else:
        rows = index[: hop.num_children]
    return functional.embedding_bag(rows, block, hop.offset, mode="sum", include_last_offset=True)


def _newest_links(hop: TensorHop, how: Aggregates) -> tuple[Tensor, Tensor]:
    """Row of the flattened [P * A, C] output, and node of the piece, of each newest link."""
    slot = hop.newest_parent * len(how) + how.num_sums + hop.newest_rank
    if hop.newest_width <= how.num_newest:
        return slot, hop.newest_child
    kept = hop.newest_rank < how.num_newest
    return slot[kept], hop.newest_child[kept]
