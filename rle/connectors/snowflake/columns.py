"""How a column of an output table is told to Snowflake: its type, its staged form, its way back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.connectors.arrow import plain_type
from rle.errors import DataError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_VECTOR = 4096
"""Longest VECTOR there is; a longer list is an ARRAY."""
MAX_DIGITS = 38
"""Digits that a NUMBER holds."""
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that a file's columns can have and every reader of Parquet takes as they are."""
_FRACTION = {"s": 0, "ms": 3, "us": 6, "ns": 9}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table to be made."""

    name: str
    sql_type: str
    """Type of the column, as CREATE TABLE has it."""
    loaded_type: str
    """Type that COPY loads it as; where it is another one, a second step makes `sql_type` of it."""
    staged: pa.DataType
    """Type in the staged Parquet file."""
    cast: str
    """Expression that makes a value of `sql_type` of `{}`, a loaded one."""
    encode: Callable[[pa.Array], pa.Array]
    """Turns values as they were given into values of `staged`."""

    @property
    def is_direct(self) -> bool:
        """Whether COPY loads it under its own name and type, with no second step."""
        return self.loaded_type == self.sql_type and PLAIN.fullmatch(self.name) is not None


def columns_of(table: str, schema: pa.Schema) -> list[Column]:
    """Return how each column is written.

    | Arrow | Snowflake |
    | --- | --- |
    | bool | BOOLEAN |
    | int8 ... int64, uint8 ... uint64 | NUMBER(digits, 0) |
    | float16, float32, float64 | FLOAT; NaN and infinities stay what they are |
    | decimal | NUMBER(precision, scale) |
    | string, and columns of nothing but NULL | VARCHAR |
    | binary | BINARY |
    | date, time | DATE, TIME |
    | timestamp without a zone | TIMESTAMP_NTZ |
    | timestamp with a zone | TIMESTAMP_LTZ: the same moment |
    | list of fixed size, of float16, float32 or int8 ... int32 | VECTOR, up to 4,096 long |
    | any other list | ARRAY; NaN and infinities in it become NULL, JSON knows neither |

    Args:
        table: Name, for errors.
        schema: What is to be written.

    Raises:
        ValidationError: A type has no counterpart, or two columns the same name.
    """
    if len(set(schema.names)) < len(schema.names):
        raise ValidationError(f"{table} would have two columns of one name: {schema.names}.")
    return [_column(table, field.name, plain_type(field.type)) for field in schema]


def _column(table: str, name: str, dtype: pa.DataType) -> Column:
    if is_list(dtype):
        # As JSON text: Parquet's lists have several layouts, which are read in several ways, and
        # COPY knows no VECTOR.
        _check_items(table, name, dtype)
        vector = _vector_type(dtype)
        cast = f"PARSE_JSON({{}})::ARRAY::{vector}" if vector else "PARSE_JSON({})::ARRAY"
        encode = partial(_vectors, table, name) if vector else json_lists
        return Column(name, vector or "ARRAY", "VARCHAR", pa.string(), cast, encode)
    staged, sql_type = _flat_type(table, name, dtype)
    return Column(name, sql_type, sql_type, staged, "{}", partial(_cast, staged))


def is_list(dtype: pa.DataType) -> bool:
    """Whether values are lists, of whatever layout."""
    return bool(pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype))


def _vector_type(dtype: pa.DataType) -> str | None:
    if not pt.is_fixed_size_list(dtype) or not 0 < dtype.list_size <= MAX_VECTOR:
        return None
    item = dtype.value_type
    if item in (pa.float16(), pa.float32()):
        return f"VECTOR(FLOAT, {dtype.list_size})"
    if item in (pa.int8(), pa.int16(), pa.int32()):
        return f"VECTOR(INT, {dtype.list_size})"
    return None


def _flat_type(table: str, name: str, dtype: pa.DataType) -> tuple[pa.DataType, str]:
    """Return the type in the staged file and the type of the column."""
    if pt.is_integer(dtype):
        return _integer(dtype)
    if pt.is_decimal(dtype):
        return _decimal(table, name, dtype)
    if pt.is_timestamp(dtype):
        unit = dtype.unit if dtype.unit == "ns" else "us"  # Parquet has no seconds
        zone = "TIMESTAMP_LTZ" if dtype.tz else "TIMESTAMP_NTZ"
        staged = pa.timestamp(unit, "UTC" if dtype.tz else None)
        return staged, f"{zone}({_FRACTION[dtype.unit]})"
    if pt.is_time(dtype):
        unit = dtype.unit if dtype.unit == "ns" else "us"
        return pa.time64(unit), f"TIME({_FRACTION[dtype.unit]})"
    for is_it, staged, sql_type in _SIMPLE:
        if is_it(dtype):
            return staged, sql_type
    raise ValidationError(
        f"Column {name!r} of {table} has Arrow type {dtype}, which is not written to Snowflake. "
        "Cast it in a view, or write files with OutputConfig.local."
    )


_SIMPLE: list[tuple[Callable[[pa.DataType], bool], pa.DataType, str]] = [
    (pt.is_boolean, pa.bool_(), "BOOLEAN"),
    (pt.is_floating, pa.float64(), "FLOAT"),
    (pt.is_string, pa.string(), "VARCHAR"),
    (pt.is_large_string, pa.string(), "VARCHAR"),
    (pt.is_null, pa.string(), "VARCHAR"),
    (pt.is_binary, pa.binary(), "BINARY"),
    (pt.is_large_binary, pa.binary(), "BINARY"),
    (pt.is_fixed_size_binary, pa.binary(), "BINARY"),
    (pt.is_date, pa.date32(), "DATE"),
]


def _integer(dtype: pa.DataType) -> tuple[pa.DataType, str]:
    digits = {8: 3, 16: 5, 32: 10, 64: 19}[dtype.bit_width]
    if dtype == pa.uint64():
        # Parquet's unsigned integers are read as signed ones by many; a decimal cannot be.
        return pa.decimal128(20, 0), "NUMBER(20,0)"
    return pa.int64(), f"NUMBER({digits},0)"


def _decimal(table: str, name: str, dtype: pa.DataType) -> tuple[pa.DataType, str]:
    precision, scale = dtype.precision, dtype.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    if precision > MAX_DIGITS:
        raise ValidationError(
            f"Column {name!r} of {table} has Arrow type {dtype}, and a NUMBER of Snowflake holds "
            f"{MAX_DIGITS} digits. Cast it in a view."
        )
    return pa.decimal128(precision, scale), f"NUMBER({precision},{scale})"


def _cast(staged: pa.DataType, values: pa.Array) -> pa.Array:
    return values if values.type.equals(staged) else values.cast(staged)


def _check_items(table: str, name: str, dtype: pa.DataType) -> None:
    item = dtype.value_type
    if is_list(item):
        _check_items(table, name, item)
    else:
        _flat_type(table, name, item)


def _vectors(table: str, name: str, values: pa.Array) -> pa.Array:
    items = values.flatten()
    if items.null_count or (
        pt.is_floating(items.type) and not pc.all(pc.is_finite(items), min_count=0).as_py()
    ):
        raise DataError(
            f"Column {name!r} of {table} has a vector with NaN, an infinity or NULL in it, which "
            "a VECTOR cannot hold. Nothing was written."
        )
    return json_lists(values)


def json_lists(lists: pa.Array) -> pa.Array:
    """Return each list as JSON text: NULL for NULL, null for what JSON does not know."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    texts = _json_items(lists.flatten())
    offsets = pa.array([0, *lengths.cumsum()], pa.int64())
    as_texts = pa.LargeListArray.from_arrays(offsets, texts, mask=lists.is_null())
    joined = pc.binary_join(as_texts, ",")
    return pc.binary_join_element_wise("[", joined, "]", "").cast(pa.string())


def _json_items(items: pa.Array) -> pa.Array:
    dtype = items.type
    if is_list(dtype):
        texts = json_lists(items)
    elif pt.is_floating(dtype):
        wide = items.cast(pa.float32()) if dtype == pa.float16() else items
        finite = pc.if_else(pc.is_finite(wide), wide, pa.scalar(None, wide.type))
        texts = finite.cast(pa.string())
    elif pt.is_integer(dtype) or pt.is_boolean(dtype) or pt.is_decimal(dtype):
        texts = items.cast(pa.string())
    elif pt.is_null(dtype):
        texts = pa.nulls(len(items), pa.string())
    elif pt.is_binary(dtype) or pt.is_large_binary(dtype) or pt.is_fixed_size_binary(dtype):
        texts = pa.array(_quoted(b.hex() if b is not None else None for b in items.to_pylist()))
    else:
        texts = _quoted_once(items)
    return pc.fill_null(texts, "null")


def _quoted_once(items: pa.Array) -> pa.Array:
    """Quote each distinct text once: ranked lists name the same few items over and over."""
    coded = items.cast(pa.string()).dictionary_encode()
    words = pa.array(_quoted(coded.dictionary.to_pylist()), pa.string())
    return words.take(coded.indices)


def _quoted(words: Iterable[str | None]) -> list[str | None]:
    return [None if word is None else json.dumps(word, ensure_ascii=False) for word in words]
