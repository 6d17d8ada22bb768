"""From the nodes of a batch to distinct rows, and from rows to ages.

Shapes: N nodes, U distinct rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.machine import GOLDEN, LAST_TIME, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@kernel
def distinct_rows(rows: Array, num_rows: int, index: Array, found: Array) -> int:
    """Number distinct rows in the order in which they first come.

    Args:
        rows: int32 [N], each in `0..num_rows - 1`.
        num_rows: Of the table.
        index: int32 [N], filled with each row's number.
        found: int32 [N], whose beginning is filled with the distinct rows.

    Returns:
        U, how many there are.
    """
    bits = 4
    while (1 << bits) < min(2 * rows.size, num_rows):
        bits += 1
    mask = (1 << bits) - 1
    # With a place for every row of the table there is nothing to hash and nothing to collide.
    factor = np.uint64(1) if num_rows <= mask + 1 else GOLDEN
    shift = np.uint64(0) if num_rows <= mask + 1 else np.uint64(64 - bits)
    slots = np.full(mask + 1, -1, np.int32)
    num = np.int32(0)
    for i in range(rows.size):
        row = rows[i]
        place = np.int64((np.uint64(row) * factor) >> shift) & mask
        while slots[place] >= 0 and found[slots[place]] != row:
            place = (place + 1) & mask
        if slots[place] < 0:
            slots[place] = num
            found[num] = row
            num += np.int32(1)
        index[i] = slots[place]
    return int(num)


@kernel
def days_before(rows: Array, seed: Array, row_times: Array, seed_times: Array, out: Array) -> None:
    """Fill float32 [N] with the days from each row's time to its seed's; NaN for no row or time."""
    for i in range(rows.size):
        row = rows[i]
        time = row_times[row] if row >= 0 else LAST_TIME
        # In floats, because the difference of two int64 may not fit into one; the error is 0.3 us.
        days = (np.float64(seed_times[seed[i]]) - np.float64(time)) / 86_400e9
        out[i] = np.float32(np.nan if time == LAST_TIME else days)
