"""Rows on their way to Snowflake: Parquet files of a good size, put on a stage, copied in."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from rle.connectors.arrow import plain_batches, plain_schema
from rle.connectors.names import quote
from rle.connectors.snowflake.columns import Column, columns_of
from rle.connectors.snowflake.scratch import disk_error
from rle.errors import ConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rle.connectors.base import NewTable
    from rle.connectors.snowflake.session import Session
    from rle.errors import StorageError

ROW_GROUP_ROWS = 131_072
"""Rows of a row group, unless its bytes are reached first."""
ROW_GROUP_BYTES = 32 * 2**20
"""Bytes in memory at which a row group is written: what a table costs while rows stream in."""
FILE_BYTES = 128 * 2**20
"""Size at which the next file is begun: Snowflake loads files of this size side by side."""


@dataclass(frozen=True, slots=True)
class Staged:
    """The rows of one table as files in a scratch folder."""

    columns: list[Column]
    files: list[Path]
    """In order; none where there are no rows."""
    num_rows: int
    num_values: list[int]
    """Of each column, the rows that are not NULL."""

    @property
    def is_direct(self) -> bool:
        """Whether COPY fills the table itself, with no second step."""
        return all(column.is_direct for column in self.columns)


def gather(
    tables: Sequence[NewTable], rows: Iterable[tuple[int, pa.RecordBatch]], folder: Path
) -> list[Staged]:
    """Write all rows to Parquet files. Memory is bounded by a row group per table.

    Args:
        tables: What the batches belong to.
        rows: Batches with the position of their table, in any order.
        folder: Empty; gets the files.

    Raises:
        ValidationError: A column has a type that Snowflake does not know.
        DataError: A vector has an element that is no number.
        StorageError: The disk is full or fails.
        Exception: Whatever `rows` raises.
    """
    with ExitStack() as stack:
        pens = [
            stack.enter_context(_Pen(table, folder, index)) for index, table in enumerate(tables)
        ]
        for index, batch in rows:
            pens[index].add(batch)
        for pen in pens:
            pen.finish()
    return [Staged(pen.columns, pen.files, pen.num_rows, pen.num_values) for pen in pens]


class _Pen:
    """Writes the rows of one table, row group by row group, file by file."""

    def __init__(self, table: NewTable, folder: Path, index: int) -> None:
        self.columns = columns_of(table.name, table.schema)
        self.files: list[Path] = []
        self.num_rows = 0
        self.num_values = [0] * len(self.columns)
        self._table, self._folder, self._index = table, folder, index
        self._given = plain_schema(table.schema)
        pairs = zip(file_names(self.columns), self.columns, strict=True)
        self._staged = pa.schema([(name, column.staged) for name, column in pairs])
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = self._num_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Pen:
        return self

    def __exit__(self, *_: object) -> None:
        # The files of a write that failed are deleted with their folder; closing may fail, too.
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            except OSError:
                return

    def add(self, batch: pa.RecordBatch) -> None:
        for plain in plain_batches([batch], self._given):
            arrays = [c.encode(values) for c, values in zip(self.columns, plain, strict=True)]
            encoded = pa.RecordBatch.from_arrays(arrays, schema=self._staged)
            for i, array in enumerate(arrays):
                self.num_values[i] += len(array) - array.null_count
            self._waiting.append(encoded)
            self._num_waiting += encoded.num_rows
            self._num_bytes += encoded.nbytes
            if self._num_waiting >= ROW_GROUP_ROWS or self._num_bytes >= ROW_GROUP_BYTES:
                self._flush()
        self.num_rows += batch.num_rows

    def finish(self) -> None:
        self._flush()
        self._end_file()

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        group = pa.Table.from_batches(self._waiting, schema=self._staged)
        self._waiting, self._num_waiting, self._num_bytes = [], 0, 0
        try:
            writer = self._writer or self._begin_file()
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            is_full = self.files[-1].stat().st_size >= FILE_BYTES
        except OSError as error:
            raise self._disk_error(error) from error
        if is_full:
            self._end_file()

    def _disk_error(self, error: OSError) -> StorageError:
        where = self._folder.parent
        return disk_error(error, doing=f"Gathering the rows of {self._table.name} in {where}")

    def _begin_file(self) -> pq.ParquetWriter:
        path = self._folder / f"{self._index}_{len(self.files):05d}.parquet"
        self._writer = pq.ParquetWriter(path, self._staged, compression="snappy")
        self.files.append(path)
        return self._writer

    def _end_file(self) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
        except OSError as error:
            raise self._disk_error(error) from error


def file_names(columns: Sequence[Column]) -> list[str]:
    """Return the names that a table's columns have in its files, and where COPY loads them."""
    if all(column.is_direct for column in columns):
        return [column.name for column in columns]
    return [f"C{i}" for i in range(len(columns))]


def create_sql(table_sql: str, columns: Sequence[Column]) -> str:
    """Return the statement that makes a hidden table with the names and types of the final one."""
    return _create("TABLE", table_sql, [(c.name, c.sql_type) for c in columns])


def landing_sql(table_sql: str, columns: Sequence[Column]) -> str:
    """Return the statement that makes a table as COPY can load it, to be dropped soon."""
    types = [column.loaded_type for column in columns]
    return _create("TRANSIENT TABLE", table_sql, zip(file_names(columns), types, strict=True))


def _create(what: str, table_sql: str, types: Iterable[tuple[str, str]]) -> str:
    # What has this name already is of an attempt before: nobody else knows it.
    listed = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in types)
    return f"CREATE OR REPLACE {what} {table_sql} ({listed})"


def copy_sql(table_sql: str, folder: str) -> str:
    """Return the statement that loads the files of a folder into a table, by column name."""
    return (
        f"COPY INTO {table_sql} FROM @{folder} "
        "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE) "
        "MATCH_BY_COLUMN_NAME = CASE_SENSITIVE ON_ERROR = ABORT_STATEMENT"
    )


def cast_sql(table_sql: str, landed_sql: str, columns: Sequence[Column]) -> str:
    """Return the statement that moves rows on from where they landed, to their own types."""
    names = ", ".join(quote(column.name) for column in columns)
    pairs = zip(file_names(columns), columns, strict=True)
    values = ", ".join(column.cast.format(quote(name)) for name, column in pairs)
    return f"INSERT INTO {table_sql} ({names}) SELECT {values} FROM {landed_sql}"  # noqa: S608


def fill(session: Session, table_sql: str, staged: Staged, *, folder: str, landing: str) -> None:
    """Make a table and load what was gathered; what has arrived is counted.

    Args:
        session: The stage is there for it.
        table_sql: Quoted full name of the table to be made.
        staged: The rows.
        folder: Of the stage, for this table alone: "DB"."SCHEMA"."STAGE"/0/.
        landing: Quoted full name of a table to land in, where one is needed.

    Raises:
        ConnectionError: Snowflake holds another number of rows or values than was sent.
    """
    session.execute(create_sql(table_sql, staged.columns))
    if not staged.files:
        return
    for file in staged.files:
        session.put(file, folder)
    if staged.is_direct:
        session.execute(copy_sql(table_sql, folder))
    else:
        session.execute(landing_sql(landing, staged.columns))
        session.execute(copy_sql(landing, folder))
        session.execute(cast_sql(table_sql, landing, staged.columns))
        session.execute(f"DROP TABLE IF EXISTS {landing}")
    check_counts(session, table_sql, staged)


def check_counts(session: Session, table_sql: str, staged: Staged) -> None:
    """Raise ConnectionError where a table does not hold the rows and values that were sent.

    A column that COPY did not find in a file is NULL in all rows, with no word said.
    """
    values = ", ".join(f"COUNT({quote(c.name)}) AS V{i}" for i, c in enumerate(staged.columns))
    (row,) = session.rows(f"SELECT COUNT(*) AS N, {values} FROM {table_sql}")  # noqa: S608
    found = [int(row["n"]), *(int(row[f"v{i}"]) for i in range(len(staged.columns)))]
    sent = [staged.num_rows, *staged.num_values]
    if found != sent:
        what = ["rows", *(f"values of {c.name!r}" for c in staged.columns)]
        index = next(
            i for i, pair in enumerate(zip(found, sent, strict=True)) if pair[0] != pair[1]
        )
        raise ConnectionError(
            f"Snowflake holds {found[index]} {what[index]} after {sent[index]} were sent to "
            f"{table_sql}. Nothing was made of it."
        )
