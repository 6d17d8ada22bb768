"""SHOW and DESCRIBE of the stand-in for Snowflake, with real keys and types.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import snowflake_show_grants as grants
import snowflake_show_keys as keys
import snowflake_show_objects as objects
from snowflake_accounts import SnowflakeError
from snowflake_catalog import NAME
from snowflake_session import Answer, Session, records

if TYPE_CHECKING:
    from collections.abc import Callable

    from snowflake_catalog import Name
    from snowflake_scope import Rows

_DESCRIBE = ("name", "type", "kind", "null?", "default", "primary key", "unique key", "check",
             "expression", "comment", "policy name", "privacy domain")  # fmt: skip
_PARAMETERS = ("key", "value", "default", "level", "description", "type")
_TEXT = r"'(?:[^'\\]|''|\\.)*'"
_QUOTED = rf'("(?:[^"]|"")*"|{_TEXT})'
MAX_ROWS = 10_000
"""Rows that SHOW returns at most."""
_FEW = ("created_on", "name", "kind", "database_name", "schema_name")


def show(session: Session, sql: str) -> Answer:
    """Answer a SHOW statement: at most `MAX_ROWS` rows, in the order of names."""
    text = re.sub(_QUOTED + r"|\s+", lambda found: found[1] or " ", sql.strip().rstrip(";"))
    for pattern, answer in _SHOWS:
        match = re.fullmatch(
            rf"SHOW (?P<terse>TERSE )?{pattern}(?: LIKE (?P<like>{_TEXT}))?"
            rf"(?: IN (?:(?P<scope>ACCOUNT|DATABASE|SCHEMA|TABLE|VIEW)\b ?)?(?P<in>{NAME})?)?"
            rf"(?: STARTS WITH (?P<start>{_TEXT}))?"
            rf"(?: LIMIT (?P<limit>\d+)(?: FROM (?P<after>{_TEXT}))?)?",
            text,
            re.IGNORECASE,
        )
        if match:
            names, rows = answer(session, match)
            like, start, after = (_unquoted(match[part]) for part in ("like", "start", "after"))
            found = [
                row
                for row in rows
                if _like(row.get("name", ""), like)
                and row.get("name", "").startswith(start or "")
                and (after is None or row.get("name", "") > after)
            ]
            names = _FEW if match["terse"] else names
            return records(names, found[: min(int(match["limit"] or MAX_ROWS), MAX_ROWS)])
    raise SnowflakeError("001003", f"SQL compilation error:\nunexpected '{text[:60]}'.", "42000")


def _unquoted(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\\(.)|'(')", r"\1\2", text[1:-1], flags=re.DOTALL)


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


def _like(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    parts = [re.escape(part).replace("_", ".") for part in pattern.split("%")]
    return re.fullmatch(".*".join(parts), name, re.IGNORECASE | re.DOTALL) is not None


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


_SHOWS: tuple[tuple[str, Callable[[Session, re.Match[str]], Rows]], ...] = (
    ("(?P<what>TABLES|OBJECTS)", objects.tables),
    ("VIEWS", objects.views),
    ("SCHEMAS", objects.schemas),
    ("DATABASES", objects.databases),
    ("COLUMNS", objects.columns),
    ("PRIMARY KEYS", keys.primary),
    ("UNIQUE KEYS", keys.unique),
    ("IMPORTED KEYS", keys.imported),
    ("EXPORTED KEYS", keys.exported),
    ("WAREHOUSES", objects.warehouses),
    ("STAGES", objects.stages),
    (
        (
            rf"GRANTS(?: TO ROLE (?P<role>{NAME}))?"
            rf"(?: ON (?P<on>TABLE|VIEW|SCHEMA|DATABASE|WAREHOUSE) (?P<object>{NAME}))?"
        ),
        grants.grants,
    ),
    (rf"GRANTS TO USER (?P<user>{NAME})", grants.grants_to_user),
    ("PARAMETERS", _show_parameters),
)
