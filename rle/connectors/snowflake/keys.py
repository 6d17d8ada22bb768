"""The keys that an account declares for a table; Snowflake checks no row against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rle.connectors.keys import DeclaredLink, TableKeys
from rle.connectors.names import quote
from rle.connectors.snowflake import names
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.session import session
from rle.errors import ConnectionError, PermissionError, RLEError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rle.connectors.snowflake.connector import SnowflakeConnector

Rows = list[dict[str, Any]]

MAX_SHOWN = 10_000
"""Rows that SHOW returns at most."""

_PARENT = ("pk_database_name", "pk_schema_name", "pk_table_name")


def table_keys(connector: SnowflakeConnector, source: str) -> TableKeys:
    """Return the keys that are declared for a table; none for a view. See `Connector.table_keys`.

    Needs any privilege on the table, and no warehouse.
    """
    name = names.read(source)
    with session(connector, doing=f"reading the keys of {name}", table=name) as opened:
        try:
            primary, unique, imported = (
                opened.rows(f"SHOW {kind} KEYS IN TABLE {name.sql}")
                for kind in ("PRIMARY", "UNIQUE", "IMPORTED")
            )
        except (UnknownNameError, PermissionError):
            opened.execute(f"DESCRIBE TABLE {name.sql}")  # says so where there is nothing at all
            return TableKeys()  # a view
    return read_keys(primary, unique, imported)


def schema_keys(
    connector: SnowflakeConnector, database: str, schema: str
) -> dict[TableName, TableKeys] | None:
    """Return the keys of all tables of a schema, by three statements that need no warehouse.

    Args:
        connector: The account.
        database: Exact name of the database.
        schema: Exact name of the schema.

    Returns:
        Keys by table, without the tables that have none; None where Snowflake does not tell, or
        has more than it tells at a time, so that each table is to be asked for by itself.

    Raises:
        ConnectionError: Snowflake cannot be asked.
    """
    where = f"{quote(database)}.{quote(schema)}"
    shown = names.write((database, schema))
    with session(connector, doing=f"reading the keys of {shown}") as opened:
        try:
            found = [
                opened.rows(f"SHOW {kind} KEYS IN SCHEMA {where}")
                for kind in ("PRIMARY", "UNIQUE", "IMPORTED")
            ]
        except ConnectionError:
            raise
        except RLEError:
            return None
    if any(len(rows) >= MAX_SHOWN for rows in found):
        return None
    by_table: dict[TableName, tuple[Rows, Rows, Rows]] = {}
    for place, (rows, prefix) in enumerate(zip(found, ("", "", "fk_"), strict=True)):
        for row in rows:
            parts = (row[f"{prefix}{part}_name"] for part in ("database", "schema", "table"))
            by_table.setdefault(TableName(*parts), ([], [], []))[place].append(row)
    return {name: read_keys(*rows) for name, rows in by_table.items()}


def read_keys(primary: Rows, unique: Rows, imported: Rows) -> TableKeys:
    """Read what SHOW says of one table.

    Args:
        primary: Rows of SHOW PRIMARY KEYS, one per column, in any order.
        unique: Rows of SHOW UNIQUE KEYS.
        imported: Rows of SHOW IMPORTED KEYS: the table's links to others.
    """
    own = _grouped(primary, ("constraint_name",))
    links = _grouped(imported, ("fk_name", *_PARENT))
    return TableKeys(
        primary=_column(own[0], "column_name") if own else None,
        unique=tuple(_column(key, "column_name") for key in _grouped(unique, ("constraint_name",))),
        foreign=tuple(
            DeclaredLink(
                columns=_column(link, "fk_column_name"),
                source=str(TableName(*(link[0][part] for part in _PARENT))),
                keys=_column(link, "pk_column_name"),
            )
            for link in links
        ),
    )


def _grouped(rows: Rows, by: Sequence[str]) -> list[Rows]:
    """Return the rows of each key, keys as they come, columns in the key's order."""
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [sorted(group, key=lambda row: int(row["key_sequence"])) for group in groups.values()]


def _column(rows: Iterable[dict[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(row[name] for row in rows)
