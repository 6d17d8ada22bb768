"""From moments to row numbers: how many rows of a table are before a seed's time.

Shapes: S seeds, T tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.machine import kernel, load_int64, prefetch_int64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ADDRESS, NUM_TIMED, FIRST_TIME, SHIFT, BUCKET_START, NUM_BUCKETS = range(6)
"""Columns of the clocks, int64 [T, 6]. ADDRESS 0: no time, or none that is not NULL."""

AHEAD = 16
"""Moments between a prefetch and its use."""


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
