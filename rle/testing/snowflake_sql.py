"""Statements that DuckDB can run once fakesnow has translated them.

Names are made full and exact, privileges and warehouses are checked, and the types of the result
are those that were declared, not DuckDB's.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
from fakesnow.dialect import parse_one
from fakesnow.expr import key_command
from snowflake.connector.errors import Error as DriverError
from snowflake_accounts import SnowflakeError, not_there
from snowflake_catalog import Column, Name, shown
from snowflake_information import information
from snowflake_session import Answer, Session, counted, done
from snowflake_types import SfType, from_duckdb, parse_type
from sqlglot import exp
from sqlglot.errors import SqlglotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from snowflake_catalog import Table

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
_KEPT_AS_JSON = (exp.DataType.Type.VECTOR, exp.DataType.Type.GEOGRAPHY, exp.DataType.Type.GEOMETRY)
_CHANGES = {exp.Insert: "INSERT", exp.Update: "UPDATE", exp.Delete: "DELETE", exp.Merge: "UPDATE"}


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
    _check_columns(session, expression, tables)
    kind = type(expression)
    if kind in _CHANGES:
        session.need_warehouse()
        answer = _change(session, expression, values, many)
        session.catalog.touch(_target(expression))
        return answer
    if isinstance(expression, exp.Select | exp.SetOperation | exp.Subquery):
        if tables:
            session.need_warehouse()
        return select(session, expression, values)
    for statement in _translated(session, expression, list(values) or None):
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
    statements = _translated(session, _named(expression), list(values) or None)
    for sql in statements[:-1]:
        run_duckdb(session, sql, values)
    with _as_snowflake(session, statements[-1]):
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


def translate(session: Session, expression: exp.Expression, values: list[Any] | None) -> list[str]:
    """Return DuckDB's statements for a resolved one of Snowflake's."""
    for kind in expression.find_all(exp.DataType):
        if kind.this in _KEPT_AS_JSON:
            kind.replace(exp.DataType.build("VARIANT", dialect="snowflake"))
    for checksum in list(expression.find_all(exp.HashAgg)):
        hashed = exp.func("HASH", checksum.this, *checksum.expressions)
        checksum.replace(exp.Sum(this=hashed))
    cursor = session.cursor()
    return [
        cursor._transform(part, values).sql(dialect="duckdb")
        for part in cursor._transform_explode(expression.copy())
    ]


def run_duckdb(session: Session, sql: str, values: Sequence[Any] = ()) -> None:
    """Run one statement of DuckDB's, whose errors become Snowflake's."""
    with _as_snowflake(session, sql):
        session.con.execute(sql, list(values) if values else None)


@contextmanager
def _as_snowflake(session: Session, sql: str) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException as error:
        raise SnowflakeError("000604", "SQL execution canceled", "57014") from error
    except duckdb.BinderException as error:
        column = re.search(
            r'column "?([^"\n]+?)"? (?:not found|does not)', str(error), re.IGNORECASE
        )
        what = f"invalid identifier '{column[1]}'" if column else str(error)
        text = f"SQL compilation error: error line 1 at position 7\n{what}"
        raise SnowflakeError("000904", text, "42000") from error
    except duckdb.CatalogException as error:
        raise _catalog_error(session, sql, error) from error
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise SnowflakeError("100038", str(error).split("\n")[0], "22018") from error
    except duckdb.ConstraintException as error:
        text = f"NULL result in a non-nullable column: {error}"
        raise SnowflakeError("100072", text, "22000") from error
    except (duckdb.ParserException, duckdb.SyntaxException) as error:
        raise SnowflakeError("001003", f"SQL compilation error:\n{error}", "42000") from error


def _catalog_error(session: Session, sql: str, error: duckdb.Error) -> SnowflakeError:
    text = str(error).split("\n")[0]
    missing = re.search(r"Table with name (.+?) does not exist", text)
    if missing:
        for name, table in session.catalog.tables.items():
            if table.kind == "VIEW" and name.sql in sql:
                inner = not_there("Object", missing[1]).message
                view = f"Failure during expansion of view '{shown(name.table)}': {inner}"
                return SnowflakeError("002037", f"SQL compilation error:\n{view}", "42601")
        return not_there("Object", missing[1])
    function = re.search(r"Function with name (\S+) does not exist", text)
    if function:
        name = function[1].upper()
        return SnowflakeError("002140", f"SQL compilation error:\nUnknown function {name}", "42601")
    return SnowflakeError("002003", f"SQL compilation error:\n{text}", "02000")


def declared_columns(
    session: Session, expression: exp.Expression
) -> list[tuple[str, SfType | None]]:
    """Return names and declared types of a SELECT's columns; None for what is computed."""
    while isinstance(expression, exp.Subquery | exp.SetOperation):
        expression = expression.this
    if not isinstance(expression, exp.Select):
        return []
    sources = _sources(session, expression)
    found: list[tuple[str, SfType | None]] = []
    for projection in expression.expressions:
        inner = projection.unalias()
        if isinstance(inner, exp.Star):
            found += [pair for columns in sources.values() for pair in columns.items()]
        elif isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star):
            found += sources.get(folded(inner.args["table"]), {}).items()
        else:
            found.append((_output_name(projection), _declared(inner, sources)))
    return found


def _declared(inner: exp.Expression, sources: dict[str, dict[str, SfType | None]]) -> SfType | None:
    if isinstance(inner, exp.Cast):
        return parse_type(inner.to.sql(dialect="snowflake"))
    if not isinstance(inner, exp.Column):
        return None
    table, column = inner.args.get("table"), folded(inner.this)
    if table is not None:
        return sources.get(folded(table), {}).get(column)
    for columns in sources.values():
        if column in columns:
            return columns[column]
    return None


def _sources(session: Session, select_: exp.Select) -> dict[str, dict[str, SfType | None]]:
    """Columns of what is selected from, by alias."""
    found: dict[str, dict[str, SfType | None]] = {}
    withs: dict[str, dict[str, SfType | None]] = {}
    for with_ in (select_.args.get("with_") or exp.With()).expressions:
        withs[folded(with_.args["alias"].this)] = dict(declared_columns(session, with_.this))
    from_ = select_.args.get("from_")
    parts = [from_.this] if from_ is not None else []
    parts += [join.this for join in select_.args.get("joins") or []]
    for part in parts:
        alias = part.args.get("alias")
        if isinstance(part, exp.Subquery):
            key = folded(alias.this) if alias is not None else ""
            found[key] = dict(declared_columns(session, part.this))
        elif isinstance(part, exp.Table) and isinstance(part.this, exp.Identifier):
            key = folded(alias.this if alias is not None else part.this)
            name = _exact(part)
            if name in session.catalog.tables:
                columns = session.catalog.tables[name].columns
                found[key] = {column: info.sf_type for column, info in columns.items()}
            elif part.name in withs:
                found[key] = withs[part.name]
    return found


def folded(identifier: exp.Expression) -> str:
    """Return the exact name that an identifier means."""
    text = str(identifier.this)
    return text if identifier.args.get("quoted") else text.upper()


def _exact(table: exp.Table) -> Name | None:
    parts = [table.args.get(part) for part in ("catalog", "db", "this")]
    if not all(isinstance(part, exp.Identifier) for part in parts):
        return None
    return Name(*(folded(part) for part in parts))


def _output_name(projection: exp.Expression) -> str:
    if isinstance(projection, exp.Alias):
        return folded(projection.args["alias"])
    if isinstance(projection, exp.Column):
        return folded(projection.this)
    return projection.sql(dialect="snowflake").upper()


def _named(expression: exp.Expression) -> exp.Expression:
    """A SELECT whose columns without a name have the one Snowflake gives them: their text."""
    if not isinstance(expression, exp.Select):
        return expression
    named = expression.copy()
    named.set(
        "expressions",
        [
            part
            if isinstance(part, exp.Alias | exp.Star | exp.Column)
            else exp.alias_(part, _output_name(part), quoted=True)
            for part in named.expressions
        ],
    )
    return named


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
            table.replace(_information(session, name, table))
            continue
        privilege = _CHANGES.get(type(expression), "TRUNCATE") if table is target else "SELECT"
        info = session.check_table(name, privilege)
        _check_moment(session, table, name, info)
        for part, text in zip(("catalog", "db", "this"), name, strict=True):
            table.set(part, exp.to_identifier(text, quoted=True))
        names.append(name)
    return names


def _target_table(expression: exp.Expression) -> exp.Expression | None:
    if isinstance(expression, exp.TruncateTable):
        return expression.expressions[0]
    if type(expression) not in _CHANGES:
        return None
    target = expression.this
    return target.this if isinstance(target, exp.Schema) else target


def _target(expression: exp.Expression) -> Name:
    table = _target_table(expression)
    assert isinstance(table, exp.Table)
    name = _exact(table)
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


def _check_columns(session: Session, expression: exp.Expression, tables: list[Name]) -> None:
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
        f"CREATE OR REPLACE TEMP TABLE {literal_name(name.table)} AS FROM rle_information"
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


def literal_name(table: str) -> str:
    """Return where rows of a view of INFORMATION_SCHEMA are put while they are asked for."""
    return f'temp.main."rle_{table}"'


def _translated(
    session: Session, expression: exp.Expression, values: list[Any] | None
) -> list[str]:
    try:
        return translate(session, expression, values)
    except (SqlglotError, DriverError, RuntimeError, AssertionError) as error:
        raise SnowflakeError("000002", f"Unsupported feature '{error}'.", "0A000") from error


def _change(
    session: Session, expression: exp.Expression, values: Sequence[Any], many: list[Any] | None
) -> Answer:
    statements = _translated(session, expression, None)
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
