"""Statements that DuckDB can run once fakesnow has translated them.

Names are made full and exact, privileges and warehouses are checked, and the types of the result
are those that were declared, not DuckDB's.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakesnow.dialect import parse_one
from fakesnow.expr import key_command
from snowflake.connector.errors import Error as DriverError
from snowflake_accounts import SnowflakeError
from snowflake_catalog import Column
from snowflake_declared import declared_columns, folded, named
from snowflake_duckdb import as_snowflake, run_duckdb, translated
from snowflake_resolve import CHANGES, changed_table, check_columns, resolve
from snowflake_session import Answer, Session, counted, done
from snowflake_types import from_duckdb, parse_type
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snowflake_catalog import Name


def run_sql(session: Session, sql: str, values: Sequence[Any], many: list[Any] | None) -> Answer:
    """Run one statement that has no answer of its own.

    Args:
        session: Whose.
        sql: The statement.
        values: Bound values, in order.
        many: Rows of bound values of one INSERT, where the driver sent several at once.
    """
    try:
        expression = parse_one(sql)
    except DriverError as error:
        raise SnowflakeError(
            "001003", f"SQL compilation error:\nsyntax error {error.msg}", "42000"
        ) from error
    if isinstance(expression, exp.Command):
        word = f"{expression.this} {expression.expression}"[:60]
        raise SnowflakeError("000002", f"Unsupported feature '{word}'.", "0A000")
    tables = resolve(session, expression)
    check_columns(session, expression, tables)
    kind = type(expression)
    if kind in CHANGES:
        session.need_warehouse()
        answer = _change(session, expression, values, many)
        session.catalog.touch(changed_table(expression))
        return answer
    if isinstance(expression, exp.Select | exp.SetOperation | exp.Subquery):
        if tables:
            session.need_warehouse()
        return select(session, expression, values)
    for statement in translated(session, expression, list(values) or None):
        run_duckdb(session, statement, values)
    if isinstance(expression, exp.TruncateTable):
        for name in tables:
            session.catalog.touch(name)
    if isinstance(expression, exp.Alter):
        _note_columns(session, tables[0], expression)
    return done()


def _note_columns(session: Session, name: Name, change: exp.Alter) -> None:
    """Note the columns of a table after ALTER TABLE, with the types that it declared."""
    run_duckdb(session, f"DESCRIBE {name.sql}")
    table = session.catalog.find(name)
    declared = {
        folded(part.this): parse_type(kind.sql(dialect="snowflake"))
        for part in change.args.get("actions") or []
        if isinstance(part, exp.ColumnDef | exp.AlterColumn)
        and (kind := part.args.get("kind") or part.args.get("dtype")) is not None
    }
    old, table.columns = table.columns, {}
    for column, kind, *_ in session.con.fetchall():
        sf_type = declared.get(column)
        if sf_type is None and column in old:
            table.columns[column] = old[column]
        else:
            table.columns[column] = Column(sf_type or from_duckdb(kind))
    session.catalog.touch(name)


def select(session: Session, expression: exp.Expression, values: Sequence[Any] = ()) -> Answer:
    """Run a resolved SELECT; its columns are named and typed as Snowflake would."""
    declared = declared_columns(session, expression)
    statements = translated(session, named(expression), list(values) or None)
    for sql in statements[:-1]:
        run_duckdb(session, sql, values)
    with as_snowflake(session, statements[-1]):
        relation = session.con.sql(statements[-1], params=list(values) or None)
        kinds = [str(kind) for kind in relation.types]
        rows = relation.to_arrow_table()
    if len(declared) != len(kinds):
        declared = [("", None)] * len(kinds)
    types = [
        from_duckdb(kind) if sf_type is None else sf_type
        for kind, (_, sf_type) in zip(kinds, declared, strict=True)
    ]
    return Answer(rows, types)


def _change(
    session: Session, expression: exp.Expression, values: Sequence[Any], many: list[Any] | None
) -> Answer:
    statements = translated(session, expression, None)
    word = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}.get(
        key_command(expression)
    )
    if many is not None:
        session.con.executemany(statements[0], many)
        return counted(inserted=len(many))
    for sql in statements:
        run_duckdb(session, sql, values)
        count = session.con.fetchall()[0][0]
    if word is None:
        return counted(inserted=count, updated=0)
    return counted(**{word: count})
