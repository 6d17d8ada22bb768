"""Pure helpers over Arrow: plain types, evenly spread samples, checked projections."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

from rle.errors import UnknownNameError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NUM_RUNS = 32
"""Runs of neighbouring rows a sample is made of: few, to be cheap, yet across the source."""


def plain_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves.

    Dictionaries, run ends, views and extension types only say how values are laid out; readers
    above see int, float, string, list and the like.
    """
    if isinstance(dtype, pa.BaseExtensionType):
        return plain_type(dtype.storage_type)
    if pt.is_dictionary(dtype) or pt.is_run_end_encoded(dtype):
        return plain_type(dtype.value_type)
    if pt.is_string_view(dtype):
        return pa.string()
    if pt.is_binary_view(dtype):
        return pa.binary()
    if pt.is_fixed_size_list(dtype):
        return pa.list_(plain_type(dtype.value_type), dtype.list_size)
    if pt.is_large_list(dtype):
        return pa.large_list(plain_type(dtype.value_type))
    if pt.is_list(dtype) or pt.is_list_view(dtype) or pt.is_large_list_view(dtype):
        return pa.list_(plain_type(dtype.value_type))
    return dtype


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with plain types, nullable fields and no metadata.

    Raises:
        ValidationError: Two columns have the same name, so neither can be asked for.
    """
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    if twice:
        raise ValidationError(f"Column {twice[0]!r} is there twice; rename one of the two.")
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def plain_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the batches with exactly the columns, order and types of `schema`."""
    for batch in batches:
        selected = batch.select(schema.names)
        if selected.schema.equals(schema):
            yield selected
            continue
        arrays = [_as_plain(array, schema.field(i).type) for i, array in enumerate(selected)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_plain(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array if array.type.equals(dtype) else array.cast(dtype)


def project(schema: pa.Schema, columns: Sequence[str] | None, *, source: str) -> pa.Schema:
    """Return the part of `schema` that holds `columns`, in their order; None keeps all.

    Raises:
        UnknownNameError: A column is not there; suggests the nearest.
    """
    if columns is None:
        return schema
    index = {name: i for i, name in enumerate(schema.names)}
    for column in columns:
        if column not in index:
            raise UnknownNameError(f"column of {source}", column, schema.names)
    return pa.schema([schema.field(index[column]) for column in columns])


def spread(num_rows: int, max_rows: int) -> list[tuple[int, int]]:
    """Choose the row ranges of a sample: [start, stop), ascending, apart from one another.

    The first run starts at row 0 and the last one ends at the last row; together they hold
    min(num_rows, max_rows) rows.
    """
    if num_rows <= max_rows:
        return [(0, num_rows)] if num_rows else []
    num_runs = min(NUM_RUNS, max_rows)
    sizes = [max_rows * (i + 1) // num_runs - max_rows * i // num_runs for i in range(num_runs)]
    gap = num_rows - max_rows
    starts = [
        max_rows * i // num_runs + (gap * i // (num_runs - 1) if num_runs > 1 else 0)
        for i in range(num_runs)
    ]
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def take_runs(
    batches: Iterable[pa.RecordBatch], runs: Sequence[tuple[int, int]]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `runs` from batches that together hold rows 0, 1, 2, ..."""
    first, left = 0, list(runs)
    for batch in batches:
        last = first + batch.num_rows
        while left and left[0][0] < last:
            start, stop = left[0]
            yield batch.slice(max(start - first, 0), min(stop, last) - max(start, first))
            if stop > last:
                break
            left.pop(0)
        if not left:
            return
        first = last
