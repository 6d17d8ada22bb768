"""SHOW GRANTS: what a role holds, and which roles a user has.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snowflake_catalog import shown, split_name
from snowflake_scope import NO_DATE, Rows

if TYPE_CHECKING:
    import re

    from snowflake_session import Session

_GRANTS = ("created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name",
           "grant_option", "granted_by")  # fmt: skip
TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES")
SCHEMA_PRIVILEGES = ("USAGE", "CREATE TABLE", "CREATE VIEW", "CREATE STAGE")


def grants_on(session: Session, role: str) -> list[dict[str, Any]]:
    """Return the rows of SHOW GRANTS TO ROLE."""
    closed = session.account.closed.get(role)
    held = _held_by_default(session, role) if closed is None else sorted(closed)
    return [
        {
            "created_on": NO_DATE,
            "privilege": privilege,
            "granted_on": kind,
            "name": name,
            "granted_to": "ROLE",
            "grantee_name": role,
            "grant_option": "false",
            "granted_by": "ACCOUNTADMIN",
        }
        for privilege, kind, name in held
    ]


def _held_by_default(session: Session, role: str) -> list[tuple[str, str, str]]:
    """Return what a role holds that has everything but what was revoked."""
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
        (privilege, kind, name)
        for kind, name, privileges in objects
        for privilege in privileges
        if account.has(role, privilege, kind, name)
    ]


def grants(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW GRANTS TO ROLE or ON an object."""
    role = split_name(match["role"])[0] if match["role"] else session.role
    rows = grants_on(session, role)
    if match["on"]:
        # Whose name is asked for has fewer parts than what is current where it is short.
        kind, name = match["on"].upper(), split_name(match["object"])
        full = session.full(name) if kind in ("TABLE", "VIEW") else name
        text = ".".join(map(shown, full))
        rows = [
            r
            for role in sorted({session.role, *session.account.closed})
            for r in grants_on(session, role)
            if (r["granted_on"], r["name"]) == (kind, text)
        ]
    return _GRANTS, rows


def grants_to_user(session: Session, match: re.Match[str]) -> Rows:
    """Return the rows of SHOW GRANTS TO USER."""
    name = split_name(match["user"])[0]
    user = session.account.users.get(name)
    roles = user.roles if user is not None else ()
    names = ("created_on", "role", "granted_to", "grantee_name", "granted_by")
    return names, [
        {"created_on": NO_DATE, "role": role, "granted_to": "USER", "grantee_name": name}
        for role in roles
    ]
