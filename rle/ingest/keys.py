"""Key values in the three plain forms in which they are compared: by value, never across kinds."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.errors import DataError

KeyKind = Literal["integer", "float", "text"]
KEY_TYPES: dict[KeyKind, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "text": pa.large_string(),
}


def key_kind(dtype: pa.DataType, *, where: str) -> KeyKind:
    """Return how keys of an Arrow type are compared.

    Raises:
        DataError: Keys of this type are not supported; names the column.
    """
    if pt.is_dictionary(dtype):
        return key_kind(dtype.value_type, where=where)
    if pt.is_integer(dtype) or (pt.is_decimal(dtype) and dtype.scale <= 0):
        return "integer"
    if pt.is_floating(dtype) or pt.is_decimal(dtype):
        return "float"
    if pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_null(dtype):
        return "text"
    raise DataError(
        f"Key column {where!r} is {dtype}; keys must be integers, floats or text. Cast it in a "
        "view, or remove the role."
    )


def plain_keys(values: pa.Array | pa.ChunkedArray, *, where: str) -> pa.Array | pa.ChunkedArray:
    """Return keys as int64, float64 or large_string; NaN becomes NULL.

    Raises:
        DataError: Not a key type, or an integer beyond 64 bits; names the column.
    """
    kind = key_kind(values.type, where=where)
    try:
        plain = pc.cast(values, KEY_TYPES[kind])
    except pa.ArrowInvalid as error:
        raise DataError(
            f"Key column {where!r} does not fit 64 bits with a sign: {error}. Cast it to text in a "
            "view, and so every column that refers to it."
        ) from None
    return pc.if_else(pc.is_nan(plain), None, plain) if kind == "float" else plain
