"""The walk over a snapshot's flat arrays: one call expands a whole batch over all hops.

Kernels release the GIL and see numpy arrays and integers only. Python is paid once per batch, not
per hop; memory is asked for ahead of its use; nothing is hashed, merged or scattered.

Shapes: S seeds, H hops, F frontiers, P parents of one hop, M newest children kept, n visible
neighbours of one parent, k of them kept, T tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.machine import (
    GOLDEN,
    LAST_TIME,
    get,
    high_product,
    kernel,
    load_int64,
    lowest_bit,
    prefetch,
    prefetch_int64,
    put,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ONE = np.uint64(1)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

MANY, LINK_START, OFFSET_START, STRIDE, TABLE, FANOUT, SOURCE, TARGET, SALT = range(9)
"""Columns of the plan, int64 [H, 9]. TABLE is the target's row in `clocks`; SOURCE and TARGET are
frontiers; the LINK_START of a parent relation includes its column."""
ADDRESS, NUM_TIMED, FIRST_TIME, SHIFT, BUCKET_START, NUM_BUCKETS = range(6)
"""Columns of the clocks, int64 [T, 6]. ADDRESS 0: no time, or none that is not NULL."""
FRONTIER_START, HOP_FIRST, HOP_EXTRA, HOP_FACTS = range(4)
"""Rows of the layout a call reports, int64 [4, max(F, H) + 1], in nodes or in int32s."""

DONE, NODES_FULL, FACTS_FULL, BAD_ROW = range(4)
"""What `sample_trees` returns."""

AHEAD = 16
"""Parents between a prefetch and its use: one miss hides behind the work of the others."""


@kernel
def mix(x: np.uint64) -> np.uint64:
    """Scramble 64 bits, one to one (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def bucket_bounds(clock: Array, buckets: Array, time: int) -> tuple[int, int]:
    """Return two row numbers with the number of rows before `time` between them."""
    bucket: Any = np.int64(0)
    if time > clock[FIRST_TIME]:
        # The span of int64 needs 64 unsigned bits.
        age: Any = np.uint64(time) - np.uint64(clock[FIRST_TIME])
        bucket = min(np.int64(age >> np.uint64(clock[SHIFT])), clock[NUM_BUCKETS] - 1)
    bucket += clock[BUCKET_START]
    first: Any = np.int64(buckets[bucket])
    last: Any = np.int64(buckets[bucket + 1])
    return first, last


@kernel
def find_cutoffs(bounds: Array, clocks: Array, buckets: Array, out: Array) -> None:
    """Fill int32 [T, S]: how many rows of each table are before each of the int64 [S] bounds."""
    for table in range(clocks.shape[0]):
        clock = clocks[table]
        address = clock[ADDRESS]
        if address == 0:
            out[table] = clock[NUM_TIMED]
            continue
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
            out[table, s] = first


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
def draw_small(key: np.uint64, n: int, k: int) -> np.uint64:
    """Draw k of n <= 64 without replacement (Floyd's algorithm): the set as the bits of a word."""
    fewer = min(k, n - k)  # drawing what is left out is as uniform and may be less work
    chosen = np.uint64(0)
    for j in range(n - fewer, n):
        key += GOLDEN
        bit = ONE << high_product(mix(key), np.uint64(j + 1))
        chosen |= bit if chosen & bit == 0 else ONE << np.uint64(j)
    if fewer < k:
        chosen = ~chosen & (ALL >> np.uint64(64 - n))
    return chosen


@kernel
def draw_large(key: np.uint64, n: int, fewer: int, bits: Array, summary: Array) -> None:
    """Draw `fewer` of n without replacement into a bit set whose `summary` marks non-zero words."""
    for j in range(n - fewer, n):
        key += GOLDEN
        pick: Any = np.int64(high_product(mix(key), np.uint64(j + 1)))
        if bits[pick >> 6] & (ONE << np.uint64(pick & 63)):
            pick = j
        bits[pick >> 6] |= ONE << np.uint64(pick & 63)
        summary[pick >> 12] |= ONE << np.uint64((pick >> 6) & 63)


@kernel
def emit(links: Array, first: int, word: np.uint64, nodes: Array, pos: int) -> int:
    """Append the entries of `links[first : first + 64]` whose bit is set, in order."""
    while word:
        put(nodes, pos, get(links, first + lowest_bit(word)))
        pos += 1
        word &= word - ONE
    return pos


@kernel
def emit_large(
    links: Array,
    first: int,
    n: int,
    left_out: bool,
    bits: Array,
    summary: Array,
    nodes: Array,
    pos: int,
) -> int:
    """Append what `draw_large` drew, or what it left out, in order; leaves both bit sets zero."""
    if left_out:  # n < 2k here, so that scanning every word is no more than the work of emitting
        for w in range((n + 63) >> 6):
            kept = ~bits[w] & (ALL >> np.uint64(max(0, 64 * (w + 1) - n)))
            bits[w] = 0
            pos = emit(links, first + 64 * w, kept, nodes, pos)
        summary[: (n >> 12) + 1] = 0
        return pos
    for group in range((n >> 12) + 1):
        marks = summary[group]
        summary[group] = 0
        while marks:
            w = 64 * group + lowest_bit(marks)
            marks &= marks - ONE
            pos = emit(links, first + 64 * w, bits[w], nodes, pos)
            bits[w] = 0
    return pos


@kernel
def keep(
    links: Array,
    first: int,
    n: int,
    k: int,
    key: np.uint64,
    bits: Array,
    summary: Array,
    nodes: Array,
    pos: int,
) -> int:
    """Append a uniform draw of k of the n > k entries of `links[first:]`, oldest first."""
    if n <= 64:
        return int(emit(links, first, draw_small(key, n, k), nodes, pos))
    fewer = min(k, n - k)
    draw_large(key, n, fewer, bits, summary)
    return int(emit_large(links, first, n, fewer < k, bits, summary, nodes, pos))


@kernel
def follow(
    links: Array,
    hop: Array,
    cutoffs: Array,
    begin: int,
    end: int,
    size: int,
    nodes: Array,
    pos: int,
    at: int,
) -> int:
    """Append the visible parent of each node in `begin:end`."""
    start, stride, num = hop[LINK_START], hop[STRIDE], end - begin
    first = pos
    counts, parents = at + num + 1, at + 2 * num + 1
    for i in range(num):
        prefetch(links, start + get(nodes, begin + i + AHEAD) * stride)
        s = get(nodes, size + begin + i)
        parent: Any = get(links, start + get(nodes, begin + i) * stride)
        is_visible: Any = np.int64((parent >= 0) & (parent < get(cutoffs, s)))
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
        v = np.int64(nodes[begin + i])
        last = hop[LINK_START] + offsets[hop[OFFSET_START] + v] + nodes[at + num + 1 + i] - 1
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
    cutoffs: Array,
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
    first, missing = pos, 0
    for i in range(num):
        if i + 2 * AHEAD < num:
            prefetch(offsets, lists + get(nodes, begin + i + 2 * AHEAD))
        if i + AHEAD < num:
            ahead = lists + get(nodes, begin + i + AHEAD)
            low, high = np.int64(get(offsets, ahead)), np.int64(get(offsets, ahead + 1))
            prefetch(links, start + low)
            prefetch(links, start + ((low + high) >> 1))
        v, s = np.int64(get(nodes, begin + i)), get(nodes, size + begin + i)
        low = start + get(offsets, lists + v)
        n = count_below(links, low, start + get(offsets, lists + v + 1), get(cutoffs, s))
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
def sample_trees(
    rows: Array,
    times: Array,
    positions: Array,
    links: Array,
    offsets: Array,
    plan: Array,
    clocks: Array,
    buckets: Array,
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
) -> int:
    """Expand a batch over all hops.

    Args:
        rows: int32 [S], rows of the entity table.
        times: int64 [S], nanoseconds.
        positions: int64 [S], of the seeds in their split.
        links: int32, see `rle.graph.topology`.
        offsets: int32, see `rle.graph.topology`.
        plan: int64 [H, 9], by depth, target and relation.
        clocks: int64 [T, 6].
        buckets: int32, where to begin looking up a time.
        bits: uint64, one bit per entry of the longest list; all 0 before and after.
        summary: uint64, one bit per word of `bits`; all 0 before and after.
        nodes: int32, filled with rows in `[:size]`, their seeds in `[size : 2 * size]`, and from
            there per hop offset [P + 1], count [P], newest row [P] and newest [P, M].
        layout: int64 [4, max(F, H) + 1], filled with where these begin.
        size: Nodes that fit.
        num_rows: Rows of the entity table.
        inclusive: 1 if a row at exactly the seed's time is visible, else 0.
        is_last: 1 to keep the newest neighbours, 0 to draw uniformly.
        newest: M.
        seed: Of the draws.
        epoch: Of the draws.

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
    for s in range(rows.size):
        # The rows up to a time are those before the next nanosecond.
        bounds[s] = times[s] + (inclusive if times[s] < LAST_TIME else 0)
    cutoffs = np.empty((clocks.shape[0], rows.size), np.int32)
    find_cutoffs(bounds, clocks, buckets, cutoffs)
    starts = layout[FRONTIER_START]
    starts[0], starts[1] = 0, rows.size
    pos, at = rows.size, 2 * size
    for h in range(plan.shape[0]):
        hop = plan[h]
        begin, end = starts[hop[SOURCE]], starts[hop[SOURCE] + 1]
        visible = cutoffs[hop[TABLE]]
        width = 3 + (newest if hop[MANY] else 0)
        layout[HOP_FIRST, h], layout[HOP_EXTRA, h], layout[HOP_FACTS, h] = pos, 0, at
        after = at + (end - begin) * width + 1
        if after > nodes.size:
            return FACTS_FULL
        if hop[MANY]:
            pos, missing = expand(
                links, offsets, hop, visible, salts, begin, end, size, is_last, newest,
                bits, summary, nodes, pos, at,
            )  # fmt: skip
            if pos < 0 or pos + missing > size:
                return NODES_FULL
            if newest:
                origin = starts[hop[TARGET]]
                pos = append_extras(
                    links, offsets, hop, begin, end, origin, size, newest, nodes, pos, at
                )
                layout[HOP_EXTRA, h] = missing
        else:
            if pos + end - begin > size:
                return NODES_FULL
            pos = follow(links, hop, visible, begin, end, size, nodes, pos, at)
        at = after
        starts[hop[TARGET] + 1] = pos
        layout[HOP_FACTS, h + 1] = at
    return DONE
