"""The numpy batch of `rle.sampling` as torch tensors on a device.

Shapes: S seeds, N nodes of one frontier, P parents and n children of one hop, q newest links,
U distinct rows of one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rle.sampling.batch import Batch, FrontierKey, Hop, Rows

    Move: TypeAlias = Callable[[NDArray[np.generic]], Tensor]


@dataclass(frozen=True, slots=True)
class TensorHop:
    """One relation below a frontier; its piece is the n children, then the extras."""

    relation: int
    depth: int
    source: str
    target: str
    first: int
    """Where the piece begins in the child frontier."""
    num_children: int
    num_extra: int
    offset: Tensor
    """int64 [P + 1], children of each parent within the piece."""
    parent: Tensor
    """int64 [n], parent of each child, ascending."""
    degree: Tensor
    """float32 [P], children of each parent."""
    count: Tensor
    """float32 [P], visible neighbours before the fanout cut them."""
    recent: Tensor
    """float32 [P, W], those of them within each window before the seed's time."""
    newest_parent: Tensor
    """int64 [q], parents of the newest links."""
    newest_rank: Tensor
    """int64 [q], 0 for children of a parent's newest moment, 1 for the one before it, and so on."""
    newest_child: Tensor
    """int64 [q], node of the piece."""
    newest_width: int
    """M: how many ranks there are at most."""
    newest_age: Tensor | None
    """float32 [P], days since the newest visible neighbour, NaN where there is none."""
    due: Tensor | None = None
    """float32 [P, W]; see `rle.sampling.batch.Hop`."""

    @property
    def num_parents(self) -> int:
        """P."""
        return self.degree.shape[0]

    @property
    def size(self) -> int:
        """Nodes of the piece, extras included."""
        return self.num_children + self.num_extra


@dataclass(frozen=True, slots=True)
class TensorRows:
    """Features of distinct rows; see `rle.sampling.batch.Rows`."""

    rows: Tensor
    """int64 [U], row numbers."""
    numbers: Tensor
    codes: Tensor
    stamps: Tensor
    vectors: Mapping[str, Tensor]
    lists: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def num_rows(self) -> int:
        """U."""
        return self.numbers.shape[0]

    @property
    def width(self) -> int:
        """Values per row over all fixed-size blocks."""
        blocks = [self.numbers, self.codes, self.stamps, *self.vectors.values()]
        return sum(block.shape[1] for block in blocks)

    def take(self, index: Tensor) -> TensorRows:
        """Repeat rows: one per entry of int64 [N] `index`. Not for tables with list columns."""
        return TensorRows(
            rows=self.rows.index_select(0, index),
            numbers=self.numbers.index_select(0, index),
            codes=self.codes.index_select(0, index),
            stamps=self.stamps.index_select(0, index),
            vectors={name: block.index_select(0, index) for name, block in self.vectors.items()},
            lists={},
        )


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """A batch on a device; see `rle.sampling.batch.Batch`."""

    positions: Tensor
    weights: Tensor
    """float32 [S], how often each seed counts: in the loss, and in the statistics of norms."""
    labels: Tensor | None
    times: Tensor
    """int64 [S], nanoseconds since the epoch."""
    hops: tuple[TensorHop, ...]
    seed: Mapping[FrontierKey, Tensor]
    """int64 [N] per frontier: the seed that owns each node."""
    tables: Mapping[str, TensorRows]
    index: Mapping[FrontierKey, Tensor]
    """int64 [N] per frontier: row of `tables[table]`."""
    ages: Mapping[FrontierKey, Tensor]


def to_tensors(
    batch: Batch,
    device: torch.device | str,
    *,
    pin: bool = False,
    weights: NDArray[np.float32] | None = None,
) -> TensorBatch:
    """Copy a batch to `device`; on the CPU nothing but int32 indices is copied.

    Args:
        batch: Numpy batch, left as it is. On the CPU the result shares its memory.
        device: Where to.
        pin: Copy through pinned memory and do not wait for it. Only useful with a CUDA device.
        weights: float32 [S], how often each seed counts, in place of the batch's.
    """
    target = torch.device(device)
    move = partial(move_array, device=target, pin=pin and target.type == "cuda")
    trees = batch.trees
    return TensorBatch(
        positions=move(batch.positions),
        weights=move(batch.weights if weights is None else weights),
        labels=None if batch.labels is None else move(batch.labels),
        times=move(trees.times),
        hops=tuple(
            _hop(hop, batch.ages.get((hop.depth + 1, hop.target)), newest_age, move)
            for hop, newest_age in zip(trees.hops, batch.newest_ages, strict=True)
        ),
        seed={key: move(_wide(frontier.seed)) for key, frontier in trees.frontiers.items()},
        tables={name: _rows(rows, move) for name, rows in batch.tables.items()},
        index={key: move(_wide(index)) for key, index in batch.index.items()},
        ages={key: move(age) for key, age in batch.ages.items()},
    )


def move_array(array: NDArray[np.generic], *, device: torch.device, pin: bool) -> Tensor:
    """Copy an array to `device`; on the CPU the tensor shares its memory where torch can."""
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()  # torch cannot express read-only memory
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return (tensor.pin_memory() if pin else tensor).to(device, non_blocking=pin)


def _wide(array: NDArray[np.generic]) -> NDArray[np.int64]:
    # torch's gathers and scatters are at their fastest with int64.
    return array.astype(np.int64)


def _rows(rows: Rows, move: Move) -> TensorRows:
    return TensorRows(
        rows=move(_wide(rows.rows)),
        numbers=move(rows.numbers),
        codes=move(_wide(rows.codes)),
        stamps=move(rows.stamps),
        vectors={name: move(block) for name, block in rows.vectors.items()},
        lists={name: (move(off), move(_wide(codes))) for name, (off, codes) in rows.lists.items()},
    )


def _hop(
    hop: Hop,
    ages: NDArray[np.float32] | None,
    newest_age: NDArray[np.float32] | None,
    move: Move,
) -> TensorHop:
    offset = _wide(hop.offset)
    degree = np.diff(offset)
    parent = np.repeat(np.arange(degree.size), degree)
    newest_parent, newest_rank, newest_child = _newest(hop, parent, ages)
    return TensorHop(
        relation=hop.relation,
        depth=hop.depth,
        source=hop.source,
        target=hop.target,
        first=hop.first,
        num_children=int(offset[-1]),
        num_extra=hop.num_extra,
        offset=move(offset),
        parent=move(parent),
        degree=move(degree.astype(np.float32)),
        count=move(hop.count.astype(np.float32)),
        recent=move(hop.recent.astype(np.float32)),
        newest_parent=move(newest_parent),
        newest_rank=move(newest_rank),
        newest_child=move(newest_child),
        newest_width=hop.newest.shape[1],
        newest_age=None if newest_age is None else move(newest_age),
        due=None if hop.due is None else move(hop.due.astype(np.float32)),
    )


def _newest(
    hop: Hop, parent: NDArray[np.int64], ages: NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Parent, rank and node of every child of one of its parent's M newest moments.

    Rows of one moment, such as the lines of one order, belong together. Of a table without time
    each row is a moment of its own.

    Args:
        hop: Its `newest` and `offset` are read.
        parent: int64 [n], parent of each child.
        ages: float32, age of every node of the child frontier.
    """
    width = hop.newest.shape[1]
    linked, rank = np.nonzero(hop.newest >= 0)
    node = _wide(hop.newest[linked, rank]) - hop.first
    if ages is None or width == 0:
        return linked, rank, node
    children = np.arange(parent.size)
    if hop.num_extra:
        is_extra = node >= parent.size
        parent = np.concatenate([parent, linked[is_extra]])
        children = np.concatenate([children, node[is_extra]])
        order = np.lexsort((-ages[hop.first + children], parent))
        parent, children = parent[order], children[order]
    if parent.size == 0:
        return parent, children, children
    age = ages[hop.first + children]
    # Oldest first: the rank of a child is how often the moment changes after it.
    later = (parent[1:] == parent[:-1]) & (age[1:] != age[:-1])
    changes = np.concatenate([[0], np.cumsum(later)])
    last = np.append(np.flatnonzero(parent[1:] != parent[:-1]), parent.size - 1)
    lengths = np.diff(last, prepend=-1)
    ranks = np.repeat(changes[last], lengths) - changes
    kept = ranks < width
    return parent[kept], ranks[kept], children[kept]
