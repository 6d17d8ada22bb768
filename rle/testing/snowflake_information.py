"""INFORMATION_SCHEMA of the stand-in for Snowflake: TABLES, VIEWS, COLUMNS and SCHEMATA.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from snowflake_accounts import SnowflakeError
from snowflake_catalog import shown
from snowflake_scope import sees

if TYPE_CHECKING:
    from snowflake_catalog import Catalog, Name, Table
    from snowflake_session import Session


def information(session: Session, database: str, view: str) -> pa.Table:
    """Return the rows of a view of INFORMATION_SCHEMA.

    Raises:
        SnowflakeError: There is no such view here.
    """
    catalog: Catalog = session.catalog
    seen = [
        (name, table)
        for name, table in sorted(catalog.tables.items())
        if name.database == database and sees(session, name, table)
    ]
    if view in ("TABLES", "VIEWS"):
        return _information_tables(catalog, seen, view)
    if view == "COLUMNS":
        return _information_columns(seen)
    if view == "SCHEMATA":
        names = [
            schema
            for schema in sorted(catalog.schemas.get(database, ()))
            if session.may("USAGE", "SCHEMA", f"{shown(database)}.{shown(schema)}")
        ]
        return pa.table(
            {
                "CATALOG_NAME": pa.array([database] * len(names)),
                "SCHEMA_NAME": pa.array(names, pa.string()),
            }
        )
    raise SnowflakeError(
        "002003",
        f"SQL compilation error:\nObject '{shown(database)}.INFORMATION_SCHEMA.{shown(view)}' does "
        "not exist or not authorized.",
        "02000",
    )


def _information_tables(catalog: Catalog, seen: list[tuple[Name, Table]], view: str) -> pa.Table:
    if view == "VIEWS":
        seen = [pair for pair in seen if pair[1].kind == "VIEW"]
    is_view = [table.kind == "VIEW" for _, table in seen]
    moments = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "TABLE_CATALOG": pa.array([name.database for name, _ in seen], pa.string()),
            "TABLE_SCHEMA": pa.array([name.schema for name, _ in seen], pa.string()),
            "TABLE_NAME": pa.array([name.table for name, _ in seen], pa.string()),
            "TABLE_OWNER": pa.array(["SYSADMIN"] * len(seen), pa.string()),
            "TABLE_TYPE": pa.array(["VIEW" if v else "BASE TABLE" for v in is_view], pa.string()),
            "CLUSTERING_KEY": pa.array([t.cluster_by or None for _, t in seen], pa.string()),
            "ROW_COUNT": pa.array(
                [
                    None if v else catalog.num_rows(n)
                    for (n, _), v in zip(seen, is_view, strict=True)
                ],
                pa.int64(),
            ),
            "BYTES": pa.array([None if v else 0 for v in is_view], pa.int64()),
            "RETENTION_TIME": pa.array([1] * len(seen), pa.int64()),
            "CREATED": pa.array([table.created for _, table in seen], moments),
            "LAST_ALTERED": pa.array([table.changed for _, table in seen], moments),
            "COMMENT": pa.array([table.comment for _, table in seen], pa.string()),
        }
    )


def _information_columns(seen: list[tuple[Name, Table]]) -> pa.Table:
    rows = [
        (name, column, position, info, info.sf_type.rowtype(column))
        for name, table in seen
        for position, (column, info) in enumerate(table.columns.items(), 1)
    ]
    return pa.table(
        {
            "TABLE_CATALOG": pa.array([row[0].database for row in rows], pa.string()),
            "TABLE_SCHEMA": pa.array([row[0].schema for row in rows], pa.string()),
            "TABLE_NAME": pa.array([row[0].table for row in rows], pa.string()),
            "COLUMN_NAME": pa.array([row[1] for row in rows], pa.string()),
            "ORDINAL_POSITION": pa.array([row[2] for row in rows], pa.int64()),
            "COLUMN_DEFAULT": pa.array([row[3].default for row in rows], pa.string()),
            "IS_NULLABLE": pa.array(
                ["YES" if row[3].is_nullable else "NO" for row in rows], pa.string()
            ),
            "DATA_TYPE": pa.array([_data_type(row[3].sf_type.name) for row in rows], pa.string()),
            "CHARACTER_MAXIMUM_LENGTH": pa.array([row[4]["length"] for row in rows], pa.int64()),
            "NUMERIC_PRECISION": pa.array(
                [row[3].sf_type.precision or None for row in rows], pa.int64()
            ),
            "NUMERIC_SCALE": pa.array(
                [row[4]["scale"] if row[3].sf_type.name == "NUMBER" else None for row in rows],
                pa.int64(),
            ),
            "COMMENT": pa.array([row[3].comment for row in rows], pa.string()),
        }
    )


def _data_type(name: str) -> str:
    return "TEXT" if name == "VARCHAR" else name
