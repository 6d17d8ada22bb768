"""Which targets of a source a step looks at: its positives and its history, some of each.

Shapes: S sources, C candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.draws import mix
from rle.sampling.kernels.machine import GOLDEN, high_product, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SALT = np.uint64(0x63616E6469646174)
"""Keeps these draws apart from those of trees and negatives."""
NO_ROW = 0x7FFFFFFF


@kernel
def count_classes(
    positives: Array, history: Array, num_visible: int, only_history: int
) -> tuple[int, int]:
    """Return how many positives can be candidates, and how many of the history are no positives."""
    num_met, num_other, j = 0, 0, 0
    for row in positives:
        while j < history.size and history[j] < row:
            j += 1
        if j < history.size and history[j] == row:
            num_met += 1
        elif not only_history and row < num_visible:
            num_other += 1
    return num_met + num_other, history.size - num_met


@kernel
def is_kept(key: np.uint64, room: int, left: int) -> bool:
    """Whether one of `left` entries is among the `room` that are kept; asked of each in turn."""
    return room >= left or bool(high_product(mix(key), np.uint64(left)) < np.uint64(room))


@kernel
def choose_of_source(
    positives: Array,
    history: Array,
    first_pair: int,
    num_visible: int,
    only_history: int,
    rooms: Array,
    key: np.uint64,
    targets: Array,
    pairs: Array,
    is_positive: Array,
    log_weight: Array,
    pos: int,
    known: Array,
    num_known: int,
) -> tuple[int, int]:
    """Append the candidates of one source, by row, and all that are no negatives of it."""
    sizes, left, room = np.empty(2, np.int64), np.empty(2, np.int64), np.empty(2, np.int64)
    sizes[0], sizes[1] = count_classes(positives, history, num_visible, only_history)
    for kind in range(2):
        left[kind], room[kind] = sizes[kind], rooms[kind]
    i, j = 0, 0
    while i < positives.size or j < history.size:
        wanted = positives[i] if i < positives.size else NO_ROW
        met = history[j] if j < history.size else NO_ROW
        row = min(wanted, met)
        known[num_known] = row
        num_known += 1
        kind = 0 if wanted == row else 1
        if met == row or (row < num_visible and not only_history):
            key += GOLDEN
            if is_kept(key, room[kind], left[kind]):
                targets[pos], is_positive[pos] = row, kind == 0
                pairs[pos] = first_pair + j if met == row else -1
                log_weight[pos] = np.log(max(1.0, sizes[kind] / rooms[kind]))
                room[kind] -= 1
                pos += 1
            left[kind] -= 1
        i += 1 if wanted == row else 0
        j += 1 if met == row else 0
    return pos, num_known


@kernel
def choose_candidates(
    positions: Array,
    wanted_offset: Array,
    wanted: Array,
    history_offset: Array,
    history: Array,
    num_visible: Array,
    rooms: Array,
    only_history: int,
    seed: int,
    epoch: int,
    offset: Array,
    targets: Array,
    pairs: Array,
    is_positive: Array,
    log_weight: Array,
    known_offset: Array,
    known: Array,
) -> None:
    """Choose among the positives and the history of each source.

    Args:
        positions: int64 [S], part of the randomness.
        wanted_offset: int64 [S + 1].
        wanted: int32, the positives, rows of the target table, ascending per source.
        history_offset: int32 [S + 1].
        history: int32, the targets in the history, ascending per source.
        num_visible: int32 [S], rows of the target table that are there.
        rooms: int64 [2], positives and others of the history that are kept at most; those that are
            kept stand for all.
        only_history: 1 where positives outside of the history are no candidates, else 0.
        seed: Of the draws.
        epoch: Of the draws.
        offset: int32 [S + 1], filled; what follows is filled up to its end.
        targets: int32 [C], ascending per source.
        pairs: int32 [C], positions in `history`, -1 for none.
        is_positive: bool [C].
        log_weight: float32 [C], logarithm of how many a candidate stands for.
        known_offset: int64 [S + 1], filled.
        known: int32, all positives and history, ascending and distinct per source.
    """
    base = mix(mix((np.uint64(seed) ^ SALT) + GOLDEN) ^ np.uint64(epoch))
    pos, num_known = 0, 0
    offset[0], known_offset[0] = 0, 0
    for s in range(positions.size):
        first_pair: Any = np.int64(history_offset[s])
        pos, num_known = choose_of_source(
            wanted[wanted_offset[s] : wanted_offset[s + 1]],
            history[history_offset[s] : history_offset[s + 1]],
            first_pair, num_visible[s], only_history, rooms,
            mix(base ^ np.uint64(positions[s])), targets, pairs, is_positive, log_weight, pos,
            known, num_known,
        )  # fmt: skip
        offset[s + 1], known_offset[s + 1] = pos, num_known
