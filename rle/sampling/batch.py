"""What sampling hands to the model: trees of row numbers, and the features of their rows.

A table's rows are numbered in time order, so rows and positions are int32 and no time is stored
per edge. Everything here is plain numpy; `rle.model.tensors` turns it into torch.

Shapes: S seeds, N nodes of one frontier, P parents of one hop, M newest children kept, W windows,
U distinct rows of one table, C numbers, K codes, D timestamps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Int32Array: TypeAlias = NDArray[np.int32]
    Int64Array: TypeAlias = NDArray[np.int64]
    Float32Array: TypeAlias = NDArray[np.float32]
    VectorArray: TypeAlias = NDArray[np.float16] | NDArray[np.float32]

FrontierKey: TypeAlias = tuple[int, str]
"""(depth, table name): the nodes of one table at one distance from their seeds."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """The nodes of one table at one depth, grouped by seed within each hop that reached them."""

    rows: Int32Array
    """int32 [N], row numbers in the table."""
    seed: Int32Array
    """int32 [N], the seed of the batch that owns each node."""


@dataclass(frozen=True, slots=True)
class Hop:
    """What one relation adds below the frontier (depth, source).

    The children of parent p are the nodes `first + offset[p] : first + offset[p + 1]` of the
    frontier (depth + 1, target), oldest first. The `num_extra` nodes after the last of them were
    not sampled: they are there only so that `newest` can point at them, and aggregates leave them
    out.
    """

    relation: int
    """Position in `GraphSchema.relations`."""
    depth: int
    """Depth of the parents."""
    source: str
    """Table of the parents."""
    target: str
    """Table of the children."""
    first: int
    """Where the children begin in their frontier."""
    num_extra: int
    """Nodes of the frontier, right after the children, that only `newest` points at."""
    offset: Int32Array
    """int32 [P + 1], children of each parent, relative to `first`."""
    count: Int32Array
    """int32 [P], visible neighbours before the fanout cut them."""
    newest_row: Int32Array
    """int32 [P], row of the newest visible neighbour, -1 where there is none."""
    newest: Int32Array
    """int32 [P, M], nodes of the child frontier that are the newest visible neighbours, newest
    first, -1 where there are fewer. M is 0 for a relation to the one parent row."""
    recent: Int32Array
    """int32 [P, W], visible neighbours within each window of time before the seed's time. W is 0
    for a relation to the one parent row or to a table without time."""
    due: Int32Array | None = None
    """int32 [P, W], for an inherited relation with a lag: how many of the rows that its rows extend
    are within each window, were the windows to end that much before the seed's time. As many of
    its own rows are to be expected in `recent`."""


@dataclass(frozen=True, slots=True)
class Trees:
    """One tree per seed; two seeds never share a node."""

    rows: Int32Array
    """int32 [S], the seeds' rows in the entity table."""
    times: Int64Array
    """int64 [S], nanoseconds since the epoch, UTC: nothing newer is in the tree."""
    frontiers: Mapping[FrontierKey, Frontier]
    """Every frontier that the schema can reach, the empty ones too; (0, entity) are the seeds."""
    hops: tuple[Hop, ...]
    """By depth, then target table, then relation, in the order of the schema. The same relations
    for every batch, whatever is in it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The features of the distinct rows of one table that a batch reaches."""

    rows: Int32Array
    """int32 [U], row numbers, in the order in which the frontiers first reach them."""
    numbers: Float32Array
    """float32 [U, C], NaN where NULL."""
    codes: Int32Array
    """int32 [U, K], positions in the columns' dictionaries, -1 where NULL."""
    stamps: Int64Array
    """int64 [U, D], nanoseconds since the epoch, `NULL_STAMP` where NULL."""
    vectors: Mapping[str, VectorArray]
    """Column to [U, dim] in the dtype of the snapshot, NaN rows where NULL."""
    lists: Mapping[str, tuple[Int64Array, Int32Array]]
    """Column to (int64 [U + 1] offsets, int32 codes)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one step needs: seeds, trees, and each reached row's features once."""

    positions: Int64Array
    """int64 [S], the seeds' rows in the split's table."""
    weights: Float32Array
    """float32 [S], 0 for rows that only pad a batch."""
    labels: NDArray[np.generic] | None
    """[S] or [S, classes], as the label codec encodes them; None where there are none."""
    trees: Trees
    tables: Mapping[str, Rows]
    """Table name to its rows, for every table that has a frontier."""
    index: Mapping[FrontierKey, Int32Array]
    """int32 [N] per frontier: where in `tables[table]` each node's features are."""
    ages: Mapping[FrontierKey, Float32Array]
    """float32 [N] per frontier of a table with a time: days from the row's time to its seed's,
    NaN where the row's time is NULL."""
    newest_ages: tuple[Float32Array | None, ...]
    """float32 [P] per hop: days from the newest visible neighbour to the seed's time, NaN where
    there is none; None where the target table has no time."""
