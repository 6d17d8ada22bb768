"""The walk over a snapshot's flat arrays: one call expands a whole batch over all hops.

Kernels release the GIL and see numpy arrays and integers only. Python is paid once per batch, not
per hop; memory is asked for ahead of its use; nothing is hashed, merged or scattered.

Shapes: S seeds, H hops, F frontiers, P parents of one hop, M newest children kept, n visible
neighbours of one parent, W windows of time, T tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.clocks import (
    begin_window,
    bound_times,
    find_cutoffs,
    find_floors,
    find_table_cutoffs,
)
from rle.sampling.kernels.draws import keep, mix
from rle.sampling.kernels.machine import GOLDEN, get, kernel, prefetch, put

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

(
    MANY, LINK_START, OFFSET_START, STRIDE, TABLE, FANOUT, SOURCE, TARGET, SALT, WINDOWS, BACK,
) = range(11)  # fmt: skip
"""Columns of the plan, int64 [H, 11]. TABLE is the target's row in `clocks`; SOURCE and TARGET are
frontiers; the LINK_START of a parent relation includes its column; WINDOWS is W, or 0 where nothing
recent is counted; BACK is the hop whose children this one must not follow back, or -1."""
FRONTIER_START, HOP_FIRST, HOP_EXTRA, HOP_FACTS = range(4)
"""Rows of the layout a call reports, int64 [4, max(F, H) + 1], in nodes or in int32s."""

DONE, NODES_FULL, FACTS_FULL, BAD_ROW = range(4)
"""What `sample_trees` returns."""

AHEAD = 16
"""Parents between a prefetch and its use: one miss hides behind the work of the others."""


@kernel
def count_below(links: Array, first: int, last: int, cutoff: int) -> int:
    """Count the leading entries of the ascending `links[first:last]` that are below `cutoff`."""
    start = first
    n = last - first
    while n > 16:
        half = n >> 1
        # Written without a branch on the data: a wrong guess costs more than the step.
        first += half if get(links, first + half - 1) < cutoff else 0
        n -= half
    found = 0
    for j in range(first, first + n):
        found += 1 if get(links, j) < cutoff else 0
    return first - start + found


@kernel
def first_visible(
    links: Array, first: int, last: int, floors: Array, has_floor: int, s: int
) -> int:
    """Return where in `links[first:last]` begins what is not too old for seed `s`."""
    if has_floor:
        first += count_below(links, first, last, get(floors, s))
    return first


@kernel
def count_recent(
    links: Array, first: int, last: int, past: Array, s: int, num: int, nodes: Array, at: int
) -> None:
    """Write how many of the visible `links[first:last]` are within each window of seed `s`.

    From the longest window to the shortest: what is older than the one is older than the other.
    """
    for w in range(num - 1, -1, -1):
        if first < last:
            first += count_below(links, first, last, get(past, s * num + w))
        put(nodes, at + w, last - first)


@kernel
def follow(
    links: Array,
    hop: Array,
    floors: Array,
    has_floor: int,
    cutoffs: Array,
    begin: int,
    end: int,
    skip: int,
    resume: int,
    size: int,
    nodes: Array,
    pos: int,
    at: int,
) -> int:
    """Append the visible parent of each node in `begin:end` that is not in `skip:resume`."""
    start, stride, num = hop[LINK_START], hop[STRIDE], end - begin
    first = pos
    counts, parents = at + num + 1, at + 2 * num + 1
    for i in range(num):
        prefetch(links, start + get(nodes, begin + i + AHEAD) * stride)
        if skip <= begin + i < resume:
            put(nodes, at + i, pos - first)
            put(nodes, counts + i, 0)
            put(nodes, parents + i, -1)
            continue
        s = get(nodes, size + begin + i)
        parent: Any = get(links, start + get(nodes, begin + i) * stride)
        floor: Any = get(floors, s) if has_floor else 0
        is_visible: Any = np.int64((parent >= floor) & (parent < get(cutoffs, s)))
        # Written always, kept only if visible: no branch to mispredict.
        put(nodes, pos, parent)
        put(nodes, size + pos, s)
        put(nodes, at + i, pos - first)
        put(nodes, counts + i, is_visible)
        put(nodes, parents + i, parent if is_visible else -1)
        pos += is_visible
    nodes[at + num] = pos - first
    return pos


@kernel
def point_at_newest(
    links: Array, end: int, n: int, nodes: Array, before: int, pos: int, newest: int, at: int
) -> int:
    """Write which of the nodes `before:pos` are the newest visible; returns how many are missing.

    The entries written are nodes, -1 for none, -2 for a neighbour that was not drawn.
    """
    missing = 0
    last = pos - 1  # children are ascending, so the newest drawn ones are at the end
    for m in range(newest):
        if m >= n:
            nodes[at + m] = -1
        elif last >= before and nodes[last] == links[end - 1 - m]:
            nodes[at + m] = last
            last -= 1
        else:
            nodes[at + m] = -2
            missing += 1
    return missing


@kernel
def append_extras(
    links: Array,
    offsets: Array,
    hop: Array,
    floors: Array,
    has_floor: int,
    begin: int,
    end: int,
    origin: int,
    size: int,
    newest: int,
    nodes: Array,
    pos: int,
    at: int,
) -> int:
    """Append the newest neighbours that were not drawn, and count nodes from `origin`."""
    num = end - begin
    for i in range(num):
        v = hop[OFFSET_START] + np.int64(nodes[begin + i])
        low, high = hop[LINK_START] + offsets[v], hop[LINK_START] + offsets[v + 1]
        low = first_visible(links, low, high, floors, has_floor, nodes[size + begin + i])
        last = low + nodes[at + num + 1 + i] - 1
        for m in range(newest):
            place = at + 3 * num + 1 + i * newest + m
            if nodes[place] == -2:
                nodes[pos], nodes[size + pos] = links[last - m], nodes[size + begin + i]
                nodes[place] = pos - origin
                pos += 1
            elif nodes[place] >= 0:
                nodes[place] -= origin
    return pos


@kernel
def expand(
    links: Array,
    offsets: Array,
    hop: Array,
    floors: Array,
    has_floor: int,
    cutoffs: Array,
    past: Array,
    salts: Array,
    begin: int,
    end: int,
    size: int,
    is_last: int,
    newest: int,
    bits: Array,
    summary: Array,
    nodes: Array,
    pos: int,
    at: int,
) -> tuple[int, int]:
    """Append the kept children of each node in `begin:end`.

    Returns the end of the nodes (-1 if they do not fit) and how many `newest` were not drawn.
    """
    start, lists, fanout, num = hop[LINK_START], hop[OFFSET_START], hop[FANOUT], end - begin
    first, missing, windows = pos, 0, hop[WINDOWS]
    for i in range(num):
        if i + 2 * AHEAD < num:
            prefetch(offsets, lists + get(nodes, begin + i + 2 * AHEAD))
        if i + AHEAD < num:
            ahead = lists + get(nodes, begin + i + AHEAD)
            oldest, newer = np.int64(get(offsets, ahead)), np.int64(get(offsets, ahead + 1))
            prefetch(links, start + oldest)
            prefetch(links, start + ((oldest + newer) >> 1))
        v, s = np.int64(get(nodes, begin + i)), get(nodes, size + begin + i)
        low = start + get(offsets, lists + v)
        high = start + get(offsets, lists + v + 1)
        low = first_visible(links, low, high, floors, has_floor, s)
        n = count_below(links, low, high, get(cutoffs, s))
        kept = min(n, fanout)
        if pos + kept > size:
            return -1, missing
        before = pos
        if n > fanout and not is_last:
            # The draw depends on the seed's position in its split and on this node, never on the
            # batch, so that workers, restarts and replays agree bit for bit.
            key = mix(mix(np.uint64(hop[SALT]) ^ get(salts, s)) ^ np.uint64(v))
            pos = keep(links, low, n, fanout, key, bits, summary, nodes, pos)
        else:
            for j in range(kept):
                put(nodes, pos + j, get(links, low + n - kept + j))
            pos += kept
        for j in range(before, pos):
            put(nodes, size + j, s)
        put(nodes, at + i, before - first)
        put(nodes, at + num + 1 + i, n)
        put(nodes, at + 2 * num + 1 + i, get(links, low + n - 1) if n else -1)
        if newest:
            place = at + 3 * num + 1 + i * newest
            missing += point_at_newest(links, low + n, n, nodes, before, pos, newest, place)
        if windows:
            place = at + (3 + newest) * num + 1 + i * windows
            count_recent(links, low, low + n, past, s, windows, nodes, place)
    nodes[at + num] = pos - first
    return pos, missing


@kernel
def place_seeds(
    rows: Array,
    positions: Array,
    num_rows: int,
    key: np.uint64,
    size: int,
    nodes: Array,
    salts: Array,
) -> bool:
    """Write the seeds as the first frontier; False if a row is not in the entity table."""
    for s in range(rows.size):
        if rows[s] < 0 or rows[s] >= num_rows:
            return False
        salts[s] = mix(key ^ np.uint64(positions[s]))
        nodes[s], nodes[size + s] = rows[s], s
    return True


@kernel
def find_past(bounds: Array, windows: Array, plan: Array, clocks: Array, buckets: Array) -> Array:
    """Return int32 [T, S * W]: how many rows of a table are older than each window of each seed.

    Only tables in which a hop counts recent rows are filled.
    """
    num = windows.size
    starts = np.empty(bounds.size * num, np.int64)
    for w in range(num):
        begin_window(bounds, windows[w], starts[w::num])
    out = np.empty((clocks.shape[0], starts.size), np.int32)
    is_found = np.zeros(clocks.shape[0], np.bool_)
    for h in range(plan.shape[0]):
        table = plan[h, TABLE]
        if plan[h, WINDOWS] and not is_found[table]:
            find_table_cutoffs(starts, clocks[table], buckets, out[table])
            is_found[table] = True
    return out


@kernel
def sample_trees(
    rows: Array,
    times: Array,
    positions: Array,
    links: Array,
    offsets: Array,
    plan: Array,
    clocks: Array,
    buckets: Array,
    windows: Array,
    bits: Array,
    summary: Array,
    nodes: Array,
    layout: Array,
    size: int,
    num_rows: int,
    inclusive: int,
    is_last: int,
    newest: int,
    seed: int,
    epoch: int,
    time_window: int,
) -> int:
    """Expand a batch over all hops.

    Args:
        rows: int32 [S], rows of the entity table.
        times: int64 [S], nanoseconds.
        positions: int64 [S], of the seeds in their split.
        links: int32, see `rle.graph.topology`.
        offsets: int32, see `rle.graph.topology`.
        plan: int64 [H, 11], by depth, target and relation.
        clocks: int64 [T, 6].
        buckets: int32, where to begin looking up a time.
        windows: int64 [W], nanoseconds, ascending.
        bits: uint64, one bit per entry of the longest list; all 0 before and after.
        summary: uint64, one bit per word of `bits`; all 0 before and after.
        nodes: int32, filled with rows in `[:size]`, their seeds in `[size : 2 * size]`, and from
            there per hop offset [P + 1], count [P], newest row [P], newest [P, M] and recent
            [P, W].
        layout: int64 [4, max(F, H) + 1], filled with where these begin.
        size: Nodes that fit.
        num_rows: Rows of the entity table.
        inclusive: 1 if a row at exactly the seed's time is visible, else 0.
        is_last: 1 to keep the newest neighbours, 0 to draw uniformly.
        newest: M.
        seed: Of the draws.
        epoch: Of the draws.
        time_window: Nanoseconds before a seed's bound after which rows are visible; 0 for all.

    Returns:
        DONE, or what is wrong; then nothing that was filled means anything.
    """
    if rows.size > size:
        return NODES_FULL
    key = mix(mix(np.uint64(seed) + GOLDEN) ^ np.uint64(epoch))
    salts = np.empty(rows.size, np.uint64)
    bounds = np.empty(rows.size, np.int64)
    if not place_seeds(rows, positions, num_rows, key, size, nodes, salts):
        return BAD_ROW
    bound_times(times, inclusive, bounds)
    cutoffs = np.empty((clocks.shape[0], rows.size), np.int32)
    find_cutoffs(bounds, clocks, buckets, cutoffs)
    floors = find_floors(bounds, time_window, clocks, buckets)
    past = find_past(bounds, windows, plan, clocks, buckets)
    starts = layout[FRONTIER_START]
    starts[0], starts[1] = 0, rows.size
    pos, at = rows.size, 2 * size
    layout[HOP_FACTS, 0] = at  # also where there is no hop at all
    for h in range(plan.shape[0]):
        hop = plan[h]
        begin, end = starts[hop[SOURCE]], starts[hop[SOURCE] + 1]
        floor, cutoff = floors[hop[TABLE]], cutoffs[hop[TABLE]]
        width = 3 + (newest if hop[MANY] else 0) + hop[WINDOWS]
        layout[HOP_FIRST, h], layout[HOP_EXTRA, h], layout[HOP_FACTS, h] = pos, 0, at
        after = at + (end - begin) * width + 1
        if after > nodes.size:
            return FACTS_FULL
        if hop[MANY]:
            pos, missing = expand(
                links, offsets, hop, floor, time_window, cutoff, past[hop[TABLE]], salts, begin,
                end, size, is_last, newest, bits, summary, nodes, pos, at,
            )  # fmt: skip
            if pos < 0 or pos + missing > size:
                return NODES_FULL
            if newest:
                origin = starts[hop[TARGET]]
                pos = append_extras(
                    links, offsets, hop, floor, time_window, begin, end, origin, size, newest,
                    nodes, pos, at,
                )  # fmt: skip
                layout[HOP_EXTRA, h] = missing
        else:
            if pos + end - begin > size:
                return NODES_FULL
            skip = resume = 0
            if hop[BACK] >= 0:  # what one hop added ends where the next one begins
                skip, resume = layout[HOP_FIRST, hop[BACK]], layout[HOP_FIRST, hop[BACK] + 1]
            pos = follow(
                links, hop, floor, time_window, cutoff, begin, end, skip, resume, size, nodes,
                pos, at,
            )  # fmt: skip
        at = after
        starts[hop[TARGET] + 1] = pos
        layout[HOP_FACTS, h + 1] = at
    return DONE
