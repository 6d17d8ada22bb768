"""The keys that a DuckDB file declares, with each name spelt as the table spells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.connectors.keys import DeclaredLink, TableKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

_CONSTRAINTS = """
    SELECT table_name, constraint_type, constraint_column_names, referenced_table,
        referenced_column_names
    FROM duckdb_constraints()
    WHERE database_name = current_database() AND lower(schema_name) = lower(?)
        AND constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY')
    ORDER BY table_name, constraint_index
"""
_COLUMNS = """
    SELECT schema_name, table_name, column_name FROM duckdb_columns()
    WHERE database_name = current_database() AND lower(schema_name) = lower(?)
"""


def declared_keys(
    con: duckdb.DuckDBPyConnection, schema: str, *, name: Callable[[str, str], str]
) -> dict[str, TableKeys]:
    """Return the keys of the tables of a schema, by casefolded name; no table without a key.

    Args:
        con: Connection.
        schema: The schema, in any case.
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

    primary: dict[str, tuple[str, ...]] = {}
    unique: dict[str, list[tuple[str, ...]]] = {}
    foreign: dict[str, list[DeclaredLink]] = {}
    for table, kind, own, target, keys in con.execute(_CONSTRAINTS, [schema]).fetchall():
        owner = table.casefold()
        if kind == "PRIMARY KEY":
            primary[owner] = spelt(table, own)
        elif kind == "UNIQUE":
            unique.setdefault(owner, []).append(spelt(table, own))
        else:
            # DuckDB links tables of one schema only.
            source = name(schema, tables[target.casefold()])
            link = DeclaredLink(spelt(table, own), source, spelt(target, keys))
            foreign.setdefault(owner, []).append(link)
    return {
        owner: TableKeys(
            primary.get(owner), tuple(unique.get(owner, ())), tuple(foreign.get(owner, ()))
        )
        for owner in {*primary, *unique, *foreign}
    }
