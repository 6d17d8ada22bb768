"""Snowflake's types as Arrow types, and its values as those types.

| Snowflake                                          | Arrow                                    |
|----------------------------------------------------|------------------------------------------|
| NUMBER(p, 0), INT and the like                     | int64; larger values are refused         |
| NUMBER(p, s)                                       | decimal128(p, s)                         |
| FLOAT, DOUBLE, REAL, DECFLOAT                      | double, with NaN and infinity            |
| BOOLEAN                                            | bool                                     |
| DATE                                               | date32                                   |
| TIME                                               | time64[ns]                               |
| TIMESTAMP_NTZ, DATETIME                            | timestamp[us]                            |
| TIMESTAMP_LTZ, TIMESTAMP_TZ                        | timestamp[us, UTC]                       |
| VARCHAR, CHAR, TEXT, STRING                        | string                                   |
| BINARY, VARBINARY                                  | binary                                   |
| VECTOR(FLOAT, n), VECTOR(INT, n)                   | fixed-size list of float or int32        |
| ARRAY(VARCHAR), ARRAY(FLOAT), ARRAY(INT)           | list of string, double or int64          |
| ARRAY, VARIANT that hold lists of one of the three | list of string, double or int64          |
| ARRAY, VARIANT of anything else; OBJECT, MAP       | string: their JSON                       |
| GEOGRAPHY, GEOMETRY                                | string: GeoJSON, or what the session has |
| anything else                                      | string                                   |

Times are kept to the microsecond, which holds the years 1 to 9999; nanoseconds would end in 2262.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.connectors.snowflake import json as snowflake_json
from rle.errors import DataError, InternalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEMI_STRUCTURED = frozenset({"ARRAY", "VARIANT"})
"""Types whose values must be looked at: they may hold lists of one kind."""

_WHOLE = frozenset({"NUMBER", "DECIMAL", "NUMERIC", "FIXED"})
_SIMPLE = {
    **dict.fromkeys(
        ("INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT", *_WHOLE), pa.int64()
    ),
    **dict.fromkeys(
        ("FLOAT", "FLOAT4", "FLOAT8", "DOUBLE", "DOUBLE PRECISION", "REAL", "DECFLOAT"),
        pa.float64(),
    ),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("ns"),
    **dict.fromkeys(("TIMESTAMP_NTZ", "DATETIME", "TIMESTAMP"), pa.timestamp("us")),
    **dict.fromkeys(("TIMESTAMP_LTZ", "TIMESTAMP_TZ"), pa.timestamp("us", tz="UTC")),
    **dict.fromkeys(("BINARY", "VARBINARY"), pa.binary()),
}
_ELEMENTS = {
    **dict.fromkeys(("VARCHAR", "STRING", "TEXT", "CHAR"), pa.string()),
    **{name: dtype for name, dtype in _SIMPLE.items() if dtype in (pa.int64(), pa.float64())},
}
_TYPE = re.compile(r"\s*([A-Za-z_][\w ]*?)\s*(?:\((.*)\))?\s*(?:NOT NULL)?\s*", re.DOTALL)

_NAMED = {
    str(dtype): dtype
    for dtype in (
        *_SIMPLE.values(),
        pa.string(),
        pa.list_(pa.string()),
        pa.list_(pa.float64()),
        pa.list_(pa.int64()),
    )
}


def base_name(described: Mapping[str, Any]) -> str:
    """Return the type of a DESCRIBE row in upper case, without what is in parentheses."""
    return _parts(described)[0]


def to_arrow(described: Mapping[str, Any]) -> pa.DataType:
    """Return the Arrow type of a column.

    Args:
        described: Its row of DESCRIBE TABLE, with lower-case names; "type" is such as NUMBER(10,2).

    Returns:
        The type by the table above. A string for ARRAY and VARIANT, whose values decide: see
        `rle.connectors.snowflake.json.kind_of`.
    """
    name, inside = _parts(described)
    numbers = [int(number) for number in re.findall(r"\d+", inside)]
    if name in _WHOLE and len(numbers) > 1 and numbers[1] > 0:
        return pa.decimal128(numbers[0], numbers[1])
    if name == "VECTOR" and numbers:
        element = pa.int32() if inside.strip().upper().startswith("INT") else pa.float32()
        return pa.list_(element, numbers[-1])
    if name == "ARRAY" and inside:
        element_name, scale = _parts({"type": inside})
        element = _ELEMENTS.get(element_name)
        if element == pa.int64() and re.search(r",\s*[1-9]", scale):
            element = pa.float64()
        return pa.string() if element is None else pa.list_(element)
    return _SIMPLE.get(name, pa.string())


def type_named(text: str) -> pa.DataType:
    """Return the type whose `str` is `text`: types of columns travel in chunks as text."""
    if text in _NAMED:
        return _NAMED[text]
    if found := re.fullmatch(r"decimal128\((\d+), (\d+)\)", text):
        return pa.decimal128(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"fixed_size_list<\w+: (float|int32)[^>]*>\[(\d+)\]", text):
        return pa.list_(pa.float32() if found[1] == "float" else pa.int32(), int(found[2]))
    raise InternalError(f"Type {text!r} is none that Snowflake's tables are read as.")


def plain(batch: pa.RecordBatch, schema: pa.Schema, *, source: str = "") -> pa.RecordBatch:
    """Return the values of a result as the types of `schema`, column by column in order.

    Args:
        batch: As a driver hands it out, whatever names, widths and units its columns have.
        schema: Names and types that the columns get.
        source: Table or view, for errors.

    Raises:
        DataError: A value does not fit its type: a number beyond 64 bits, a text in a list of
            numbers, a column that has another type by now.
    """
    if not schema.names:
        return rows_only(batch.num_rows)
    arrays = [
        _convert(array, field, source) for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def from_rows(
    rows: Sequence[Sequence[Any]], schema: pa.Schema, *, source: str = ""
) -> pa.RecordBatch:
    """Return rows of Python values, which drivers make of results in JSON, as `plain` does.

    Raises:
        DataError: See `plain`.
    """
    if not schema.names:
        return rows_only(len(rows))
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        _convert(_as_array(values, field, source), field, source)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def rows_only(num_rows: int) -> pa.RecordBatch:
    """Return rows without columns: they still count."""
    nothing = pa.RecordBatch.from_arrays([pa.nulls(num_rows)], names=["rows"])
    return nothing.select([])


def _parts(described: Mapping[str, Any]) -> tuple[str, str]:
    match = _TYPE.fullmatch(str(described["type"]))
    return (match[1].upper(), match[2] or "") if match else (str(described["type"]).upper(), "")


def _as_array(values: Sequence[Any], field: pa.Field, source: str) -> pa.Array:
    try:
        if pt.is_string(field.type) or is_list(field.type):
            return pa.array(values)  # what they are; `_convert` takes it from there
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(_misfit(values, field, source)) from error


def _convert(array: pa.Array, field: pa.Field, source: str) -> pa.Array:
    if array.type.equals(field.type):
        return array
    try:
        return _converted(array, field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(_misfit(array.to_pylist(), field, source)) from error


def _converted(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if pt.is_null(array.type):
        return pa.nulls(len(array), dtype)
    if pt.is_timestamp(dtype):
        return _times(array, dtype)
    if pt.is_string(dtype):
        return _text(array)
    if is_list(dtype):
        return _lists(array, dtype)
    if _is_text(array.type) and not pt.is_binary(dtype):
        raise ValueError("the column is text by now")
    if pt.is_decimal(dtype) and pt.is_integer(array.type):
        # Straight to few digits, Arrow asks for room for any 64-bit number.
        return array.cast(pa.decimal128(38, dtype.scale)).cast(dtype)
    return array.cast(dtype)


def _times(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if pt.is_struct(array.type):
        # As the server sends them: seconds, nanoseconds within them and, for a zone, its offset.
        seconds, fraction = pc.struct_field(array, "epoch"), pc.struct_field(array, "fraction")
        micros = pc.add(
            pc.multiply(seconds.cast(pa.int64()), 1_000_000),
            pc.divide(fraction.cast(pa.int64()), 1_000),
        )
        return micros.cast(pa.timestamp("us")).cast(dtype)
    if not (pt.is_timestamp(array.type) or pt.is_date(array.type)):
        raise ValueError("the column is no time by now")
    return array.cast(dtype, safe=False)  # drops nanoseconds


def _text(array: pa.Array) -> pa.Array:
    if pt.is_string(array.type) or pt.is_large_string(array.type) or pt.is_string_view(array.type):
        return array.cast(pa.string())
    if pt.is_binary(array.type) or pt.is_large_binary(array.type):
        values = [None if v is None else v.hex().upper() for v in array.to_pylist()]
    elif pt.is_nested(array.type):
        values = [None if v is None else snowflake_json.dump(v) for v in array.to_pylist()]
    else:
        return array.cast(pa.string())
    return pa.array(values, pa.string())


def _lists(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if not _is_text(array.type):
        return array.cast(dtype)
    lists = snowflake_json.load_lists(array.to_pylist(), dtype.value_type)
    return pa.array(lists, dtype)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_string_view(dtype))


def is_list(dtype: pa.DataType) -> bool:
    """Whether values of a type are lists of any layout."""
    return bool(pt.is_list(dtype) or pt.is_fixed_size_list(dtype) or pt.is_large_list(dtype))


def _misfit(values: Sequence[Any], field: pa.Field, source: str) -> str:
    where = f"Column {field.name!r} of {source}" if source else f"Column {field.name!r}"
    if pt.is_int64(field.type):
        for value in values:
            if isinstance(value, int | Decimal) and not -(2**63) <= value < 2**63:
                return (
                    f"{where} holds {value}, a number beyond 64 bits. Leave the column out, or "
                    "cast it in a view: to FLOAT to keep its size, to VARCHAR to keep its digits."
                )
    example = next((value for value in values if value is not None), None)
    return (
        f"{where} was found to be {field.type}, but holds {example!r:.80}. Its type may have "
        "changed since, or its values are not of one kind; cast them in a view."
    )
