"""SHOW of tables, views, columns, schemas, databases, warehouses and stages.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from snowflake_accounts import SnowflakeError
from snowflake_catalog import shown, split_name
from snowflake_scope import GONE, NO_DATE, Rows, in_scope, moment

if TYPE_CHECKING:
    import re

    from snowflake_session import Session

_TABLES = ("created_on", "name", "database_name", "schema_name", "kind", "comment", "cluster_by",
           "rows", "bytes", "owner", "retention_time", "automatic_clustering", "change_tracking",
           "is_external", "owner_role_type")  # fmt: skip
_VIEWS = ("created_on", "name", "reserved", "database_name", "schema_name", "owner", "comment",
          "text", "is_secure", "is_materialized", "owner_role_type", "change_tracking")  # fmt: skip
_SCHEMAS = ("created_on", "name", "is_default", "is_current", "database_name", "owner", "comment",
            "options", "retention_time", "owner_role_type")  # fmt: skip
_DATABASES = ("created_on", "name", "is_default", "is_current", "origin", "owner", "comment",
              "options", "retention_time", "kind")  # fmt: skip
_COLUMNS = ("table_name", "schema_name", "column_name", "data_type", "null?", "default", "kind",
            "expression", "comment", "database_name", "autoincrement")  # fmt: skip
_WAREHOUSES = ("name", "state", "type", "size", "min_cluster_count", "max_cluster_count",
               "started_clusters", "running", "queued", "is_default", "is_current", "auto_suspend",
               "auto_resume", "owner", "comment")  # fmt: skip
_STAGES = ("created_on", "name", "database_name", "schema_name", "url", "has_credentials",
           "has_encryption_key", "owner", "comment", "region", "type", "cloud")  # fmt: skip


def tables(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW TABLES or SHOW OBJECTS."""
    word = match["what"].upper()
    rows = []
    for name, table in in_scope(session, match):
        if word == "TABLES" and table.kind == "VIEW":
            continue
        is_view = table.kind == "VIEW"
        is_own = session.account.has(session.role, "OWNERSHIP", table.kind, str(name))
        rows.append(
            {
                "created_on": moment(table.created),
                "name": name.table,
                "database_name": name.database,
                "schema_name": name.schema,
                "kind": "TEMPORARY" if table.owner_session else table.kind,
                "comment": table.comment,
                "cluster_by": table.cluster_by,
                "rows": None if is_view else str(session.catalog.num_rows(name)),
                "bytes": None if is_view else "0",
                "owner": session.role if is_own else "SYSADMIN",
                "retention_time": "1",
                "automatic_clustering": "ON" if table.cluster_by else "OFF",
                "change_tracking": "OFF",
                "is_external": "N",
                "owner_role_type": "ROLE",
            }
        )
    return _TABLES, rows


def views(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW VIEWS."""
    return _VIEWS, [
        {
            "created_on": moment(table.created),
            "name": name.table,
            "database_name": name.database,
            "schema_name": name.schema,
            "owner": "SYSADMIN",
            "text": table.view_sql,
            "is_secure": "false",
            "is_materialized": "false",
            "kind": "VIEW",
        }
        for name, table in in_scope(session, match)
        if table.kind == "VIEW"
    ]


def schemas(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW SCHEMAS."""
    database = split_name(match["in"])[0] if match["in"] else session.database
    everywhere = (match["scope"] or "").upper() == "ACCOUNT" or database is None
    if not everywhere and database not in session.catalog.schemas:
        raise SnowflakeError("002043", GONE, "02000")
    return _SCHEMAS, [
        {
            "created_on": NO_DATE,
            "name": schema,
            "is_current": "Y" if (db, schema) == (session.database, session.schema) else "N",
            "database_name": db,
            "owner": "SYSADMIN",
            "retention_time": "1",
            "owner_role_type": "ROLE",
        }
        for db, schemas in sorted(session.catalog.schemas.items())
        for schema in sorted(schemas | {"INFORMATION_SCHEMA"})
        if (everywhere or db == database)
        and session.may("USAGE", "SCHEMA", f"{shown(db)}.{shown(schema)}")
    ]


def databases(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW DATABASES."""
    return _DATABASES, [
        {
            "created_on": NO_DATE,
            "name": name,
            "is_current": "Y" if name == session.database else "N",
            "owner": "SYSADMIN",
            "retention_time": "1",
            "kind": "STANDARD",
        }
        for name in sorted(session.catalog.schemas)
        if session.may("USAGE", "DATABASE", shown(name))
    ]


def columns(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW COLUMNS."""
    rows = []
    for name, table in in_scope(session, match):
        for column, info in table.columns.items():
            entry = info.sf_type.rowtype(column, is_nullable=info.is_nullable)
            data = {"type": entry["type"].upper(), "nullable": info.is_nullable}
            wanted = ("precision", "scale", "length", "byteLength")
            data |= {key: entry[key] for key in wanted if entry[key] is not None}
            rows.append(
                {
                    "table_name": name.table,
                    "schema_name": name.schema,
                    "column_name": column,
                    "data_type": json.dumps(data),
                    "null?": str(info.is_nullable).lower(),
                    "default": info.default or "",
                    "kind": "COLUMN",
                    "comment": info.comment or "",
                    "database_name": name.database,
                }
            )
    return _COLUMNS, rows


def warehouses(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW WAREHOUSES."""
    return _WAREHOUSES, [
        {
            "name": warehouse.name,
            "state": "SUSPENDED" if warehouse.is_suspended else "STARTED",
            "type": "STANDARD",
            "size": "X-Small",
            "min_cluster_count": "1",
            "max_cluster_count": "1",
            "is_current": "Y" if warehouse.name == session.warehouse else "N",
            "auto_suspend": "600",
            "auto_resume": str(warehouse.resumes).lower(),
            "owner": "SYSADMIN",
        }
        for warehouse in session.account.warehouses.values()
        if session.may("USAGE", "WAREHOUSE", shown(warehouse.name))
    ]


def stages(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW STAGES."""
    return _STAGES, [
        {
            "created_on": NO_DATE,
            "name": name.table,
            "database_name": name.database,
            "schema_name": name.schema,
            "has_credentials": "N",
            "has_encryption_key": "N",
            "owner": "SYSADMIN",
            "type": "INTERNAL TEMPORARY" if stage.owner_session else "INTERNAL",
        }
        for name, stage in sorted(session.catalog.stages.items())
        if stage.owner_session in (None, session.id)
    ]
