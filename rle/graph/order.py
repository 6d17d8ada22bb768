"""Sorting rows by (time, first key, position), with as little work as the data allows.

Shapes: N rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.ingest.nulls import NULL_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNITS_NS = (86_400 * 10**9, 10**9, 10**6, 10**3)


def row_order(times: NDArray[np.int64] | None, keys: pa.Array | None) -> NDArray[np.int64] | None:
    """Return the source positions in row order, int64 [N]; None if they are in order already.

    Args:
        times: int64 [N], NULL_TIME for none; None for a table without a time.
        keys: int64, float64 or large_string [N]; NULLs sort last. None for a table without keys.
    """
    order = None if keys is None else _key_order(keys)
    if times is not None:
        by_time = stable_order(times if order is None else times[order])
        if by_time is not None:
            order = by_time if order is None else order[by_time]
    if order is not None and (order[1:] > order[:-1]).all():
        return None
    return order


def places(order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the row of every source position, int32 [N]: the inverse of `row_order`."""
    place = np.empty(order.size, np.int32)
    place[order] = np.arange(order.size, dtype=np.int32)
    return place


def _key_order(keys: pa.Array) -> NDArray[np.int64] | None:
    last = pc.max(keys).as_py() if keys.null_count else None
    if pa.types.is_int64(keys.type) and last != NULL_TIME:
        filled = keys.fill_null((last or 0) + 1) if keys.null_count else keys
        return stable_order(filled.to_numpy(zero_copy_only=False))
    order: NDArray[np.int64] = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return order


def stable_order(values: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the stable sorting order of int64 values; None if they are sorted.

    Value and position are packed into one integer where they fit, because sorting plain int64 is
    several times cheaper than a stable argsort.
    """
    if (values[1:] >= values[:-1]).all():
        return None
    packed = _packed(values)
    if packed is None:
        return np.argsort(values, kind="stable")
    packed.sort()
    return packed & ((1 << _bits(values.size)) - 1)


def _packed(values: NDArray[np.int64]) -> NDArray[np.int64] | None:
    null = values == NULL_TIME
    has_null = bool(null.any())
    if has_null:
        known = values[~null]
        if known.size == 0:
            return None
        low, high = int(known.min()), int(known.max())
    else:
        low, high = int(values.min()), int(values.max())
    if high - low >= NULL_TIME:
        return None
    shifted = np.where(null, 0, values) - low if has_null else values - low
    unit = next((u for u in _UNITS_NS if high - low >= u and _divides(u, shifted[~null])), 1)
    rank = shifted // unit if unit > 1 else shifted
    last = (high - low) // unit
    if has_null:
        rank[null] = last = last + 1
    width = _bits(values.size)
    if _bits(last + 1) + width > 62:
        return None
    packed: NDArray[np.int64] = (rank << width) | np.arange(values.size, dtype=np.int64)
    return packed


def _divides(unit: int, values: NDArray[np.int64]) -> bool:
    return not (values[:1000] % unit).any() and not (values % unit).any()


def _bits(count: int) -> int:
    return max(int(count - 1).bit_length(), 1)
