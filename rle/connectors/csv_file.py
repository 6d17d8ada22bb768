"""CSV files: comma-separated, a header line, types inferred from the whole file by DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.connectors.arrow import plain_batches, plain_schema
from rle.connectors.duckdb_file import BATCH_ROWS, query_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

LONGEST_LINE_BYTES = 134_217_728

# The dialect is fixed: what a sniffer guesses from one part of a file can be wrong for another.
_FROM = (
    "read_csv(?, header=true, delim=',', quote='\"', escape='\"', sample_size=-1, "
    f"allow_quoted_nulls=false, max_line_size={LONGEST_LINE_BYTES})"
)


def schema(path: Path) -> pa.Schema:
    """Return names of the header and the narrowest types that fit every value."""
    with query_file(path, None, f"{_FROM} LIMIT 0") as rows:
        return plain_schema(rows.to_arrow_table().schema)


def num_rows(path: Path) -> int:
    """Return the number of rows; scans the file."""
    with query_file(path, [], _FROM) as rows:
        return int(rows.shape[0])


def read(path: Path, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `wanted`, in order, of all rows."""
    with query_file(path, wanted.names, _FROM) as rows:
        yield from plain_batches(rows.to_arrow_reader(BATCH_ROWS), wanted)
