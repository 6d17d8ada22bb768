"""SHOW of primary, unique, imported and exported keys.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snowflake_catalog import Name
from snowflake_scope import Rows, in_scope, moment

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

    from snowflake_catalog import Table
    from snowflake_session import Session

_PRIMARY = ("created_on", "database_name", "schema_name", "table_name", "column_name",
            "key_sequence", "constraint_name", "rely", "comment")  # fmt: skip
_IMPORTED = ("created_on", "pk_database_name", "pk_schema_name", "pk_table_name", "pk_column_name",
             "fk_database_name", "fk_schema_name", "fk_table_name", "fk_column_name",
             "key_sequence", "update_rule", "delete_rule", "fk_name", "pk_name", "deferrability",
             "rely", "comment")  # fmt: skip


def primary(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW PRIMARY KEYS."""
    return _PRIMARY, [
        row
        for name, table in in_scope(session, match)
        for row in _columns(name, table, table.primary, table.primary_name)
    ]


def unique(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW UNIQUE KEYS."""
    return _PRIMARY, [
        row
        for name, table in in_scope(session, match)
        for number, columns in enumerate(table.unique, 1)
        for row in _columns(name, table, columns, f"UNIQUE_{number}")
    ]


def imported(session: Session, match: re.Match[str]) -> Rows:
    """Keys that the tables in scope point with."""
    return _IMPORTED, [
        row for name, table in in_scope(session, match) for row in _links(session, name, table)
    ]


def exported(session: Session, match: re.Match[str]) -> Rows:
    """Keys that point at the tables in scope."""
    targets = {name for name, _ in in_scope(session, match)}
    return _IMPORTED, [
        row
        for name, table in session.catalog.tables.items()
        for row in _links(session, name, table)
        if Name(row["pk_database_name"], row["pk_schema_name"], row["pk_table_name"]) in targets
    ]


def _columns(
    name: Name, table: Table, columns: Sequence[str], constraint: str
) -> Iterator[dict[str, Any]]:
    for position, column in enumerate(columns, 1):
        yield {
            "created_on": moment(table.created),
            "database_name": name.database,
            "schema_name": name.schema,
            "table_name": name.table,
            "column_name": column,
            "key_sequence": str(position),
            "constraint_name": constraint,
            "rely": "false",
            "comment": None,
        }


def _links(session: Session, name: Name, table: Table) -> Iterator[dict[str, Any]]:
    for key in table.foreign:
        target = session.catalog.tables.get(key.table)
        if target is None:
            continue  # its keys went with the table
        for position, (column, referenced) in enumerate(
            zip(key.columns, key.referenced, strict=True), 1
        ):
            yield {
                "created_on": moment(table.created),
                "pk_database_name": key.table.database,
                "pk_schema_name": key.table.schema,
                "pk_table_name": key.table.table,
                "pk_column_name": referenced,
                "fk_database_name": name.database,
                "fk_schema_name": name.schema,
                "fk_table_name": name.table,
                "fk_column_name": column,
                "key_sequence": str(position),
                "update_rule": "NO ACTION",
                "delete_rule": "NO ACTION",
                "fk_name": key.name,
                "pk_name": target.primary_name,
                "deferrability": "NOT DEFERRABLE",
                "rely": "false",
                "comment": None,
            }
