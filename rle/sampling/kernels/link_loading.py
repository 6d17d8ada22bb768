"""Compile the kernels of link prediction, each for its one signature, when the first is needed."""

from __future__ import annotations

import functools

from numba import types

from rle.sampling.kernels import candidates, history, negatives
from rle.sampling.kernels.loading import array_type, compile_once


@functools.cache
def load_links() -> None:
    """Compile every kernel of link prediction, or read it from the cache; then compile no more."""
    i64 = types.int64
    nodes, times = array_type(types.int32, readonly=True), array_type(types.int64, readonly=True)
    plans = array_type(types.int64, 2, readonly=True)
    compile_once(
        {
            history.read_history: (
                *(nodes, times, nodes, nodes, plans, plans, plans, nodes, times),
                *(i64, i64, i64),
            ),
            candidates.choose_candidates: (
                *(times, times, nodes, nodes, nodes, nodes, times, i64, i64, i64),
                *[array_type(types.int32)] * 3,
                *(array_type(types.boolean), array_type(types.float32)),
                *(array_type(i64), array_type(types.int32)),
            ),
            negatives.draw_negatives: (
                *(times, nodes, nodes, times, nodes, nodes, nodes, nodes, i64, i64, i64),
                *(array_type(types.int32, 2), array_type(types.float32, 2)),
            ),
        }
    )
