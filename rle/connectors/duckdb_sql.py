"""The statements that the DuckDB connector runs. Names are quoted, numbers are numbers."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from rle.connectors.arrow import plain_batches, plain_schema, spread, take_runs
from rle.connectors.duckdb_file import BATCH_ROWS, select_list
from rle.connectors.names import quote
from rle.connectors.swap import taken
from rle.errors import OutputExistsError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TABLES = """
    SELECT schema_name, table_name, true FROM duckdb_tables()
    WHERE database_name = current_database() AND NOT internal AND NOT temporary
    UNION ALL
    SELECT schema_name, view_name, false FROM duckdb_views()
    WHERE database_name = current_database() AND NOT internal AND NOT temporary
    ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view as the file knows it."""

    sql: str
    """Quoted full name."""
    schema: pa.Schema
    has_row_ids: bool
    """Whether rows can be asked for by number: tables yes, views no."""


def list_tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, bool]]:
    """Return schema, name and whether it is a table (not a view), sorted."""
    return con.execute(_TABLES).fetchall()


def find_table(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> Relation | None:
    """Return the table or view of this name in any case, None where there is none."""
    found = _find(con, schema, table)
    return None if found is None else describe(con, *found)


def describe(con: duckdb.DuckDBPyConnection, schema: str, table: str, is_table: bool) -> Relation:
    """Return what `list_tables` has found, with its columns."""
    sql = full_name(con, schema, table)
    described = con.sql(f"SELECT * FROM {sql} LIMIT 0").to_arrow_table()  # noqa: S608
    # A column called rowid would hide the row numbers.
    hidden = any(name.casefold() == "rowid" for name in described.schema.names)
    return Relation(sql, plain_schema(described.schema), is_table and not hidden)


def full_name(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> str:
    """Return the quoted three-part name; two parts are ambiguous in a file called main.duckdb."""
    database = con.execute("SELECT current_database()").fetchall()[0][0]
    return ".".join(map(quote, (database, schema, table)))


def count_rows(con: duckdb.DuckDBPyConnection, relation: Relation) -> int:
    """Return the exact number of rows."""
    rows = con.execute(f"SELECT count(*) FROM {relation.sql}").fetchall()  # noqa: S608
    return int(rows[0][0])


def end_row_id(con: duckdb.DuckDBPyConnection, relation: Relation) -> int:
    """Return the row id after the last; above the number of rows where rows were deleted."""
    rows = con.execute(f"SELECT max(rowid) + 1 FROM {relation.sql}").fetchall()  # noqa: S608
    return int(rows[0][0] or 0)


def checksum(con: duckdb.DuckDBPyConnection, relation: Relation) -> str:
    """Return a checksum of schema and rows, whatever their order. One scan."""
    count, total = con.execute(
        f'SELECT count(*), sum(hash("rle row")) FROM {relation.sql} AS "rle row"'  # noqa: S608
    ).fetchall()[0]
    text = f"{relation.schema.to_string()}|{count}|{total}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def select_rows(
    con: duckdb.DuckDBPyConnection,
    relation: Relation,
    schema: pa.Schema,
    row_ids: Sequence[tuple[int, int]] = (),
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `schema`, of all rows or of ranges of row ids [start, stop)."""
    # One query for all ranges: with 2,000 columns, planning costs more than reading.
    ranges = " OR ".join(f"(rowid >= {start:d} AND rowid < {stop:d})" for start, stop in row_ids)
    where = f" WHERE {ranges}" if ranges else ""
    query = f"SELECT {select_list(schema.names)} FROM {relation.sql}{where}"  # noqa: S608
    yield from plain_batches(con.sql(query).to_arrow_reader(BATCH_ROWS), schema)


def sample_rows(
    con: duckdb.DuckDBPyConnection, relation: Relation, schema: pa.Schema, max_rows: int
) -> pa.Table:
    """Return the columns of `schema` of rows spread evenly over a table or view."""
    num_rows = count_rows(con, relation)
    if relation.has_row_ids and num_rows > max_rows:
        batches = list(
            select_rows(con, relation, schema, spread(end_row_id(con, relation), max_rows))
        )
    else:
        batches = list(take_runs(select_rows(con, relation, schema), spread(num_rows, max_rows)))
    return pa.Table.from_batches(batches, schema=schema)


def check_free(
    con: duckdb.DuckDBPyConnection, name: str, schema: str, table: str, *, replace: bool = False
) -> None:
    """Raise where a table cannot be created: its schema is not there, or its name is taken.

    Args:
        con: Connection.
        name: Full name as the user wrote it, for the error.
        schema: Schema part of it.
        table: Table part of it.
        replace: Whether a table (not a view) of this name may be there.

    Raises:
        UnknownNameError: There is no such schema.
        OutputExistsError: There is a table or view of this name.
    """
    rows = con.execute(
        "SELECT schema_name FROM duckdb_schemas() "
        "WHERE database_name = current_database() AND NOT internal "
        "UNION SELECT 'main'"
    ).fetchall()
    known = sorted(row[0] for row in rows)
    if schema.casefold() not in {k.casefold() for k in known}:
        raise UnknownNameError(f"schema for {name}", schema, known)
    found = _find(con, schema, table)
    if found is not None and replace and not found[2]:
        raise OutputExistsError(f"{name} is a view, so it is not replaced. Choose another alias.")
    if found is not None and not replace:
        raise OutputExistsError(taken(name))


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in one transaction: all of it counts, or nothing where it raises."""
    con.begin()
    try:
        yield
        commit(con)
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction itself
            con.rollback()
        raise


def commit(con: duckdb.DuckDBPyConnection) -> None:
    """Make what the transaction did visible to all, at once."""
    con.commit()


def drop_table(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    """Remove a table, where there is one of this name in any case."""
    found = _find(con, schema, table)
    if found is not None:
        con.execute(f"DROP TABLE {full_name(con, found[0], found[1])}")


def create_table(
    con: duckdb.DuckDBPyConnection, name: str, rows: pa.RecordBatchReader, sql: str
) -> None:
    """Create a table from Arrow rows.

    Args:
        con: Connection that may write.
        name: Full name as the user wrote it, for the error.
        rows: What to put in.
        sql: Quoted full name.
    """
    con.register("rle_incoming", rows)
    try:
        con.execute(f"CREATE TABLE {sql} AS SELECT * FROM rle_incoming").fetchall()  # noqa: S608
    except (duckdb.CatalogException, duckdb.TransactionException) as error:
        # The second: another thread of this process created it since the transaction began.
        if not any(why in str(error) for why in ("already exists", "conflict on create")):
            raise
        raise OutputExistsError(taken(name)) from error
    finally:
        with suppress(duckdb.Error):  # a transaction that has failed refuses that too
            con.unregister("rle_incoming")


def _find(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> tuple[str, str, bool] | None:
    """Schema, name and whether it is a table (not a view), of what has this name in any case."""
    wanted = (schema.casefold(), table.casefold())
    for found in list_tables(con):
        if (found[0].casefold(), found[1].casefold()) == wanted:
            return found
    return None
