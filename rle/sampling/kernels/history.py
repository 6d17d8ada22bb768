"""The walks from sources down to their events and up to targets, and what they add up to.

Shapes: S sources, H hops of all paths, K paths, T tables, W windows, P pairs, n rows of one walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.clocks import (
    ADDRESS,
    begin_window,
    bound_times,
    find_floors,
    find_table_cutoffs,
)
from rle.sampling.kernels.machine import kernel, load_int64
from rle.sampling.kernels.trees import count_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MANY, LINK_START, LAYOUT, TABLE, IS_CLOCK = range(5)
"""Columns of the hops, int64 [H, 5]. LINK_START of a hop to a parent includes its column; LAYOUT is
where the offsets of a hop to many begin, or the stride of a hop to a parent; IS_CLOCK is 1 where
the time of the rows it leads to is the time of the event."""
FIRST_HOP, CLOCK = range(2)
"""Columns of the parts, int64 [K + 1, 2]. CLOCK is the table of the last IS_CLOCK hop, or -1."""

NS_PER_DAY = 86_400e9


@kernel
def go_down(
    links: Array, offsets: Array, hop: Array, floor: int, cutoff: int, rows: Array, stamps: Array,
    limit: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the newest visible rows, at most `limit`, below `rows` [n], oldest first, with stamps.

    Rows below `floor` are too old to be visible, those from `cutoff` on too new. A row's stamp is
    the row whose time is the time of its event; -1 where there is none.
    """
    ends, counts = np.empty(rows.size, np.int64), np.empty(rows.size, np.int64)
    total = 0
    for i in range(rows.size):
        at = hop[LAYOUT] + np.int64(rows[i])
        first = hop[LINK_START] + np.int64(offsets[at])
        last = hop[LINK_START] + np.int64(offsets[at + 1])
        n = count_below(links, first, last, cutoff)
        too_old = count_below(links, first, first + n, floor) if floor > 0 else 0
        ends[i], counts[i] = first + n, min(n - too_old, limit)
        total += counts[i]
    # Rows of a clock are new in the order of their numbers; others in the order of `rows`.
    size = total if hop[IS_CLOCK] else min(total, limit)
    below, of_below = np.empty(size, np.int32), np.empty(size, np.int32)
    pos = size
    for i in range(rows.size - 1, -1, -1):
        n = min(counts[i], pos)
        pos -= n
        for j in range(n):
            below[pos + j] = links[ends[i] - n + j]
            of_below[pos + j] = stamps[i]
    if not hop[IS_CLOCK]:
        return below, of_below
    if rows.size > 1:
        below.sort()
    kept = below[max(0, size - limit) :].copy()
    return kept, kept.copy()


@kernel
def go_up(
    links: Array, hop: Array, cutoff: int, rows: Array, stamps: Array, events: Array, num: int
) -> int:
    """Put their visible parents in place of `num` rows; returns how many there are."""
    kept = 0
    for i in range(num):
        parent = links[hop[LINK_START] + np.int64(rows[i]) * hop[LAYOUT]]
        if 0 <= parent < cutoff:
            rows[kept], stamps[kept], events[kept] = parent, stamps[i], events[i]
            kept += 1
    return kept


@kernel
def walk(
    links: Array, offsets: Array, hops: Array, first: int, last: int, floors: Array,
    cutoffs: Array, s: int, row: int, limit: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Follow one path from a row: int32 [n] targets, their events and stamps, oldest first."""
    rows, stamps = np.full(1, row, np.int32), np.full(1, -1, np.int32)
    h = first
    while h < last and hops[h, MANY]:
        table = hops[h, TABLE]
        floor = floors[table, s] if hops[h, IS_CLOCK] and floors.shape[1] else 0
        rows, stamps = go_down(
            links, offsets, hops[h], floor, cutoffs[table, s], rows, stamps, limit
        )
        h += 1
    events = rows.copy() if h > first else np.full(1, -1, np.int32)
    num = rows.size
    while h < last:
        num = go_up(links, hops[h], cutoffs[hops[h, TABLE], s], rows, stamps, events, num)
        h += 1
    return rows[:num], events[:num], stamps[:num]


@kernel
def find_bounds(
    times: Array,
    hops: Array,
    parts: Array,
    clocks: Array,
    buckets: Array,
    windows: Array,
    inclusive: int,
    time_window: int,
) -> tuple[Array, Array, Array]:
    """Return int32 [T, S] rows too old, [T, S] visible rows, [T, S * W] rows before each window.

    Without a time window the first is [T, 0]. Of the others only tables that a hop leads to, and
    clocks among the last, are filled.
    """
    num = windows.size
    bounds, starts = np.empty(times.size, np.int64), np.empty(times.size * num, np.int64)
    bound_times(times, inclusive, bounds)
    for w in range(num):
        begin_window(bounds, windows[w], starts[w::num])
    floors = find_floors(bounds, time_window, clocks, buckets)
    cutoffs = np.empty((clocks.shape[0], times.size), np.int32)
    past = np.empty((clocks.shape[0], starts.size), np.int32)
    is_found = np.zeros((clocks.shape[0], 2), np.bool_)
    for h in range(hops.shape[0]):
        table = hops[h, TABLE]
        if not is_found[table, 0]:
            find_table_cutoffs(bounds, clocks[table], buckets, cutoffs[table])
            is_found[table, 0] = True
    for k in range(parts.shape[0] - 1):
        table = parts[k, CLOCK]
        if table >= 0 and not is_found[table, 1]:
            find_table_cutoffs(starts, clocks[table], buckets, past[table])
            is_found[table, 1] = True
    return floors, cutoffs, past


@kernel
def add_event(
    numbers: Array, ages: Array, k: int, event: int, age: float, stamp: int, past: Array
) -> None:
    """Count one event of path k into a pair's row of numbers and of ages; oldest events first."""
    at = 1 + k * (2 + past.size)
    numbers[at] += 1
    numbers[at + 1] = event
    for w in range(past.size):
        numbers[at + 2 + w] += 1 if stamp >= 0 and past[w] <= stamp else 0
    ages[3 * k + 1] = ages[3 * k]
    ages[3 * k] = age
    if numbers[at] == 1:
        ages[3 * k + 2] = age


@kernel
def grown(array: Array, num_used: int, num_more: int) -> Array:
    """Return an array with room for more rows, of any number of columns, and the same beginning."""
    if num_used + num_more <= array.shape[0]:
        return array
    out = np.empty((2 * (num_used + num_more), array.shape[1]), array.dtype)
    for i in range(num_used):  # a loop compiles faster than a slice, and runs as fast
        for j in range(array.shape[1]):
            out[i, j] = array[i, j]
    return out


@kernel
def clear_pair(numbers: Array, ages: Array, target: int, num_paths: int) -> None:
    """Begin a pair's row of numbers and of ages: no event on any path."""
    for i in range(numbers.size):
        numbers[i] = 0
    for i in range(ages.size):
        ages[i] = np.nan
    numbers[0] = target
    for k in range(num_paths):
        numbers[2 + k * ((numbers.size - 1) // num_paths)] = -1


@kernel
def collect(
    links: Array, offsets: Array, hops: Array, parts: Array, floors: Array, cutoffs: Array, s: int,
    row: int, limit: int, found: Array,
) -> tuple[Array, int]:  # fmt: skip
    """Fill rows of int32 [.., 4]: target, event, stamp and path of each event of one source."""
    num = 0
    for k in range(parts.shape[0] - 1):
        first, last = parts[k, FIRST_HOP], parts[k + 1, FIRST_HOP]
        targets, events, stamps = walk(
            links, offsets, hops, first, last, floors, cutoffs, s, row, limit
        )  # fmt: skip
        found = grown(found, num, targets.size)
        for i in range(targets.size):
            found[num, 0], found[num, 1] = targets[i], events[i]
            found[num, 2], found[num, 3] = stamps[i], k
            num += 1
    return found, num


@kernel
def read_history(
    rows: Array,
    times: Array,
    links: Array,
    offsets: Array,
    hops: Array,
    parts: Array,
    clocks: Array,
    buckets: Array,
    windows: Array,
    inclusive: int,
    limit: int,
    time_window: int,
) -> tuple[Array, Array, Array]:
    """Read the pairs of every source.

    Returns:
        int32 [S + 1] offsets; int32 [>= P, 1 + K * (2 + W)] with the target, and per path count,
        newest event and recent counts; float32 [>= P, 3 * K] with newest, previous and oldest age.
    """
    num_paths, num_windows = parts.shape[0] - 1, windows.size
    floors, cutoffs, past = find_bounds(
        times, hops, parts, clocks, buckets, windows, inclusive, time_window
    )
    offset = np.zeros(rows.size + 1, np.int32)
    numbers = np.empty((8 * rows.size, 1 + num_paths * (2 + num_windows)), np.int32)
    ages = np.empty((8 * rows.size, 3 * num_paths), np.float32)
    found = np.empty((64, 4), np.int32)
    pair = 0
    for s in range(rows.size):
        found, num = collect(links, offsets, hops, parts, floors, cutoffs, s, rows[s], limit, found)
        order = np.empty(num, np.int64)
        for i in range(num):
            order[i] = (np.int64(found[i, 0]) << 32) | i
        order.sort()  # by target, then by path, then oldest first
        numbers, ages = grown(numbers, pair, num), grown(ages, pair, num)
        for j in range(num):
            i = order[j] & 0xFFFFFFFF
            target, event, stamp, k = found[i, 0], found[i, 1], found[i, 2], found[i, 3]
            if j == 0 or order[j] >> 32 != order[j - 1] >> 32:
                clear_pair(numbers[pair], ages[pair], target, num_paths)
                pair += 1
            clock, age = parts[k, CLOCK], np.nan
            if stamp >= 0:
                time = load_int64(clocks[clock, ADDRESS], stamp)
                # In floats, because the difference of two int64 may not fit into one.
                age = (np.float64(times[s]) - np.float64(time)) / NS_PER_DAY
            recent = past[max(clock, 0), s * num_windows : (s + 1) * num_windows]
            add_event(numbers[pair - 1], ages[pair - 1], k, event, age, stamp, recent)
        offset[s + 1] = pair
    return offset, numbers, ages
