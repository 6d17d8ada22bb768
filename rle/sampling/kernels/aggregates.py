"""Plain statistics over visible lists, without materialising a row per edge.

A list holds the rows that one relation links to one row. What a seed sees of it is a prefix, found
by `visible_ends`; the other kernels read its newest end only.

Shapes: S seeds, E entries of all lists of a relation, N rows of the table that is read, C columns,
M moments, V values.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numba import types

from rle.sampling.kernels.machine import kernel
from rle.sampling.kernels.trees import count_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MEAN_NEAR, MEAN_FAR, SUM_FAR, MAX_FAR = range(4)
"""Last axis of what `aggregate` writes."""
_LOADING = threading.Lock()


@kernel
def visible_ends(
    keys: Array, offsets: Array, rows: Array, cutoffs: Array, first: Array, last: Array
) -> None:
    """Find the visible part of one list per seed.

    Args:
        keys: int32 [E], ascending within a list.
        offsets: int32, where each list begins.
        rows: int32 [S], whose list is meant, -1 for none.
        cutoffs: int32 [S]: an entry is visible where its key is below this.
        first: int64 [S], filled with the first entry.
        last: int64 [S], filled with the end of the visible entries.
    """
    for s in range(rows.size):
        first[s] = 0
        last[s] = 0
        if rows[s] >= 0:
            low: Any = np.int64(offsets[rows[s]])
            high: Any = np.int64(offsets[rows[s] + 1])
            first[s] = low
            last[s] = low + count_below(keys, low, high, cutoffs[s])


@kernel
def aggregate(
    entries: Array,
    first: Array,
    last: Array,
    through: Array,
    floors: Array,
    cutoffs: Array,
    values: Array,
    columns: Array,
    near: int,
    far: int,
    out: Array,
    seen: Array,
) -> None:
    """Pool number columns over the newest `near` and the newest `far` visible entries.

    Args:
        entries: int32 [E], rows.
        first: int64 [S].
        last: int64 [S].
        through: int32, the row of another table that each row leads to, -1 for none; empty where
            the columns are those of the rows themselves.
        floors: int32 [S]: rows that `through` leads to are visible from here
        cutoffs: int32 [S]: to before here.
        values: float32 [N, all columns], NaN for NULL, which is left out.
        columns: int64 [C], which of them.
        near: Entries of the first mean.
        far: Entries of everything else.
        out: float32 [S, C, 4], NaN where nothing is known.
        seen: float32 [S, 2], share of the near and of the far entries that `through` leads
            somewhere visible; NaN where there is no entry.
    """
    num = columns.size
    count_near, count_far = np.zeros(num, np.int64), np.zeros(num, np.int64)
    sum_near, sum_far = np.zeros(num, np.float64), np.zeros(num, np.float64)
    highest = np.zeros(num, np.float32)
    for s in range(first.size):
        count_near[:] = 0
        count_far[:] = 0
        sum_near[:] = 0.0
        sum_far[:] = 0.0
        begin = max(first[s], last[s] - far)
        edge = max(first[s], last[s] - near)
        seen_near = seen_far = 0
        for j in range(last[s] - 1, begin - 1, -1):
            row = np.int64(entries[j])
            if through.size:
                row = np.int64(through[row])
                if row < 0 or row < floors[s] or row >= cutoffs[s]:
                    continue
            seen_far += 1
            seen_near += 1 if j >= edge else 0
            for c in range(num):
                value = values[row, columns[c]]
                if np.isnan(value):
                    continue
                if count_far[c] == 0 or value > highest[c]:
                    highest[c] = value
                count_far[c] += 1
                sum_far[c] += value
                if j >= edge:
                    count_near[c] += 1
                    sum_near[c] += value
        for c in range(num):
            has_near, has_far = count_near[c] > 0, count_far[c] > 0
            out[s, c, 0] = sum_near[c] / count_near[c] if has_near else np.nan
            out[s, c, 1] = sum_far[c] / count_far[c] if has_far else np.nan
            out[s, c, 2] = sum_far[c] if has_far else np.nan
            out[s, c, 3] = highest[c] if has_far else np.nan
        is_any = last[s] > first[s]
        seen[s, 0] = seen_near / (last[s] - edge) if is_any else np.nan
        seen[s, 1] = seen_far / (last[s] - begin) if is_any else np.nan


@kernel
def newest_moments(
    entries: Array,
    keys: Array,
    first: Array,
    last: Array,
    times: Array,
    values: Array,
    columns: Array,
    far: int,
    out: Array,
    newest: Array,
) -> None:
    """Sum number columns over the entries of the newest moment, of the one before, and so on.

    Args:
        entries: int32 [E], rows.
        keys: int32 [E], rows of the table whose time counts.
        first: int64 [S].
        last: int64 [S].
        times: int64, of the rows that `keys` names.
        values: float32 [N, all columns], NaN for NULL, which is left out.
        columns: int64 [C], which of them.
        far: Entries that are read at most.
        out: float32 [S, C, M], NaN where nothing is known.
        newest: int32 [S, M], key of each moment, -1 where there is none.
    """
    num, moments = columns.size, newest.shape[1]
    for s in range(first.size):
        out[s] = np.nan
        newest[s] = -1
        moment = -1
        time = np.int64(0)
        for j in range(last[s] - 1, max(first[s], last[s] - far) - 1, -1):
            if moment < 0 or times[keys[j]] != time:
                moment += 1
                if moment == moments:
                    break
                time = times[keys[j]]
                newest[s, moment] = keys[j]
            for c in range(num):
                value = values[entries[j], columns[c]]
                if not np.isnan(value):
                    known = out[s, c, moment]
                    out[s, c, moment] = value if np.isnan(known) else known + value


@kernel
def value_shares(
    entries: Array,
    first: Array,
    last: Array,
    codes: Array,
    column: int,
    slots: Array,
    far: int,
    out: Array,
) -> None:
    """Write how often each of V values is among the newest `far` entries, as a share.

    Args:
        entries: int32 [E], rows.
        first: int64 [S].
        last: int64 [S].
        codes: int32 [N, all columns], -1 for NULL.
        column: Which of them.
        slots: int32, by code plus one: place in `out`, or -1.
        far: Entries that are read at most.
        out: float32 [S, V], NaN where there is no entry.
    """
    for s in range(first.size):
        begin = max(first[s], last[s] - far)
        out[s] = 0.0 if last[s] > begin else np.nan
        for j in range(begin, last[s]):
            slot = slots[codes[entries[j], column] + 1]
            if slot >= 0:
                out[s, slot] += np.float32(1.0 / (last[s] - begin))


def _array(dtype: Any, dimensions: int = 1, *, readonly: bool = True) -> Any:
    return types.Array(dtype, dimensions, "C", readonly=readonly)


@functools.cache
def load_aggregates() -> None:
    """Compile the kernels for their one signature: inputs read-only, outputs not."""
    i32, i64, f32 = types.int32, types.int64, types.float32
    ints, longs = _array(i32), _array(i64)
    block = _array(f32, 2)
    wide, flat = _array(f32, 3, readonly=False), _array(f32, 2, readonly=False)
    range_out = _array(i64, readonly=False)
    kernels = {
        visible_ends: (ints, ints, ints, ints, range_out, range_out),
        aggregate: (ints, longs, longs, ints, ints, ints, block, longs, i64, i64, wide, flat),
        newest_moments: (
            ints, ints, longs, longs, longs, block, longs, i64, wide, _array(i32, 2, readonly=False)
        ),
        value_shares: (ints, longs, longs, _array(i32, 2), i64, ints, i64, flat),
    }  # fmt: skip
    with _LOADING:
        for function, arguments in kernels.items():
            compiled = cast("Any", function)
            if not compiled.signatures:
                compiled.compile(arguments)
                compiled.disable_compile()
