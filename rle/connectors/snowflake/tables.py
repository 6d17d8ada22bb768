"""What Snowflake says of a table or view: its columns, keys, size, and when it was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rle.connectors.names import quote
from rle.connectors.snowflake import json as snowflake_json
from rle.connectors.snowflake import names
from rle.connectors.snowflake import types as snowflake_types
from rle.connectors.snowflake.moment import clause
from rle.errors import ConnectionError, NotSeenError, RLEError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

_SNIFFED_CHARACTERS = 100_000
# How a value is hashed whose type HASH does not take.
_HASHABLE = {
    "VECTOR": "CAST({} AS ARRAY)",
    "GEOGRAPHY": "ST_ASWKB({})",
    "GEOMETRY": "ST_ASWKB({})",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view as it is described now."""

    source: str
    """Full name as the user wrote it."""
    name: TableName
    moment: str | None
    """ISO 8601 moment as of which it is read; None: now."""
    schema: pa.Schema
    """Columns as Arrow; ARRAY and VARIANT are text here."""
    types: dict[str, str]
    """Snowflake's type of each column, in upper case, without what is in parentheses."""

    @property
    def sql(self) -> str:
        """What stands after FROM."""
        return self.name.sql + clause(self.moment)


def find(opened: Session, source: str, moment: str | None) -> Table:
    """Return what DESCRIBE says of a table or view.

    Raises:
        ValidationError: The name is malformed.
        UnknownNameError: There is nothing of this name, as far as the role can see; suggests the
            nearest of the same schema.
    """
    name = names.read(source)
    try:
        described = opened.rows(f"DESCRIBE TABLE {name.sql}")
    except NotSeenError as error:
        raise NotSeenError(
            "table or view", source, neighbours(opened, name), error.args[3]
        ) from None
    return Table(
        source=source,
        name=name,
        moment=moment,
        schema=pa.schema([(row["name"], snowflake_types.to_arrow(row)) for row in described]),
        types={row["name"]: snowflake_types.base_name(row) for row in described},
    )


def neighbours(opened: Session, name: TableName) -> list[str]:
    """Return the full names of what the role sees in a table's schema; none where it sees none."""
    try:
        rows = opened.rows(f"SHOW TERSE OBJECTS IN SCHEMA {name.schema_sql}")
    except RLEError:
        return []
    return [names.write((name.database, name.schema, row["name"])) for row in rows]


def with_lists(opened: Session, table: Table, schema: pa.Schema) -> pa.Schema:
    """Return a schema of the table with lists where ARRAY and VARIANT columns hold them.

    Costs one small query for each such column: their type says nothing of what is in them, so their
    first values are looked at.
    """
    for position, field in enumerate(schema):
        is_open = pa.types.is_string(field.type)
        if is_open and table.types[field.name] in snowflake_types.SEMI_STRUCTURED:
            kind = snowflake_json.kind_of(_first_values(opened, table, field.name))
            schema = schema.set(position, field.with_type(kind))
    return schema


def _first_values(opened: Session, table: Table, column: str) -> list[str | None]:
    # Cut, for a value may have 16 MB; what is cut is no JSON any more, and so text.
    name = quote(column)
    rows = opened.rows(
        f"SELECT LEFT({name}::VARCHAR, {_SNIFFED_CHARACTERS:d}) AS head FROM {table.sql} "  # noqa: S608
        f"WHERE {name} IS NOT NULL LIMIT {snowflake_json.SNIFFED_ROWS:d}"
    )
    return [row["head"] for row in rows]


def count_rows(opened: Session, table: Table) -> int:
    """Return the exact number of rows. Snowflake knows it of a table without reading it."""
    return int(opened.rows(f"SELECT COUNT(*) AS found FROM {table.sql}")[0]["found"])  # noqa: S608


def hash_list(table: Table, columns: Sequence[str]) -> str:
    """Return columns as HASH and HASH_AGG take them."""
    parts = [_HASHABLE.get(table.types[column], "{}").format(quote(column)) for column in columns]
    return ", ".join(parts) or "1"


def last_change(opened: Session, table: Table) -> str | None:
    """Return a text that changes with every change of a table's rows; None where there is none.

    Costs no scan. Of views, external tables and the like, Snowflake does not know when their rows
    changed.
    """
    sql = (
        f"SELECT table_type, last_altered, row_count, bytes FROM {quote(table.name.database)}."  # noqa: S608
        "INFORMATION_SCHEMA.TABLES WHERE table_schema = ? AND table_name = ?"
    )
    rows = opened.rows(sql, (table.name.schema, table.name.table))
    if not rows or rows[0]["table_type"] != "BASE TABLE" or rows[0]["last_altered"] is None:
        return None
    known: dict[str, Any] = rows[0]
    return "|".join(str(known[key]) for key in ("last_altered", "row_count", "bytes"))


def checksum(opened: Session, table: Table) -> str:
    """Return a checksum of the rows, whatever their order. Costs a scan."""
    hashed = hash_list(table, table.schema.names)
    row = opened.rows(
        f"SELECT COUNT(*) AS num_rows, HASH_AGG({hashed}) AS checksum FROM {table.sql}"  # noqa: S608
    )[0]
    return f"{row['num_rows']}|{row['checksum']}"


def primary_key(opened: Session, table: Table) -> list[str]:
    """Return the columns of the declared primary key, in order; none where there is none.

    Raises:
        ConnectionError: Snowflake cannot be reached, so nobody knows.
    """
    try:
        rows = opened.rows(f"SHOW PRIMARY KEYS IN TABLE {table.name.sql}")
    except ConnectionError:
        raise
    except RLEError:  # a view has none, and says so in words of its own
        return []
    ordered = sorted(rows, key=lambda row: int(row["key_sequence"]))
    return [row["column_name"] for row in ordered if row["column_name"] in table.types]


def cluster_by(opened: Session, table: Table) -> str | None:
    """Return what SHOW TABLES says a table is clustered by; None where it says nothing."""
    try:
        rows = opened.rows(f"SHOW TABLES IN SCHEMA {table.name.schema_sql}")
    except RLEError:
        return None
    return next((row.get("cluster_by") for row in rows if row["name"] == table.name.table), None)
