"""From moments to row numbers: which rows of a table a seed may see.

What is visible are the rows `floor <= row < cutoff`. The cutoff is how many rows are before the
seed's bound, the floor how many of those are too old for a time window, 0 where there is none.

Shapes: S seeds, T tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.machine import LAST_TIME, kernel, load_int64, prefetch_int64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ADDRESS, NUM_TIMED, FIRST_TIME, SHIFT, BUCKET_START, NUM_BUCKETS = range(6)
"""Columns of the clocks, int64 [T, 6]. ADDRESS 0: no time, or none that is not NULL."""

AHEAD = 16
"""Moments between a prefetch and its use."""
LOWEST_TIME = np.int64(-0x8000000000000000)


@kernel
def bound_times(times: Array, inclusive: int, out: Array) -> None:
    """Fill int64 [S]: what is visible to each seed is before this."""
    for s in range(times.size):
        # The rows up to a time are those before the next nanosecond.
        out[s] = times[s] + (inclusive if times[s] < LAST_TIME else 0)


@kernel
def bucket_bounds(clock: Array, buckets: Array, time: int) -> tuple[int, int]:
    """Return two row numbers with the number of rows before `time` between them."""
    bucket: Any = np.int64(0)
    if time > clock[FIRST_TIME]:
        # The span of int64 needs 64 unsigned bits.
        age: Any = np.uint64(time) - np.uint64(clock[FIRST_TIME])
        steps: Any = age >> np.uint64(clock[SHIFT])
        bucket = np.int64(min(steps, np.uint64(clock[NUM_BUCKETS] - 1)))
    bucket += clock[BUCKET_START]
    first: Any = np.int64(buckets[bucket])
    last: Any = np.int64(buckets[bucket + 1])
    return first, last


@kernel
def find_table_cutoffs(bounds: Array, clock: Array, buckets: Array, out: Array) -> None:
    """Fill int32 [S]: how many rows of one table are before each of the int64 [S] bounds."""
    address = clock[ADDRESS]
    if address == 0:
        out[:] = clock[NUM_TIMED]
        return
    for s in range(bounds.size):
        if s + AHEAD < bounds.size:
            first, last = bucket_bounds(clock, buckets, bounds[s + AHEAD])
            prefetch_int64(address, (first + last) >> 1)
        first, last = bucket_bounds(clock, buckets, bounds[s])
        while first < last:
            middle = (first + last) >> 1
            if load_int64(address, middle) < bounds[s]:
                first = middle + 1
            else:
                last = middle
        out[s] = first


@kernel
def find_cutoffs(bounds: Array, clocks: Array, buckets: Array, out: Array) -> None:
    """Fill int32 [T, S]: how many rows of each table are before each of the int64 [S] bounds."""
    for table in range(clocks.shape[0]):
        find_table_cutoffs(bounds, clocks[table], buckets, out[table])


@kernel
def begin_window(bounds: Array, window: int, out: Array) -> None:
    """Fill int64 [S]: what is before this is too old for a window that ends at the bound."""
    for s in range(bounds.size):
        # Nothing is before the lowest time, so that all is within a window beyond it.
        out[s] = LOWEST_TIME if bounds[s] < LOWEST_TIME + window else bounds[s] - window


@kernel
def find_floors(bounds: Array, window: int, clocks: Array, buckets: Array) -> Array:
    """Return int32 [T, S]: how many rows of each table are too old to be visible to each seed.

    0 for tables without time, whose rows are never too old. Without a window (0) there is nothing
    to look up and the result is [T, 0].
    """
    out = np.zeros((clocks.shape[0], bounds.size if window else 0), np.int32)
    if window:
        starts = np.empty(bounds.size, np.int64)
        begin_window(bounds, window, starts)
        for table in range(clocks.shape[0]):
            if clocks[table, ADDRESS] != 0:
                find_table_cutoffs(starts, clocks[table], buckets, out[table])
    return out
