"""Every statement the stand-in for Snowflake answers by itself, and the way to the rest.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from snowflake_accounts import SnowflakeError, not_allowed, not_there
from snowflake_catalog import NAME, shown, split_name, taken
from snowflake_create import add_key, create
from snowflake_duckdb import run_duckdb
from snowflake_session import UNKNOWN, Answer, Session, counted, done, texts
from snowflake_show import describe, show
from snowflake_sql import run_sql
from snowflake_stages import copy_into, create_stage, drop_stage, list_stage, put, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COMMENTS = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|/\*.*?\*/|//[^\n]*(?:\n|$))", re.DOTALL)
_QUOTED = re.compile(
    r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$\$.*?\$\$""", re.DOTALL
)
_DDL = re.compile(r"(?:CREATE|ALTER(?!\s+SESSION)|DROP|TRUNCATE|GRANT|REVOKE)\b", re.IGNORECASE)
"""What commits the transaction that is open, and is none of it."""
_EXISTS = r"(?P<exists>IF\s+(?:NOT\s+)?EXISTS\s+)?"


def run(
    session: Session, sql: str, values: Sequence[Any] = (), many: list[Any] | None = None
) -> Answer:
    """Run one statement.

    Args:
        session: Whose.
        sql: The statement, as the driver sent it.
        values: Bound values, in order.
        many: Rows of bound values of one INSERT.

    Raises:
        SnowflakeError: The statement is refused.
    """
    text = sql
    while match := _COMMENTS.match(text):
        text = text[match.end() :]
    text = text.strip().rstrip(";").strip()
    if not text:
        raise SnowflakeError("000900", "SQL compilation error:\nEmpty SQL statement.", "42601")
    if further := _QUOTED.sub("", text).count(";"):
        raise SnowflakeError(
            "000008",
            f"Actual statement count {further + 1} did not match the desired statement count 1.",
            "0A000",
        )
    if session.in_transaction and _DDL.match(text):
        session.in_transaction = False
        session.con.commit()
    for pattern, answer in _OWN:
        if match := pattern.fullmatch(text):
            return answer(session, match)
    return run_sql(session, text, values, many)


def describe_only(session: Session, sql: str) -> Answer:
    """Say what a statement would answer, without running it, its placeholders being open.

    Args:
        session: Whose.
        sql: The statement.
    """
    word = sql.split(maxsplit=1)[0].upper() if sql.strip() else ""
    if word in ("INSERT", "UPDATE", "DELETE"):
        names = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}
        answer = counted(**{names[word]: 0})
    elif word in ("SELECT", "WITH", "SHOW", "DESC", "DESCRIBE", "LIST", "LS"):
        answer = run(session, sql, [None] * sql.count("?"))
    else:
        answer = done()
    return Answer(answer.rows.slice(0, 0), answer.types, answer.kind)


def _show(session: Session, match: re.Match[str]) -> Answer:
    return show(session, match[0])


def _describe(session: Session, match: re.Match[str]) -> Answer:
    return describe(session, (match["kind"] or "TABLE").upper(), session.name(match["name"]))


def _alter_session(session: Session, match: re.Match[str]) -> Answer:
    for key, value in re.findall(r"(\w+)\s*=\s*('(?:[^']|'')*'|[^\s,;]+)", match["what"]):
        is_text = value.startswith("'")
        session.parameters[key.upper()] = value[1:-1].replace("''", "'") if is_text else value
    return done()


def _unset_session(session: Session, match: re.Match[str]) -> Answer:
    for key in re.findall(r"\w+", match["what"]):
        session.parameters.pop(key.upper(), None)
    return done()


def _use(session: Session, match: re.Match[str]) -> Answer:
    kind, parts = (match["kind"] or "DATABASE").upper(), split_name(match["name"])
    if kind == "ROLE":
        check_role(session, parts[0])
        session.role = parts[0]
    elif kind == "WAREHOUSE":
        session.warehouse = session.find_warehouse(parts[0]).name
    elif kind == "DATABASE" and len(parts) == 1:
        if parts[0] not in session.catalog.schemas:
            raise not_there("Database", shown(parts[0]))
        session.database = parts[0]
        session.schema = "PUBLIC" if "PUBLIC" in session.catalog.schemas[parts[0]] else None
    else:
        name = session.full([*parts, ""])
        session.check_usage(name)
        session.database, session.schema = name.database, name.schema
    return done()


def check_role(session: Session, role: str) -> None:
    """Raise where the user does not have a role."""
    if role not in session.user.roles:
        raise SnowflakeError(
            "003013",
            f"SQL access control error:\nRequested role '{role}' is not assigned to the executing "
            "user. Specify another role to activate.",
            "42501",
        )


def _wait(session: Session, match: re.Match[str]) -> Answer:
    session.wait(float(match["seconds"]))
    if session.is_cancelled:
        raise SnowflakeError("000604", "SQL execution canceled", "57014")
    return texts({"SYSTEM$WAIT": [f"waited {match['seconds']} seconds"]}, UNKNOWN)


def _warehouse(session: Session, match: re.Match[str]) -> Answer:
    name = split_name(match["name"])[0]
    warehouse = session.find_warehouse(name)
    if not session.may("OPERATE", "WAREHOUSE", shown(name)):
        raise not_allowed("warehouse", shown(name))
    if match["do"].upper() == "RESUME":
        if warehouse.quota_is_used:
            session.warehouse = name
            session.need_warehouse()
        if not warehouse.is_suspended and not match["exists"]:
            raise SnowflakeError(
                "090063", f"Invalid state. Warehouse '{name}' cannot be resumed.", "22000"
            )
    warehouse.is_suspended = match["do"].upper() == "SUSPEND"
    return done()


def _grant(session: Session, match: re.Match[str]) -> Answer:
    """GRANT and REVOKE, on one object or on all of a place; an admin may, or a table's owner."""
    account, kind = session.account, (match["kind"] or match["one"]).upper()
    owns = kind == "TABLE" and session.may("OWNERSHIP", kind, str(session.name(match["name"])))
    if session.role not in ("ACCOUNTADMIN", "SECURITYADMIN") and not owns:
        raise not_allowed("account", session.account.name.upper())
    do = account.grant if match["do"].upper() == "GRANT" else account.revoke
    role = split_name(match["role"])[0]
    wanted = [re.sub(r"\s+", " ", p.strip().upper()) for p in match["privileges"].split(",")]
    if match["all"]:
        kind = kind.rstrip("S")
        scope = tuple(split_name(match["name"]))
        catalog = session.catalog
        names = [
            str(name)
            for name, table in catalog.tables.items()
            if table.kind == kind and name[: len(scope)] == scope
        ]
        if kind == "SCHEMA":
            names = [f"{shown(scope[0])}.{shown(each)}" for each in catalog.schemas[scope[0]]]
        if match["all"].upper() == "FUTURE":
            names = []
    else:
        names = [_granted_name(session, kind, match["name"])]
    for name in names:
        for privilege in wanted:
            do(role, "ALL" if privilege.startswith("ALL") else privilege, kind, name)
    return done()


def _granted_name(session: Session, kind: str, text: str) -> str:
    parts = split_name(text)
    if kind in ("TABLE", "VIEW"):
        name = session.full(parts)
        found = session.catalog.find(name)
        if found.kind != kind:
            raise not_there(kind.title(), str(name))
        return str(name)
    if kind == "SCHEMA":
        full = session.full([*parts, ""])
        session.catalog.check_schema(full.database, full.schema)
        return f"{shown(full.database)}.{shown(full.schema)}"
    known = session.catalog.schemas if kind == "DATABASE" else session.account.warehouses
    if parts[0] not in known:
        raise not_there(kind.title(), shown(parts[0]))
    return shown(parts[0])


def _create_space(session: Session, match: re.Match[str]) -> Answer:
    parts, kind = split_name(match["name"]), match["kind"].upper()
    if kind == "DATABASE":
        if parts[0] in session.catalog.schemas and not match["exists"]:
            raise taken(shown(parts[0]))
        session.catalog.create_database(parts[0])
        session.database, session.schema = parts[0], "PUBLIC"
    else:
        name = session.full([*parts, ""])
        session.catalog.check_schema(name.database, "INFORMATION_SCHEMA")
        if name.schema in session.catalog.schemas[name.database] and not match["exists"]:
            raise taken(shown(name.schema))
        session.catalog.create_schema(name.database, name.schema)
        session.database, session.schema = name.database, name.schema
    return done(f"{kind.title()} {shown(parts[-1])} successfully created.")


def _drop_space(session: Session, match: re.Match[str]) -> Answer:
    parts, catalog = split_name(match["name"]), session.catalog
    is_database = match["kind"].upper() == "DATABASE"
    try:
        if is_database:
            catalog.check_schema(parts[0], "INFORMATION_SCHEMA")
            catalog.drop_database(parts[0])
        else:
            name = session.full([*parts, ""])
            catalog.check_schema(name.database, name.schema)
            catalog.drop_schema(name.database, name.schema)
    except SnowflakeError:
        if not match["exists"]:
            raise
    return done(f"{shown(parts[-1])} successfully dropped.")


def _drop(session: Session, match: re.Match[str]) -> Answer:
    name, kind = session.name(match["name"]), match["kind"].upper()
    with session.catalog.lock:
        try:
            table = session.see(name)
            if table.kind != kind:
                raise not_there(kind.title(), str(name))
        except SnowflakeError:
            if match["exists"]:
                return done("Drop statement executed successfully.")
            raise
        if not session.may("OWNERSHIP", kind, str(name)):
            raise not_allowed(kind.lower(), shown(name.table))
        run_duckdb(session, f"DROP {kind} {name.sql}")
        del session.catalog.tables[name]
        session.account.forget(kind, str(name))
    return done(f"{shown(name.table)} successfully dropped.")


def _rename(session: Session, match: re.Match[str]) -> Answer:
    old, new = session.name(match["name"]), session.name(match["new"])
    with session.catalog.lock:
        session.check_table(old, "OWNERSHIP")
        session.check_create(new, "TABLE")
        session.catalog.check_free(new)
        with session.whole():
            session.catalog.move(old, new, session.con.execute)
        session.account.exchange("TABLE", str(old), str(new))
    return done()


def _swap(session: Session, match: re.Match[str]) -> Answer:
    one, two = session.name(match["name"]), session.name(match["new"])
    with session.catalog.lock:
        for name in (one, two):
            session.check_table(name, "OWNERSHIP")
        middle = one._replace(table=f"rle swap {session.id}")

        with session.whole():
            for old, new in ((one, middle), (two, one), (middle, two)):
                session.catalog.move(old, new, session.con.execute)
        session.account.exchange("TABLE", str(one), str(two))
    return done()


def _transaction(session: Session, match: re.Match[str]) -> Answer:
    word = match["word"].upper()
    if word in ("BEGIN", "START"):
        if not session.in_transaction:
            session.con.begin()
        session.in_transaction = True
    elif session.in_transaction:  # outside of one, Snowflake says nothing
        session.in_transaction = False
        session.con.commit() if word == "COMMIT" else session.con.rollback()
    return done()


def _cluster(session: Session, match: re.Match[str]) -> Answer:
    session.see(session.name(match["name"])).cluster_by = f"LINEAR{match['columns']}"
    return done()


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


_STAGE = r"""'@(?:[^']|'')+'|@(?:"(?:[^"]|"")+"|[^\s;()'"])+"""
_OWN: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], Answer]], ...] = (
    (_pattern(r"SHOW .*"), _show),
    (_pattern(rf"DESC(?:RIBE)? (?P<kind>TABLE|VIEW)? ?(?P<name>{NAME})"), _describe),
    (_pattern(r"ALTER SESSION SET (?P<what>.*)"), _alter_session),
    (_pattern(r"ALTER SESSION UNSET (?P<what>.*)"), _unset_session),
    (_pattern(rf"USE (?:(?P<kind>ROLE|WAREHOUSE|DATABASE|SCHEMA) )?(?P<name>{NAME})"), _use),
    (
        _pattern(r"(?P<word>BEGIN|START|COMMIT|ROLLBACK)(?: TRANSACTION| WORK)?(?: NAME \w+)?"),
        _transaction,
    ),
    (_pattern(r"USE SECONDARY ROLES \w+"), lambda *_: done()),
    (_pattern(r"(?:CALL|SELECT) SYSTEM\$WAIT\(\s*(?P<seconds>[\d.]+)[^)]*\)"), _wait),
    (
        _pattern(
            rf"ALTER WAREHOUSE (?P<name>{NAME}) (?P<do>RESUME|SUSPEND)(?P<exists> IF SUSPENDED)?"
        ),
        _warehouse,
    ),
    (
        _pattern(
            r"(?P<do>GRANT|REVOKE) (?P<privileges>[\w, ]+?) ON "
            r"(?:(?P<all>ALL|FUTURE) (?P<kind>TABLES|VIEWS|SCHEMAS) IN (?:SCHEMA|DATABASE)"
            rf"|(?P<one>TABLE|VIEW|SCHEMA|DATABASE|WAREHOUSE)) (?P<name>{NAME}) (?:TO|FROM) "
            rf"ROLE (?P<role>{NAME})(?: WITH GRANT OPTION)?"
        ),
        _grant,
    ),
    (
        _pattern(
            r"CREATE (?P<replace>OR REPLACE )?(?P<temporary>TEMP(?:ORARY)? )?STAGE "
            rf"{_EXISTS}(?P<name>{NAME})(?:\s.*)?"
        ),
        create_stage,
    ),
    (_pattern(rf"DROP STAGE {_EXISTS}(?P<name>{NAME})"), drop_stage),
    (
        _pattern(
            r"PUT '?(?P<source>file://(?:[^'\s]|(?<=[^'])\s(?!@))+)'? "
            rf"(?P<target>{_STAGE})(?P<options>.*)?"
        ),
        put,
    ),
    (_pattern(rf"(?:LIST|LS) (?P<place>{_STAGE})"), list_stage),
    (_pattern(rf"(?:REMOVE|RM) (?P<place>{_STAGE})"), remove),
    (
        _pattern(rf"COPY INTO (?P<table>{NAME}) FROM (?P<place>{_STAGE})(?P<options>.*)?"),
        copy_into,
    ),
    (
        _pattern(
            r"CREATE (?:OR REPLACE )?(?:TRANSIENT )?(?P<kind>DATABASE|SCHEMA) "
            rf"{_EXISTS}(?P<name>{NAME})(?:\s.*)?"
        ),
        _create_space,
    ),
    (
        _pattern(rf"DROP (?P<kind>DATABASE|SCHEMA) {_EXISTS}(?P<name>{NAME})(?: CASCADE)?"),
        _drop_space,
    ),
    (
        _pattern(rf"DROP (?P<kind>TABLE|VIEW) {_EXISTS}(?P<name>{NAME})(?: CASCADE| RESTRICT)?"),
        _drop,
    ),
    (_pattern(rf"ALTER TABLE {_EXISTS}(?P<name>{NAME}) RENAME TO (?P<new>{NAME})"), _rename),
    (_pattern(rf"ALTER TABLE {_EXISTS}(?P<name>{NAME}) SWAP WITH (?P<new>{NAME})"), _swap),
    (_pattern(rf"ALTER TABLE (?P<name>{NAME}) CLUSTER BY (?P<columns>\(.*\))"), _cluster),
    (
        _pattern(
            rf"ALTER TABLE (?P<name>{NAME}) ADD (?P<key>(?:CONSTRAINT {NAME} )?"
            r"(?:PRIMARY KEY|FOREIGN KEY|UNIQUE)\b.*)"
        ),
        add_key,
    ),
    (
        _pattern(
            r"CREATE (?:OR REPLACE )?(?:LOCAL |GLOBAL )?"
            r"(?:TEMP(?:ORARY)? |TRANSIENT |VOLATILE |SECURE )?(?:TABLE|VIEW) .*"
        ),
        create,
    ),
)
