"""What is known of the nodes of one frontier, and the linear maps that layers apply to it.

The first state of a node is linear in what the encoder made of its row and in its age and count
features. Every use of it but the maximum is linear too, so the maps are multiplied first, which
costs [C, C] times [C, C], and the [nodes, channels] matrix in between never exists.

Shapes: N nodes, B rows of a block, C channels, E extra features, A aggregates, P parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from rle.model.fused import affine_pair
from rle.model.segments import Aggregates, pool, pool_max, pool_ones

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.model.tensors import TensorHop


class State(Protocol):
    """The nodes of one frontier, or of the piece of it that one hop reached."""

    @property
    def num_nodes(self) -> int:
        """N."""

    def rows(self) -> Tensor:
        """[N, C], written out."""

    def linear(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`rows() @ weight + bias`: [N, channels out], a tensor that the caller may change."""

    def pooled(self, hop: TensorHop, weight: Tensor, how: Aggregates) -> Tensor:
        """Children pooled in A ways, times [A, C, channels out] `weight`, added: [P, out]."""

    def pieces(self, sizes: Sequence[int]) -> Sequence[State]:
        """Cut into consecutive pieces of `sizes` nodes."""


@dataclass(frozen=True, slots=True)
class Dense:
    """States that exist row by row."""

    values: Tensor
    """[N, C]."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.values.shape[0]

    def rows(self) -> Tensor:
        """[N, C]."""
        return self.values

    def linear(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One product."""
        return affine(self.values, weight, bias)

    def pooled(self, hop: TensorHop, weight: Tensor, how: Aggregates) -> Tensor:
        """Pool, then one product for all aggregates."""
        if how.is_linear:
            every = pool(self.values, None, hop, how)
        else:
            # The plain sum that comes first beside the others is not wanted here.
            beside = pool(self.values, None, hop, Aggregates("sum", how.with_sum, how.num_newest))
            every = torch.cat([pool_max(self.values, hop).unsqueeze(1), beside[:, 1:]], dim=1)
        return every.flatten(1) @ weight.flatten(0, 1)

    def pieces(self, sizes: Sequence[int]) -> Sequence[State]:
        """One split, so that the way back is one concatenation."""
        if len(sizes) == 1:
            return [self]
        return [Dense(values) for values in torch.split(self.values, list(sizes))]


@dataclass(frozen=True, slots=True)
class Factored:
    """States `block[index] @ out_weight + extra @ extra_weight + out_bias`, not written out."""

    block: Tensor
    """[B, C], one row per distinct row of the table, or per node."""
    index: Tensor | None
    """int64 [N], row of `block` of each node. None: rows and nodes are the same."""
    extra: Tensor
    """[N, E], features that depend on node and seed."""
    out_weight: Tensor
    """[C, C]."""
    out_bias: Tensor
    """[C]."""
    extra_weight: Tensor
    """[E, C]."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.extra.shape[0]

    def rows(self) -> Tensor:
        """[N, C], as the product of all the parts."""
        return self._apply(self.out_weight, self.extra_weight, self.out_bias)

    def linear(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The three maps times `weight`, then one product."""
        whole = self._through(weight)
        channels, width = self.out_weight.shape[0], self.extra.shape[1]
        constant = whole[-1] if bias is None else whole[-1] + bias
        return self._apply(whole[:channels], whole[channels : channels + width], constant)

    def pooled(self, hop: TensorHop, weight: Tensor, how: Aggregates) -> Tensor:
        """Pool block, extra features and bias, then one product for all of them."""
        if not how.is_linear:
            return Dense(self.rows()).pooled(hop, weight, how)
        parts = [pool(self.block, self.index, hop, how)]
        if self.extra.shape[1]:
            parts.append(pool(self.extra, None, hop, how).to(parts[0].dtype))
        parts.append(pool_ones(hop, how).to(parts[0].dtype).unsqueeze(2))
        whole = self._through(weight)
        return torch.cat(parts, dim=2).flatten(1) @ whole.flatten(0, 1)

    def pieces(self, sizes: Sequence[int]) -> Sequence[State]:
        """Cut the block too where its rows are the nodes."""
        if len(sizes) == 1:
            return [self]
        cuts = list(sizes)
        blocks = torch.split(self.block, cuts) if self.index is None else [self.block] * len(cuts)
        indices = [None] * len(cuts) if self.index is None else torch.split(self.index, cuts)
        return [
            Factored(block, index, extra, self.out_weight, self.out_bias, self.extra_weight)
            for block, index, extra in zip(
                blocks, indices, torch.split(self.extra, cuts), strict=True
            )
        ]

    def _through(self, weight: Tensor) -> Tensor:
        """Block, extra and bias maps, one below the other, times `weight`."""
        # Weights are multiplied in float32 whatever the autocast: it is cheap and keeps precision.
        with torch.autocast(weight.device.type, enabled=False):
            maps = [self.out_weight, self.extra_weight, self.out_bias.unsqueeze(0)]
            return torch.cat(maps) @ weight

    def _apply(self, block_map: Tensor, extra_map: Tensor, constant: Tensor) -> Tensor:
        if self.index is not None and self.block.shape[0] < self.num_nodes:
            # Fewer rows than nodes: multiply each row once, then look the products up.
            looked_up = affine(self.block, block_map, constant).index_select(0, self.index)
            if self.extra.shape[1] == 0:
                return looked_up
            return torch.addmm(looked_up, self.extra, extra_map)
        block = self.block if self.index is None else self.block.index_select(0, self.index)
        if self.extra.shape[1] == 0:
            return affine(block, block_map, constant)
        return affine_pair(block, self.extra, block_map, extra_map, constant)


def affine(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`inputs @ weight + bias`."""
    return inputs @ weight if bias is None else torch.addmm(bias, inputs, weight)
