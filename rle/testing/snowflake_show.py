"""SHOW, DESCRIBE and INFORMATION_SCHEMA of the stand-in for Snowflake, with real keys and types.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from snowflake_accounts import SnowflakeError
from snowflake_catalog import NAME, Name, Table, shown, split_name
from snowflake_session import Answer, Session, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_DATE = "1970-01-01 00:00:00.000 +0000"
_DESCRIBE = ("name", "type", "kind", "null?", "default", "primary key", "unique key", "check",
             "expression", "comment", "policy name", "privacy domain")  # fmt: skip
_PRIMARY = ("created_on", "database_name", "schema_name", "table_name", "column_name",
            "key_sequence", "constraint_name", "rely", "comment")  # fmt: skip
_IMPORTED = ("created_on", "pk_database_name", "pk_schema_name", "pk_table_name", "pk_column_name",
             "fk_database_name", "fk_schema_name", "fk_table_name", "fk_column_name",
             "key_sequence", "update_rule", "delete_rule", "fk_name", "pk_name", "deferrability",
             "rely", "comment")  # fmt: skip
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
_GRANTS = ("created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name",
           "grant_option", "granted_by")  # fmt: skip
_STAGES = ("created_on", "name", "database_name", "schema_name", "url", "has_credentials",
           "has_encryption_key", "owner", "comment", "region", "type", "cloud")  # fmt: skip
_PARAMETERS = ("key", "value", "default", "level", "description", "type")
_FEW = ("created_on", "name", "kind", "database_name", "schema_name")
TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES")
SCHEMA_PRIVILEGES = ("USAGE", "CREATE TABLE", "CREATE VIEW", "CREATE STAGE")


def show(session: Session, sql: str) -> Answer:
    """Answer a SHOW statement."""
    text = re.sub(r"\s+", " ", sql.strip().rstrip(";"))
    for pattern, answer in _SHOWS:
        match = re.fullmatch(
            rf"SHOW (?P<terse>TERSE )?{pattern}"
            r"(?: LIKE '(?P<like>(?:[^']|'')*)')?"
            rf"(?: IN (?:(?P<scope>ACCOUNT|DATABASE|SCHEMA|TABLE|VIEW)\b ?)?(?P<in>{NAME})?)?"
            r"(?: STARTS WITH '[^']*')?(?: LIMIT (?P<limit>\d+).*)?",
            text,
            re.IGNORECASE,
        )
        if match:
            names, rows = answer(session, match)
            found = [row for row in rows if _like(row.get("name", ""), match["like"])]
            names = _FEW if match["terse"] else names
            return records(names, found[: int(match["limit"] or 10_000)])
    raise SnowflakeError("001003", f"SQL compilation error:\nunexpected '{text[:60]}'.", "42000")


def describe(session: Session, kind: str, name: Name) -> Answer:
    """Answer DESCRIBE TABLE or DESCRIBE VIEW."""
    table = session.see(name)
    rows = [
        {
            "name": column,
            "type": str(info.sf_type),
            "kind": "COLUMN",
            "null?": "Y" if info.is_nullable else "N",
            "default": info.default,
            "primary key": "Y" if column in table.primary else "N",
            "unique key": "Y" if (column,) in table.unique else "N",
            **dict.fromkeys(("check", "expression", "policy name", "privacy domain")),
            "comment": info.comment,
        }
        for column, info in table.columns.items()
    ]
    return records(_DESCRIBE, rows)


def grants_on(session: Session, role: str) -> list[dict[str, Any]]:
    """Return the rows of SHOW GRANTS TO ROLE."""
    catalog, account = session.catalog, session.account
    objects = [("WAREHOUSE", shown(name), ("USAGE", "OPERATE")) for name in account.warehouses]
    for database, schemas in catalog.schemas.items():
        objects.append(("DATABASE", shown(database), ("USAGE",)))
        names = [f"{shown(database)}.{shown(schema)}" for schema in schemas]
        objects += [("SCHEMA", name, SCHEMA_PRIVILEGES) for name in names]
    objects += [
        (table.kind, str(name), TABLE_PRIVILEGES if table.kind == "TABLE" else ("SELECT",))
        for name, table in catalog.tables.items()
    ]
    return [
        {
            "created_on": _NO_DATE,
            "privilege": privilege,
            "granted_on": kind,
            "name": name,
            "granted_to": "ROLE",
            "grantee_name": role,
            "grant_option": "false",
            "granted_by": "ACCOUNTADMIN",
        }
        for kind, name, privileges in objects
        for privilege in privileges
        if account.has(role, privilege, kind, name)
    ]


def _like(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    parts = [re.escape(part).replace("_", ".") for part in pattern.replace("''", "'").split("%")]
    return re.fullmatch(".*".join(parts), name, re.IGNORECASE | re.DOTALL) is not None


def _in_scope(session: Session, match: re.Match[str]) -> Iterator[tuple[Name, Table]]:
    """Tables and views the role sees in what `IN ...` names, by default the current schema."""
    scope, text = (match["scope"] or "").upper(), match["in"]
    parts = split_name(text) if text else []
    if scope in ("TABLE", "VIEW") or len(parts) == 3:
        name = session.full(parts)
        session.see(name)
        wanted = tuple(name)
    elif scope == "DATABASE":
        wanted = (parts[0] if parts else session.database or "",)
        if wanted[0] not in session.catalog.schemas:
            raise SnowflakeError("002043", _GONE, "02000")
    elif scope == "ACCOUNT":
        wanted = ()
    elif parts or session.schema is not None:
        full = session.full([*parts, ""] if parts else [""])
        session.check_usage(full)
        wanted = tuple(full[:2])
    else:
        wanted = (session.database,) if session.database else ()
    for name, table in sorted(session.catalog.tables.items()):
        hidden = table.owner_session not in (None, session.id)
        if tuple(name[: len(wanted)]) == wanted and not hidden and sees(session, name, table):
            yield name, table


_GONE = "SQL compilation error:\nObject does not exist, or operation cannot be performed."


def sees(session: Session, name: Name, table: Table) -> bool:
    """Say whether the role may do anything at all with a table or view."""
    if not session.may("USAGE", "SCHEMA", f"{shown(name.database)}.{shown(name.schema)}"):
        return False
    if not session.may("USAGE", "DATABASE", shown(name.database)):
        return False
    return session.may("ALL", table.kind, str(name))


Rows = tuple[tuple[str, ...], "list[dict[str, Any]]"]


def _tables(session: Session, match: re.Match[str]) -> Rows:
    word = match["what"].upper()
    rows = []
    for name, table in _in_scope(session, match):
        if word == "TABLES" and table.kind == "VIEW":
            continue
        is_view = table.kind == "VIEW"
        is_own = session.account.has(session.role, "OWNERSHIP", table.kind, str(name))
        rows.append(
            {
                "created_on": _moment(table.created),
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


def _views(session: Session, match: re.Match[str]) -> Rows:
    return _VIEWS, [
        {
            "created_on": _moment(table.created),
            "name": name.table,
            "database_name": name.database,
            "schema_name": name.schema,
            "owner": "SYSADMIN",
            "text": table.view_sql,
            "is_secure": "false",
            "is_materialized": "false",
            "kind": "VIEW",
        }
        for name, table in _in_scope(session, match)
        if table.kind == "VIEW"
    ]


def _schemas(session: Session, match: re.Match[str]) -> Rows:
    database = split_name(match["in"])[0] if match["in"] else session.database
    everywhere = (match["scope"] or "").upper() == "ACCOUNT" or database is None
    return _SCHEMAS, [
        {
            "created_on": _NO_DATE,
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


def _databases(session: Session, match: re.Match[str]) -> Rows:
    return _DATABASES, [
        {
            "created_on": _NO_DATE,
            "name": name,
            "is_current": "Y" if name == session.database else "N",
            "owner": "SYSADMIN",
            "retention_time": "1",
            "kind": "STANDARD",
        }
        for name in sorted(session.catalog.schemas)
        if session.may("USAGE", "DATABASE", shown(name))
    ]


def _columns(session: Session, match: re.Match[str]) -> Rows:
    rows = []
    for name, table in _in_scope(session, match):
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


def _primary(session: Session, match: re.Match[str]) -> Rows:
    return _PRIMARY, [
        {
            "created_on": _moment(table.created),
            "database_name": name.database,
            "schema_name": name.schema,
            "table_name": name.table,
            "column_name": column,
            "key_sequence": str(position),
            "constraint_name": table.primary_name,
            "rely": "false",
            "comment": None,
        }
        for name, table in _in_scope(session, match)
        for position, column in enumerate(table.primary, 1)
    ]


def _unique(session: Session, match: re.Match[str]) -> Rows:
    return _PRIMARY, [
        {
            "created_on": _moment(table.created),
            "database_name": name.database,
            "schema_name": name.schema,
            "table_name": name.table,
            "column_name": column,
            "key_sequence": str(position),
            "constraint_name": f"UNIQUE_{number}",
            "rely": "false",
            "comment": None,
        }
        for name, table in _in_scope(session, match)
        for number, columns in enumerate(table.unique, 1)
        for position, column in enumerate(columns, 1)
    ]


def _imported(session: Session, match: re.Match[str]) -> Rows:
    """Keys that the tables in scope point with."""
    return _IMPORTED, [
        row for name, table in _in_scope(session, match) for row in _links(session, name, table)
    ]


def _exported(session: Session, match: re.Match[str]) -> Rows:
    """Keys that point at the tables in scope."""
    targets = {name for name, _ in _in_scope(session, match)}
    return _IMPORTED, [
        row
        for name, table in session.catalog.tables.items()
        for row in _links(session, name, table)
        if Name(row["pk_database_name"], row["pk_schema_name"], row["pk_table_name"]) in targets
    ]


def _links(session: Session, name: Name, table: Table) -> Iterator[dict[str, Any]]:
    for key in table.foreign:
        target = session.catalog.tables.get(key.table)
        if target is None:
            continue  # its keys went with the table
        for position, (column, referenced) in enumerate(
            zip(key.columns, key.referenced, strict=True), 1
        ):
            yield {
                "created_on": _moment(table.created),
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


def _warehouses(session: Session, match: re.Match[str]) -> Rows:
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


def _stages(session: Session, match: re.Match[str]) -> Rows:
    return _STAGES, [
        {
            "created_on": _NO_DATE,
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


def _grants(session: Session, match: re.Match[str]) -> Rows:
    role = split_name(match["role"])[0] if match["role"] else session.role
    rows = grants_on(session, role)
    if match["on"]:
        # Whose name is asked for has fewer parts than what is current where it is short.
        kind, name = match["on"].upper(), split_name(match["object"])
        full = session.full(name) if kind in ("TABLE", "VIEW") else name
        text = ".".join(map(shown, full))
        rows = [
            r
            for r in grants_on(session, session.role)
            if (r["granted_on"], r["name"]) == (kind, text)
        ]
    return _GRANTS, rows


def _grants_to_user(session: Session, match: re.Match[str]) -> Rows:
    name = split_name(match["user"])[0]
    user = session.account.users.get(name)
    roles = user.roles if user is not None else ()
    names = ("created_on", "role", "granted_to", "grantee_name", "granted_by")
    return names, [
        {"created_on": _NO_DATE, "role": role, "granted_to": "USER", "grantee_name": name}
        for role in roles
    ]


def _show_parameters(session: Session, match: re.Match[str]) -> Rows:
    return _PARAMETERS, [
        {
            "key": key,
            "value": value,
            "default": "",
            "level": "SESSION",
            "type": "STRING",
            "name": key,
        }
        for key, value in sorted(session.parameters.items())
    ]


def _moment(when: Any) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " +0000"


_SHOWS: tuple[tuple[str, Callable[[Session, re.Match[str]], Rows]], ...] = (
    ("(?P<what>TABLES|OBJECTS)", _tables),
    ("VIEWS", _views),
    ("SCHEMAS", _schemas),
    ("DATABASES", _databases),
    ("COLUMNS", _columns),
    ("PRIMARY KEYS", _primary),
    ("UNIQUE KEYS", _unique),
    ("IMPORTED KEYS", _imported),
    ("EXPORTED KEYS", _exported),
    ("WAREHOUSES", _warehouses),
    ("STAGES", _stages),
    (
        (
            rf"GRANTS(?: TO ROLE (?P<role>{NAME}))?"
            rf"(?: ON (?P<on>TABLE|VIEW|SCHEMA|DATABASE|WAREHOUSE) (?P<object>{NAME}))?"
        ),
        _grants,
    ),
    (rf"GRANTS TO USER (?P<user>{NAME})", _grants_to_user),
    ("PARAMETERS", _show_parameters),
)
