"""The keys that a DuckDB file declares, with each name spelt as the table spells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.connectors.keys import DeclaredLink, TableKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

_CONSTRAINTS = """
    SELECT constraint_type, constraint_column_names, referenced_table, referenced_column_names
    FROM duckdb_constraints()
    WHERE database_name = current_database()
        AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)
    ORDER BY constraint_index
"""
_COLUMNS = """
    SELECT schema_name, table_name, column_name FROM duckdb_columns()
    WHERE database_name = current_database() AND lower(schema_name) = lower(?)
"""


def declared_keys(
    con: duckdb.DuckDBPyConnection, schema: str, table: str, *, name: Callable[[str, str], str]
) -> TableKeys:
    """Return the keys of a table; none for a view.

    Args:
        con: Connection.
        schema: Schema of the table, in any case.
        table: The table, in any case.
        name: Makes a full name of the names of a schema and a table.
    """
    # A constraint keeps names as its author typed them, in any case.
    tables: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    for found_schema, found_table, column in con.execute(_COLUMNS, [schema]).fetchall():
        schema = found_schema
        tables[found_table.casefold()] = found_table
        columns[found_table.casefold(), column.casefold()] = column

    def spelt(owner: str, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(columns[owner.casefold(), column.casefold()] for column in names)

    primary: tuple[str, ...] | None = None
    unique: list[tuple[str, ...]] = []
    foreign: list[DeclaredLink] = []
    for kind, own, target, keys in con.execute(_CONSTRAINTS, [schema, table]).fetchall():
        if kind == "PRIMARY KEY":
            primary = spelt(table, own)
        elif kind == "UNIQUE":
            unique.append(spelt(table, own))
        elif kind == "FOREIGN KEY":
            # DuckDB links tables of one schema only.
            source = name(schema, tables[target.casefold()])
            foreign.append(DeclaredLink(spelt(table, own), source, spelt(target, keys)))
    return TableKeys(primary, tuple(unique), tuple(foreign))
