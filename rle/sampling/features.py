"""Trees -> Batch: the features of every distinct row once, and the ages that depend on the seed.

A popular parent is in a batch thousands of times; it is gathered, and later encoded, once.

Shapes: S seeds, N nodes of one frontier, P parents of one hop, U distinct rows of one table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.batch import Batch, Rows
from rle.sampling.kernels import rows as kernels
from rle.sampling.kernels.loading import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore
    from rle.sampling.batch import (
        Float32Array,
        Frontier,
        FrontierKey,
        Hop,
        Int32Array,
        Int64Array,
        Trees,
    )


def gather(
    snapshot: Snapshot,
    trees: Trees,
    *,
    positions: Int64Array,
    weights: Float32Array | None = None,
    labels: NDArray[np.generic] | None = None,
) -> Batch:
    """Collect what a model needs for `trees`. Releases the GIL for most of its time.

    Args:
        snapshot: The graph the trees were drawn from.
        trees: What the sampler returned.
        positions: int64 [S], the seeds' rows in the split's table.
        weights: float32 [S]; None for all 1.
        labels: [S] or [S, classes], of these seeds; None where there are none.
    """
    load()
    keys: dict[str, list[FrontierKey]] = {}
    for key in trees.frontiers:
        keys.setdefault(key[1], []).append(key)
    tables: dict[str, Rows] = {}
    index: dict[FrontierKey, Int32Array] = {}
    ages: dict[FrontierKey, Float32Array] = {}
    for table, group in keys.items():
        store = snapshot.tables[table]
        frontiers = [trees.frontiers[key] for key in group]
        rows, places = _distinct(frontiers, store.num_rows)
        tables[table] = gather_rows(store, rows)
        start = 0
        for key, frontier in zip(group, frontiers, strict=True):
            index[key] = places[start : start + frontier.rows.size]
            start += frontier.rows.size
            if store.times is not None:
                ages[key] = _days(store.times, frontier.rows, frontier.seed, trees.times)
    return Batch(
        positions=positions,
        weights=np.ones(positions.size, np.float32) if weights is None else weights,
        labels=labels,
        trees=trees,
        tables=tables,
        index=index,
        ages=ages,
        newest_ages=tuple(_newest_age(snapshot, trees, hop) for hop in trees.hops),
    )


def gather_rows(store: TableStore, rows: Int32Array) -> Rows:
    """Copy the features of `rows`, int32 [U], out of one table."""
    at = rows.astype(np.intp)
    return Rows(
        rows=rows,
        numbers=_take(store.numbers, at),
        codes=_take(store.codes, at),
        stamps=_take(store.stamps, at),
        vectors={column: _take(block, at) for column, block in store.vectors.items()},
        lists={
            column: gather_lists(offsets, codes, at)
            for column, (offsets, codes) in store.lists.items()
        },
    )


def gather_lists(
    offsets: Int64Array, codes: Int32Array, rows: NDArray[np.intp]
) -> tuple[Int64Array, Int32Array]:
    """Copy the lists of `rows` [U]: int64 [U + 1] offsets and int32 codes, as in the snapshot."""
    first, last = offsets[rows], offsets[rows + 1]
    out = np.zeros(rows.size + 1, np.int64)
    np.cumsum(last - first, out=out[1:])
    # Position of every code: where its list begins in the table, less where it begins here.
    at = np.arange(out[-1]) + np.repeat(first - out[:-1], last - first)
    return out, np.asarray(codes)[at]


def _take(block: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    # Rows come from the snapshot itself, so that clipping never happens; it only skips a check.
    return np.asarray(block).take(rows, axis=0, mode="clip")


def _distinct(frontiers: list[Frontier], num_rows: int) -> tuple[Int32Array, Int32Array]:
    """Return the distinct rows of the frontiers, [U], and each node's place among them."""
    rows = (
        frontiers[0].rows
        if len(frontiers) == 1
        else np.concatenate([frontier.rows for frontier in frontiers])
    )
    index, found = np.empty(rows.size, np.int32), np.empty(rows.size, np.int32)
    num = kernels.distinct_rows(rows, num_rows, index, found)
    return found[:num].copy(), index


def _days(
    row_times: Int64Array, rows: Int32Array, seed: Int32Array, seed_times: Int64Array
) -> Float32Array:
    out = np.empty(rows.size, np.float32)
    kernels.days_before(rows, seed, np.asarray(row_times), seed_times, out)
    return out


def _newest_age(snapshot: Snapshot, trees: Trees, hop: Hop) -> Float32Array | None:
    times = snapshot.tables[hop.target].times
    if times is None:
        return None
    return _days(times, hop.newest_row, trees.frontiers[hop.depth, hop.source].seed, trees.times)
