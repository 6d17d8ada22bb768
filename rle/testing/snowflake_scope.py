"""Which tables and views a role sees, and in which place.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snowflake_accounts import SnowflakeError
from snowflake_catalog import Name, Table, shown, split_name

if TYPE_CHECKING:
    import datetime as dt
    import re
    from collections.abc import Iterator

    from snowflake_session import Session

Rows = tuple[tuple[str, ...], list[dict[str, Any]]]
"""Columns of an answer of SHOW, and its rows."""
NO_DATE = "1970-01-01 00:00:00.000 +0000"
GONE = "SQL compilation error:\nObject does not exist, or operation cannot be performed."


def in_scope(session: Session, match: re.Match[str]) -> Iterator[tuple[Name, Table]]:
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
            raise SnowflakeError("002043", GONE, "02000")
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


def sees(session: Session, name: Name, table: Table) -> bool:
    """Say whether the role may do anything at all with a table or view."""
    if not session.may("USAGE", "SCHEMA", f"{shown(name.database)}.{shown(name.schema)}"):
        return False
    if not session.may("USAGE", "DATABASE", shown(name.database)):
        return False
    return session.may("ALL", table.kind, str(name))


def moment(when: dt.datetime) -> str:
    """Return a moment as SHOW writes it."""
    return when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " +0000"
