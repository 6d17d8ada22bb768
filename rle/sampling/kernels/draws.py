"""Draws without replacement: counter-based, so that they depend on their key alone.

Shapes: n entries to draw from, k of them kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.machine import GOLDEN, get, high_product, kernel, lowest_bit, put

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ONE = np.uint64(1)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def mix(x: np.uint64) -> np.uint64:
    """Scramble 64 bits, one to one (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


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
