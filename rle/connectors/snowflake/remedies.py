"""What helps where Snowflake refuses: statements for an administrator, with the names in use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.connectors.snowflake import names

if TYPE_CHECKING:
    from rle.connectors.snowflake.names import TableName

_PART = r'(?:"(?:[^"\n]|"")+"|[A-Za-z_][\w$]*)'
_NAME = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")
_UNKNOWN = ("<database>", "<schema>", "<table>")
_DEPTH = {"DATABASE": 1, "SCHEMA": 2, "TABLE": 3, "VIEW": 3}
"""Parts of the full name of an object of a kind."""


@dataclass(frozen=True, slots=True)
class Where:
    """Who asks Snowflake for what; None for what is not known."""

    account: str | None = None
    user: str | None = None
    role: str | None = None
    """As SQL takes it, quoted where it needs to be."""
    warehouse: str | None = None
    """As SQL takes it."""
    table: TableName | None = None
    """The one table that is asked for."""
    address: str | None = None
    """Where Snowflake is called, if not at the account's usual address."""


def identifier(name: str) -> str:
    """Return a stored name as SQL takes it: plain where it can be, else in double quotes."""
    return names.write([name])


def grant_privilege(found: re.Match[str], where: Where) -> str:
    """Return the GRANT for an object that can be seen but not used; groups `kind` and `name`."""
    kind, role = found["kind"].upper(), where.role or "<role>"
    ask = " SELECT CURRENT_ROLE() names the role." if where.role is None else ""
    if kind == "ACCOUNT":
        return (
            f"Role {role} lacks a privilege on the account, such as CREATE DATABASE. Ask an "
            f"administrator (ACCOUNTADMIN) for it.{ask}"
        )
    name = found["name"] if _NAME.fullmatch(found["name"]) else "<name>"
    if where.table is not None and kind in _DEPTH and name != "<name>":
        full = where.table[: _DEPTH[kind]]
        # What is said may be short: its last part tells whether it is the one that was asked for.
        last = re.findall(_PART, name)[-1]
        if full[-1] in (last, names.fold(last)):
            name = names.write(full)
    use = {"TABLE": "SELECT", "VIEW": "SELECT", "STAGE": "READ, WRITE"}.get(kind, "USAGE")
    also = f" GRANT CREATE TABLE ON SCHEMA {name} TO ROLE {role};" if kind == "SCHEMA" else ""
    return f"Ask an administrator to run: GRANT {use} ON {kind} {name} TO ROLE {role};{also}{ask}"


def grant_sight(found: re.Match[str], where: Where) -> str:
    """Return the GRANTs that make an object seen, from its database down; groups as above."""
    kind, role = kind_of(found), where.role or "<role>"
    depth = _DEPTH.get(kind, len(_UNKNOWN))
    if where.table is not None and kind != "STAGE":
        full = [identifier(part) for part in where.table][:depth]
    else:
        name = found["name"] or ""
        parts = re.findall(_PART, name)[-depth:] if _NAME.fullmatch(name) else []
        full = [*_UNKNOWN[: depth - len(parts)], *parts]
    wanted = [f"GRANT USAGE ON DATABASE {full[0]} TO ROLE {role};"]
    if depth > 1:
        wanted.append(f"GRANT USAGE ON SCHEMA {'.'.join(full[:2])} TO ROLE {role};")
    if depth == len(_UNKNOWN):
        kind = "VIEW" if kind == "VIEW" else "TABLE"
        wanted.append(f"GRANT SELECT ON {kind} {'.'.join(full)} TO ROLE {role};")
    ask = " SELECT CURRENT_ROLE() names the role." if where.role is None else ""
    return (
        "Check how the name is spelt; one that is not all capitals needs double quotes. If it is "
        f"right, ask an administrator to run: {' '.join(wanted)}{ask}"
    )


def kind_of(found: re.Match[str]) -> str:
    """Return the kind of object that is meant, in capitals; OBJECT where it is not said."""
    return (found["kind"] or "OBJECT").upper()
