"""How many rows of a list fall into windows that end a while before a seed's time.

Shapes: N nodes, S seeds, W windows of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.sampling.kernels.clocks import begin_window, bound_times, find_table_cutoffs
from rle.sampling.kernels.machine import kernel
from rle.sampling.kernels.trees import count_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@kernel
def count_due(
    times: Array,
    inclusive: int,
    lag: int,
    time_window: int,
    windows: Array,
    clock: Array,
    buckets: Array,
    rows: Array,
    seed: Array,
    links: Array,
    offsets: Array,
    link_start: int,
    offset_start: int,
    out: Array,
) -> None:
    """Fill int32 [N, W]: rows of each node's list from `lag` before its seed's time, backwards.

    Args:
        times: int64 [S], of the seeds, nanoseconds.
        inclusive: 1 if a row at exactly the seed's time is visible, else 0.
        lag: Nanoseconds from the end of the windows to the seed's time.
        time_window: Nanoseconds before a seed's bound after which rows are visible; 0 for all.
        windows: int64 [W], nanoseconds, ascending.
        clock: int64 [6], of the table that the list leads to.
        buckets: int32, where to begin looking up a time.
        rows: int32 [N], the nodes.
        seed: int32 [N], the seed that owns each node.
        links: int32, see `rle.graph.topology`.
        offsets: int32, see `rle.graph.topology`.
        link_start: Where the lists begin in `links`.
        offset_start: Where their bounds begin in `offsets`.
        out: What is filled.
    """
    num = windows.size
    bounds, starts = np.empty(times.size, np.int64), np.empty(times.size, np.int64)
    bound_times(times, inclusive, bounds)
    cutoffs = np.empty((num + 1, times.size), np.int32)
    for w in range(num + 1):
        reach = lag + (windows[w - 1] if w else 0)
        begin_window(bounds, min(reach, time_window) if time_window else reach, starts)
        find_table_cutoffs(starts, clock, buckets, cutoffs[w])
    for i in range(rows.size):
        s, at = seed[i], offset_start + np.int64(rows[i])
        first: Any = link_start + np.int64(offsets[at])
        end: Any = link_start + np.int64(offsets[at + 1])
        end = first + count_below(links, first, end, cutoffs[0, s])
        for w in range(num, 0, -1):
            first += count_below(links, first, end, cutoffs[w, s])
            out[i, w - 1] = end - first
