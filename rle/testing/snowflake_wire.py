"""Results as Snowflake sends them: Arrow or JSON, the first rows inline, the rest in chunks.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from snowflake_types import JSON_TYPES, SfType

_INT64_DIGITS = 18
_DAY = dt.timedelta(days=1)
_EPOCH = dt.date(1970, 1, 1)
_SMALL_SCALE, _SMALL_TZ_SCALE = 6, 3
"""Up to these, a moment is one number."""
_OFFSETS = (1440, 1440 + 330, 1440 - 570)
"""Zones in which the values of a TIMESTAMP_TZ are told, in turn: minutes east of UTC, plus a day.

They change how a moment is shown, and not the moment."""


def number_types(rows: pa.Table, types: list[SfType], *, is_wide: bool) -> list[pa.DataType]:
    """Return how each NUMBER is sent: as the narrowest integer that holds all values of the result.

    So that the type of a column hangs on its values, as it does in Snowflake's results.

    Args:
        rows: The whole result.
        types: Its columns' types; what is no NUMBER gets null.
        is_wide: Whether long NUMBERs come as decimals whatever they hold, as from RESULT_SCAN.
    """
    found = []
    for column, sf_type in zip(rows.columns, types, strict=True):
        if sf_type.name != "NUMBER":
            found.append(pa.null())
        elif is_wide and sf_type.precision > _INT64_DIGITS:
            found.append(pa.decimal128(38, sf_type.scale))
        else:
            found.append(_fixed(_one(column), sf_type.scale).type)
    return found


def to_arrow(rows: pa.Table, types: list[SfType], numbers: list[pa.DataType]) -> bytes:
    """Return rows as one Arrow stream in Snowflake's own layout of each type.

    Args:
        rows: A part of a result.
        types: Its columns' types.
        numbers: See `number_types`.
    """
    arrays, fields = [], []
    for name, column, sf_type, number in zip(
        rows.column_names, rows.columns, types, numbers, strict=True
    ):
        array = _encoded(_one(column), sf_type)
        if pa.types.is_decimal(number) and not pa.types.is_decimal(array.type):
            array = _one(column).cast(number)
        elif sf_type.name == "NUMBER":
            array = array.cast(number)
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=_metadata(sf_type)))
    sink = pa.BufferOutputStream()
    schema = pa.schema(fields)
    with pa.ipc.new_stream(sink, schema) as writer:
        if rows.num_rows:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue().to_pybytes()


def to_json(rows: pa.Table, types: list[SfType]) -> list[list[str | None]]:
    """Return rows as lists of texts, in Snowflake's own notation of each type."""
    columns = [
        [
            None if value is None else _text(value, sf_type, _OFFSETS[row % len(_OFFSETS)])
            for row, value in enumerate(_values(column, sf_type))
        ]
        for column, sf_type in zip(rows.columns, types, strict=True)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def json_chunk(rows: pa.Table, types: list[SfType]) -> bytes:
    """Return a chunk of a JSON result: rows with commas between them and nothing round them."""
    return json.dumps(to_json(rows, types), ensure_ascii=False)[1:-1].encode()


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunks
        return pa.array([], column.type)
    return array


def _metadata(sf_type: SfType) -> dict[str, str]:
    entry = sf_type.rowtype("")
    told = {
        "logicalType": entry["type"].upper(),
        "precision": str(entry["precision"] or 38),
        "scale": str(entry["scale"] or 0),
        "charLength": str(entry["length"] or 0),
        "finalType": "T",
    }
    if sf_type.name == "TIMESTAMP_TZ":  # by this drivers know how many fields the struct has
        told["byteLength"] = "8" if sf_type.scale <= _SMALL_TZ_SCALE else "16"
    elif entry["byteLength"]:
        told["byteLength"] = str(entry["byteLength"])
    return told


def _encoded(array: pa.Array, sf_type: SfType) -> pa.Array:
    if sf_type.name == "NUMBER":
        return _fixed(array, sf_type.scale)
    if sf_type.name == "FLOAT":
        return array.cast(pa.float64())
    if sf_type.name == "TIME":
        return pc.divide(_nanoseconds_of_day(array), 10 ** (9 - sf_type.scale))
    if sf_type.name.startswith("TIMESTAMP"):
        return _timestamp(array, sf_type)
    if sf_type.name == "VECTOR":
        return _vector(array, sf_type)
    if sf_type.name == "DATE":
        return array.cast(pa.date32())
    if sf_type.name == "BOOLEAN":
        return array.cast(pa.bool_())
    if sf_type.name == "BINARY":
        return array.cast(pa.binary())
    return array.cast(pa.string())


def _fixed(array: pa.Array, scale: int) -> pa.Array:
    """A NUMBER is an unscaled integer in the narrowest type that holds its values."""
    if pa.types.is_null(array.type) or len(array) == array.null_count:
        return pa.nulls(len(array), pa.int8())
    if not pa.types.is_integer(array.type):
        array = array.cast(pa.decimal128(38, scale))
        halves = np.frombuffer(array.buffers()[1], np.int64)
        halves = halves.reshape(-1, 2)[array.offset : array.offset + len(array)]
        is_null = array.is_null().to_numpy(zero_copy_only=False)
        low, high = np.where(is_null, 0, halves[:, 0]), np.where(is_null, 0, halves[:, 1])
        if not np.array_equal(high, low >> 63):
            return array
        array = pa.array(low, pa.int64(), mask=is_null)
    elif scale:
        array = pc.multiply(array.cast(pa.int64()), 10**scale)
    limits = pc.min_max(array).as_py()
    for bits in (8, 16, 32):
        if -(2 ** (bits - 1)) <= limits["min"] and limits["max"] < 2 ** (bits - 1):
            return array.cast(f"int{bits}")
    return array.cast(pa.int64())


def _nanoseconds_of_day(array: pa.Array) -> pa.Array:
    return array.cast(pa.time64("ns")).cast(pa.int64())


def _microseconds(array: pa.Array) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.int64())
    zone = getattr(array.type, "tz", None)
    return array.cast(pa.timestamp("us", tz=zone)).cast(pa.int64())


def _timestamp(array: pa.Array, sf_type: SfType) -> pa.Array:
    """Seconds and nanoseconds in a struct, or one number where the scale is small.

    The struct itself says which rows are NULL: readers look there and not at its fields.
    """
    moments = _microseconds(array)
    is_null = moments.is_null()
    has_zone = sf_type.name == "TIMESTAMP_TZ"
    filled = moments.fill_null(0).to_numpy()
    fields = {}
    if sf_type.scale <= (_SMALL_TZ_SCALE if has_zone else _SMALL_SCALE):
        scaled = filled // 10 ** (6 - sf_type.scale)
        if not has_zone:
            return pa.array(scaled, pa.int64(), mask=is_null.to_numpy(zero_copy_only=False))
        fields["epoch"] = pa.array(scaled, pa.int64())
    else:
        seconds = filled // 1_000_000
        fields["epoch"] = pa.array(seconds, pa.int64())
        fields["fraction"] = pa.array((filled - seconds * 1_000_000) * 1000, pa.int32())
    if has_zone:
        fields["timezone"] = pa.array(np.resize(_OFFSETS, len(filled)), pa.int32())
    return pa.StructArray.from_arrays(
        list(fields.values()),
        fields=[pa.field(name, part.type) for name, part in fields.items()],
        mask=is_null,
    )


def _vector(array: pa.Array, sf_type: SfType) -> pa.Array:
    element = pa.float32() if sf_type.element == "FLOAT" else pa.int32()
    rows = [
        None if v is None else json.loads(v) if isinstance(v, str) else v for v in array.to_pylist()
    ]
    return pa.array(rows, pa.list_(element, sf_type.length))


def _values(column: pa.ChunkedArray, sf_type: SfType) -> list[Any]:
    if sf_type.name.startswith("TIMESTAMP"):
        return _microseconds(_one(column)).to_pylist()
    if sf_type.name == "TIME":
        return _nanoseconds_of_day(_one(column)).to_pylist()
    return column.to_pylist()


def _decimal(whole: int, fraction: str, scale: int) -> str:
    """A number with exactly as many digits after the point as its type has."""
    return f"{whole}.{fraction[:scale]}" if scale else str(whole)


def _text(value: Any, sf_type: SfType, offset: int) -> str:
    if sf_type.name.startswith("TIMESTAMP"):
        sign, number = ("-", -value) if value < 0 else ("", value)
        text = sign + _decimal(number // 1_000_000, f"{number % 1_000_000:06d}000", sf_type.scale)
        return f"{text} {offset}" if sf_type.name == "TIMESTAMP_TZ" else text
    if sf_type.name == "TIME":
        return _decimal(value // 10**9, f"{value % 10**9:09d}", sf_type.scale)
    if sf_type.name == "DATE":
        return str((value - _EPOCH) // _DAY)
    if sf_type.name == "BOOLEAN":
        return "1" if value else "0"
    if sf_type.name == "BINARY":
        return value.hex().upper()
    if sf_type.name == "NUMBER":
        return f"{value:.{sf_type.scale}f}" if sf_type.scale else str(int(value))
    if sf_type.name in JSON_TYPES and not isinstance(value, str):
        return json.dumps(value)
    return str(value)
