"""Draws of targets that are not those of a source. Counter-based: functions of their keys alone.

Shapes: S sources, k draws per source, E events, T rows of the target table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.draws import mix
from rle.sampling.kernels.machine import GOLDEN, high_product, kernel
from rle.sampling.kernels.trees import count_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TRIES = 32
"""Draws by degree that may hit an excluded target before a uniform draw takes their place."""
SALT = np.uint64(0x6E65676174697665)
"""Keeps these draws apart from those of the trees."""


@kernel
def skip_excluded(rank: int, excluded: Array) -> int:
    """Return the row that has `rank` not excluded rows before it. `excluded` [n] ascends."""
    first, last = 0, excluded.size
    while first < last:  # excluded[i] - i is how many kept rows are before it, and never falls
        middle = (first + last) >> 1
        if excluded[middle] - middle <= rank:
            first = middle + 1
        else:
            last = middle
    return rank + first


@kernel
def is_among(row: int, excluded: Array) -> bool:
    """Whether the ascending `excluded` [n] hold a row."""
    at = np.searchsorted(excluded, row)
    return bool(at < excluded.size and excluded[at] == row)


@kernel
def take_all(num_kept: int, excluded: Array, out: Array, log_weight: Array) -> None:
    """Fill in every row that is not excluded, each for itself; -1 where there are no more."""
    for i in range(out.size):
        out[i] = skip_excluded(i, excluded) if i < num_kept else -1
        log_weight[i] = 0


@kernel
def draw_uniform(
    key: np.uint64, num_kept: int, excluded: Array, out: Array, log_weight: Array
) -> None:
    """Draw k of the rows that are not excluded without replacement (Floyd's algorithm)."""
    for i in range(out.size):
        j = num_kept - out.size + i
        key += GOLDEN
        pick: Any = np.int64(high_product(mix(key), np.uint64(j + 1)))
        for earlier in range(i):
            if out[earlier] == pick:
                pick = j
                break
        out[i] = pick
    for i in range(out.size):
        out[i] = skip_excluded(out[i], excluded)
        log_weight[i] = np.log(num_kept / out.size)


@kernel
def degree(lists: Array, offsets: Array, row: int, num_events: int) -> int:
    """Return how many of the first `num_events` events lead to a row."""
    first: Any = np.int64(offsets[row])
    last: Any = np.int64(offsets[row + 1])
    return int(count_below(lists, first, last, num_events))


@kernel
def draw_by_degree(
    key: np.uint64,
    num_visible: int,
    num_events: int,
    destinations: Array,
    offsets: Array,
    lists: Array,
    excluded: Array,
    out: Array,
    log_weight: Array,
) -> None:
    """Draw k rows with replacement, each by one more than its number of events."""
    mass = num_events + num_visible
    kept = mass
    for i in range(excluded.size):
        kept -= 1 + degree(lists, offsets, excluded[i], num_events)
    num_kept = num_visible - excluded.size
    missed = (1 - kept / mass) ** TRIES
    for i in range(out.size):
        row: Any = -1
        for _ in range(TRIES):
            key += GOLDEN
            pick: Any = np.int64(high_product(mix(key), np.uint64(mass)))
            row = np.int64(destinations[pick]) if pick < num_events else pick - num_events
            if not is_among(row, excluded):
                break
            row = -1
        if row < 0:
            key += GOLDEN
            rank: Any = np.int64(high_product(mix(key), np.uint64(num_kept)))
            row = skip_excluded(rank, excluded)
        share = (1 - missed) * (1 + degree(lists, offsets, row, num_events)) / kept
        out[i] = row
        log_weight[i] = -np.log(out.size * (share + missed / num_kept))


@kernel
def draw_negatives(
    positions: Array,
    num_visible: Array,
    num_events: Array,
    excluded_offset: Array,
    excluded: Array,
    destinations: Array,
    offsets: Array,
    lists: Array,
    seed: int,
    epoch: int,
    by_degree: int,
    out: Array,
    log_weight: Array,
) -> None:
    """Fill int32 and float32 [S, k].

    Args:
        positions: int64 [S], part of the randomness.
        num_visible: int32 [S], rows of the target table that are there.
        num_events: int32 [S], events that are; anything without `by_degree`.
        excluded_offset: int64 [S + 1].
        excluded: int32, ascending and distinct per source, visible or not.
        destinations: int32 [E], where each event leads, in the order in which they become visible.
        offsets: int32 [T + 1].
        lists: int32 [E], the events of each target, ascending.
        seed: Of the draws.
        epoch: Of the draws.
        by_degree: 1 to draw by the number of events, 0 uniformly.
        out: Rows of the target table, -1 for none.
        log_weight: Logarithm of how many targets a draw stands for.
    """
    base = mix(mix((np.uint64(seed) ^ SALT) + GOLDEN) ^ np.uint64(epoch))
    for s in range(positions.size):
        key = mix(base ^ np.uint64(positions[s]))
        first, last = excluded_offset[s], excluded_offset[s + 1]
        last = first + np.searchsorted(excluded[first:last], num_visible[s])
        left_out = excluded[first:last]
        there: Any = np.int64(num_visible[s])
        came: Any = np.int64(num_events[s])
        num_kept = there - left_out.size
        if num_kept <= out.shape[1]:
            take_all(num_kept, left_out, out[s], log_weight[s])
        elif by_degree:
            draw_by_degree(
                key, there, came, destinations, offsets, lists, left_out, out[s], log_weight[s],
            )  # fmt: skip
        else:
            draw_uniform(key, num_kept, left_out, out[s], log_weight[s])
