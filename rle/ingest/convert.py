"""Arrow columns to the few plain forms that blocks are made of. Pure; errors name the column.

Shapes: N rows. Every function takes `where`, "table.column", for its errors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    BoolArray = NDArray[np.bool_]

_NS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_FIRST_NS, _LAST_NS = np.iinfo(np.int64).min + 1, np.iinfo(np.int64).max - 1


@dataclass(frozen=True, slots=True)
class Moments:
    """Times of a column. `ns` is 0 where `is_null`, and the nearest end where out of range."""

    ns: NDArray[np.int64]
    is_null: BoolArray
    is_outside: BoolArray
    """Before 1677-09-21 or after 2262-04-11."""
    example_outside: str | None = None
    """The first such time as it is in the source."""


def to_moments(values: pa.Array, *, where: str) -> Moments:
    """Return nanoseconds since 1970; zoned timestamps become UTC, naive ones count as UTC."""
    values = _parsed_times(values, where=where) if _is_text(values.type) else values
    if pt.is_timestamp(values.type):
        factor, plain = _NS_PER_UNIT[values.type.unit], values.cast(pa.int64())
    elif pt.is_date32(values.type):
        factor, plain = 86_400 * 10**9, values.cast(pa.int32()).cast(pa.int64())
    elif pt.is_date64(values.type):
        factor, plain = 10**6, values.cast(pa.int64())
    elif pt.is_null(values.type):
        factor, plain = 1, values.cast(pa.int64())
    else:
        raise DataError(
            f"Column {where!r} is {values.type}, not a date or a timestamp. Cast it in a view, or "
            "give it another dtype."
        )
    is_null = np.asarray(plain.is_null().to_numpy(zero_copy_only=False), bool)
    raw = np.asarray(plain.fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    low, high = -(-_FIRST_NS // factor), _LAST_NS // factor
    is_outside = (raw < low) | (raw > high)
    if not is_outside.any():
        return Moments(raw * factor, is_null, is_outside)
    ns = np.clip(raw, low, high) * factor
    ns[raw < low], ns[raw > high] = _FIRST_NS, _LAST_NS
    return Moments(ns, is_null, is_outside, _shown(values, int(np.argmax(is_outside))))


def _shown(values: pa.Array, position: int) -> str:
    # numpy, because Python's own dates end with the year 9999.
    unit: Any = getattr(values.type, "unit", "D" if pt.is_date32(values.type) else "ms")
    return str(np.datetime64(values[position].value, unit))


def _parsed_times(values: pa.Array, *, where: str) -> pa.Array:
    for dtype in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return values.cast(dtype)
        except pa.ArrowInvalid as error:
            reason = str(error)
    raise DataError(
        f"Column {where!r} is text that is no ISO date or time throughout, or mixes times with and "
        f"without a zone: {reason[:200]}"
    )


def to_numbers(values: pa.Array, *, where: str) -> tuple[NDArray[np.float32], int]:
    """Return float32 [N] with NaN for NULL, and how many values were infinite in float32."""
    if pt.is_temporal(values.type) and not pt.is_duration(values.type):
        raise DataError(f"Column {where!r} is {values.type}, not a number. Use dtype datetime.")
    if pt.is_duration(values.type):
        values = values.cast(pa.int64())
    if pt.is_boolean(values.type):
        values = values.cast(pa.uint8())
    try:
        wide = pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"Column {where!r} is {values.type} and not a number throughout: {str(error)[:200]}. "
            "Use dtype category or text, or clean the source."
        ) from None
    with np.errstate(over="ignore"):
        numbers = wide.astype(np.float32)
    infinite = np.isinf(numbers)
    numbers[infinite] = np.nan
    return numbers, int(infinite.sum())


def to_codes(values: pa.Array, *, where: str) -> pa.DictionaryArray:
    """Return the values as text behind int32 codes; NULL and NaN are NULL codes."""
    if pt.is_null(values.type):
        values = values.cast(pa.large_string())
    if pt.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        encoded = pc.dictionary_encode(values)
        words = encoded.dictionary.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"Column {where!r} is {values.type}, which cannot be a category: {str(error)[:200]}"
        ) from None
    return pa.DictionaryArray.from_arrays(encoded.indices, words)


def to_lists(values: pa.Array, *, where: str) -> tuple[NDArray[np.int64], pa.DictionaryArray]:
    """Return int64 [N + 1] offsets and the elements as `to_codes` does, NULL elements left out."""
    lists = as_lists(values, where=where)
    elements = to_codes(lists.flatten(), where=where)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if elements.null_count == 0:
        return offsets, elements
    kept = elements.indices.is_valid().to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(kept)])
    return before[offsets].astype(np.int64), elements.filter(pa.array(kept))


def to_vectors(values: pa.Array, *, where: str) -> NDArray[np.float32] | None:
    """Return float32 [N, dim], a row of NaN for NULL or where an entry is no finite number.

    None where every value is NULL, so that the dimension is not known here.

    Raises:
        DataError: Not lists of numbers, or of different lengths.
    """
    lists = as_lists(values, where=where)
    present = lists.is_valid().to_numpy(zero_copy_only=False)
    if not present.any():
        return None
    lengths = pc.list_value_length(lists.drop_null()).to_numpy(zero_copy_only=False)
    dim = int(lengths[0])
    other = lengths[lengths != dim]
    if other.size or dim == 0:
        raise uneven_vectors(where, dim, int(other[0]) if other.size else 0)
    entries, _ = to_numbers(lists.drop_null().flatten(), where=where)
    out = np.full((len(lists), dim), np.nan, np.float32)
    out[present] = entries.reshape(-1, dim)
    out[np.isnan(out).any(axis=1)] = np.nan
    return out


def uneven_vectors(where: str, one: int, other: int) -> DataError:
    """Return the error for vectors of two lengths."""
    return DataError(
        f"Embedding column {where!r} has vectors of length {one} and of length {other}; every row "
        "must have the same, non-zero length."
    )


def as_lists(values: pa.Array, *, where: str) -> pa.Array:
    """Return a list column as lists of any length; text is read as JSON, nothing else is changed.

    Raises:
        DataError: Not lists, or text that is no JSON list.
    """
    if pt.is_list(values.type) or pt.is_large_list(values.type):
        return values
    if pt.is_fixed_size_list(values.type):
        return values.cast(pa.large_list(values.type.value_type))
    if pt.is_null(values.type):
        return pa.nulls(len(values), pa.large_list(pa.large_string()))
    if _is_text(values.type):
        return _parsed_lists(values, where=where)
    raise DataError(f"Column {where!r} is {values.type}, not a list.")


def _parsed_lists(values: pa.Array, *, where: str) -> pa.Array:
    # Warehouses without list types deliver lists as JSON text.
    encoded = pc.dictionary_encode(values)
    lists = []
    for text in encoded.dictionary.to_pylist():
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if not isinstance(parsed, list):
            raise DataError(f"Column {where!r} holds {text[:80]!r}, which is no JSON list.")
        lists.append(parsed)
    try:
        distinct = pa.array(lists) if lists else pa.array([], pa.list_(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"Column {where!r} holds lists of mixed types: {error}") from None
    return distinct.take(encoded.indices)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype))
