"""Names in a statement: made full and exact, and checked for privileges, columns and moments.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from snowflake_accounts import SnowflakeError
from snowflake_catalog import Name, shown
from snowflake_declared import exact_name, folded
from snowflake_information import information
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Callable

    from snowflake_catalog import Table
    from snowflake_session import Session

_CURRENT: dict[type[exp.Expression], Callable[[Session], str | None]] = {
    exp.CurrentRole: lambda session: session.role,
    exp.CurrentUser: lambda session: session.user.name,
    exp.CurrentWarehouse: lambda session: session.warehouse,
    exp.CurrentAccount: lambda session: session.account.name.upper(),
    exp.CurrentRegion: lambda _: "AWS_EU_CENTRAL_1",
    exp.CurrentSession: lambda session: str(int(session.id[:12], 16)),
    exp.CurrentDatabase: lambda session: session.database,
    exp.CurrentSchema: lambda session: session.schema,
}

CHANGES = {exp.Insert: "INSERT", exp.Update: "UPDATE", exp.Delete: "DELETE", exp.Merge: "UPDATE"}


def resolve(session: Session, expression: exp.Expression) -> list[Name]:
    """Make every table's name full, check that it may be used, and return the names."""
    for kind, value in _CURRENT.items():
        for node in list(expression.find_all(kind)):
            said = value(session)
            new = exp.Null() if said is None else exp.Literal.string(said)
            new = (
                new
                if node.parent is None or not isinstance(node.parent, exp.Select)
                else exp.alias_(
                    new, f"{node.sql(dialect='snowflake').removesuffix('()')}()", quoted=True
                )
            )
            node.replace(new)
    withs = {folded(cte.args["alias"].this) for cte in expression.find_all(exp.CTE)}
    target = _target_table(expression)
    names = []
    for table in list(expression.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            continue
        parts = [
            folded(table.args[part]) for part in ("catalog", "db", "this") if table.args.get(part)
        ]
        if len(parts) == 1 and parts[0] in withs:
            continue
        name = session.full(parts)
        if name.schema == "INFORMATION_SCHEMA":
            session.need_warehouse()
            table.replace(_information(session, name, table))
            continue
        privilege = CHANGES.get(type(expression), "TRUNCATE") if table is target else "SELECT"
        info = session.check_table(name, privilege)
        _check_moment(session, table, name, info)
        for part, text in zip(("catalog", "db", "this"), name, strict=True):
            table.set(part, exp.to_identifier(text, quoted=True))
        names.append(name)
    return names


def _target_table(expression: exp.Expression) -> exp.Expression | None:
    if isinstance(expression, exp.TruncateTable):
        return expression.expressions[0]
    if type(expression) not in CHANGES:
        return None
    target = expression.this
    return target.this if isinstance(target, exp.Schema) else target


def changed_table(expression: exp.Expression) -> Name:
    """Return the table that a statement changes."""
    table = _target_table(expression)
    assert isinstance(table, exp.Table)
    name = exact_name(table)
    assert name is not None
    return name


def _check_moment(session: Session, table: exp.Table, name: Name, info: Table) -> None:
    """Drop AT(TIMESTAMP => ...), which is true as long as nothing has changed since that moment."""
    when = table.args.pop("when", None)
    if when is None:
        return
    if not session.account.time_travels:
        raise SnowflakeError("000002", "Unsupported feature 'TIME TRAVEL'.", "0A000")
    if str(when.args.get("kind")).upper() != "TIMESTAMP":
        raise SnowflakeError("000002", f"Unsupported feature '{when.args.get('kind')}'.", "0A000")
    sql = exp.select(when.expression.copy()).sql(dialect="duckdb")
    (moment,) = session.con.execute(sql).fetchall()[0]
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if moment < info.changed:
        raise SnowflakeError(
            "000707",
            f"Time travel data is not available for table {shown(name.table)}. The requested time "
            "is either beyond the allowed time travel period or before the object creation time.",
            "02000",
        )


def check_columns(session: Session, expression: exp.Expression, tables: list[Name]) -> None:
    """Raise for a column in the wrong case: DuckDB would take it, Snowflake does not."""
    known = {c for name in tables for c in session.catalog.find(name).columns}
    known |= {
        folded(alias) for node in expression.find_all(exp.Alias) if (alias := node.args["alias"])
    }
    loose = {name.casefold() for name in known}
    for column in expression.find_all(exp.Column):
        if isinstance(column.this, exp.Identifier):
            name = folded(column.this)
            if name not in known and name.casefold() in loose:
                text = f"error line 1 at position 7\ninvalid identifier '{shown(name)}'"
                raise SnowflakeError("000904", f"SQL compilation error: {text}", "42000")


def _information(session: Session, name: Name, table: exp.Table) -> exp.Expression:
    rows = information(session, name.database, name.table)
    session.con.register("rle_information", rows)
    session.con.execute(
        f'CREATE OR REPLACE TEMP TABLE temp.main."rle_{name.table}" AS FROM rle_information'
    )
    session.con.unregister("rle_information")
    alias = table.args.get("alias") or exp.TableAlias(
        this=exp.to_identifier(name.table, quoted=True)
    )
    return exp.Table(
        this=exp.to_identifier(f"rle_{name.table}", quoted=True),
        db=exp.to_identifier("main", quoted=True),
        catalog=exp.to_identifier("temp", quoted=True),
        alias=alias,
    )
