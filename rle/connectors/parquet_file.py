"""Parquet files, read by row groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from rle.connectors.arrow import plain_batches, plain_schema, take_runs
from rle.connectors.duckdb_file import BATCH_ROWS, query_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def schema(path: Path) -> pa.Schema:
    """Return names and plain types of the columns."""
    return plain_schema(pq.read_schema(path))


def num_rows(path: Path) -> int:
    """Return the number of rows from the footer."""
    return int(pq.read_metadata(path).num_rows)


def group_rows(path: Path, max_rows: int) -> list[tuple[list[int], int]]:
    """Return row groups and row count of each chunk: neighbours together up to `max_rows`.

    A file without rows has one chunk without row groups.
    """
    metadata = pq.read_metadata(path)
    chunks: list[tuple[list[int], int]] = []
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if chunks and chunks[-1][1] + size <= max_rows:
            chunks[-1] = ([*chunks[-1][0], group], chunks[-1][1] + size)
        else:
            chunks.append(([group], size))
    return chunks or [([], 0)]


def read(path: Path, wanted: pa.Schema, *, row_groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `wanted`, in order, of some row groups."""
    if not row_groups:
        return
    if any(pt.is_fixed_size_list(field.type) for field in wanted):
        yield from _read_vectors(path, wanted, row_groups)
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        batches = file.iter_batches(
            BATCH_ROWS, row_groups=list(row_groups), columns=list(wanted.names)
        )
        yield from plain_batches(batches, wanted)


def _read_vectors(
    path: Path, wanted: pa.Schema, row_groups: Sequence[int]
) -> Iterator[pa.RecordBatch]:
    # Arrow writes fixed-size lists with NULLs that it cannot read back ("Expected all lists to be
    # of size=2 but index 3 had size=0"); DuckDB reads them as plain lists.
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    start, stop = sum(sizes[: row_groups[0]]), sum(sizes[: row_groups[-1] + 1])
    where = f" WHERE file_row_number >= {start:d} AND file_row_number < {stop:d}"
    with query_file(path, wanted.names, f"read_parquet(?, file_row_number=true){where}") as rows:
        yield from plain_batches(rows.to_arrow_reader(BATCH_ROWS), wanted)


def read_runs(
    path: Path, wanted: pa.Schema, runs: Sequence[tuple[int, int]]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the ranges [start, stop), reading only the row groups they touch."""
    metadata = pq.read_metadata(path)
    first = 0
    for group in range(metadata.num_row_groups):
        last = first + metadata.row_group(group).num_rows
        here = [
            (max(start, first) - first, min(stop, last) - first)
            for start, stop in runs
            if start < last and stop > first
        ]
        if here:
            yield from take_runs(read(path, wanted, row_groups=[group]), here)
        first = last
