"""CREATE TABLE and CREATE VIEW of the stand-in for Snowflake: declared types and keys.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakesnow.dialect import parse_one
from snowflake.connector.errors import Error as DriverError
from snowflake_accounts import SnowflakeError
from snowflake_catalog import Column, Foreign, Name, Table, shown, taken
from snowflake_declared import declared_columns, folded
from snowflake_duckdb import run_duckdb, translate
from snowflake_resolve import resolve
from snowflake_session import Answer, Session, done
from snowflake_types import from_duckdb, parse_type
from sqlglot import exp

if TYPE_CHECKING:
    import re


def create(session: Session, match: re.Match[str]) -> Answer:
    """CREATE TABLE or VIEW, whose keys and types are noted here and not given to DuckDB."""
    try:
        expression = parse_one(match[0])
    except DriverError as error:
        raise SnowflakeError(
            "001003", f"SQL compilation error:\nsyntax error {error.msg}", "42000"
        ) from error
    if not isinstance(expression, exp.Create):
        raise SnowflakeError("000002", f"Unsupported feature '{match[0][:60]}'.", "0A000")
    kind = str(expression.kind).upper()
    schema = expression.this if isinstance(expression.this, exp.Schema) else None
    target = schema.this if schema is not None else expression.this
    name = session.full(
        [folded(target.args[p]) for p in ("catalog", "db", "this") if target.args.get(p)]
    )
    session.check_create(name, kind)
    with session.catalog.lock:
        return _create_in(session, expression, kind, name)


def _create_in(session: Session, expression: exp.Create, kind: str, name: Name) -> Answer:
    catalog = session.catalog
    if name in catalog.tables and expression.args.get("exists"):
        return done(f"{shown(name.table)} already exists, statement succeeded.")
    if not (name in catalog.tables and expression.args.get("replace")):
        catalog.check_free(name)
    elif catalog.tables[name].kind != kind:
        raise taken(shown(name.table))
    text = expression.sql(dialect="snowflake")
    table = Table({}, view_sql=text if kind == "VIEW" else None)
    like = _take_properties(session, expression, table)
    source = expression.expression or (expression.args.get("clone") or exp.Clone()).this
    schema = expression.this if isinstance(expression.this, exp.Schema) else None
    if like is not None or isinstance(source, exp.Table):
        _copy_shape(session, expression, table, like or source, has_rows=like is None)
    elif isinstance(source, exp.Expression):
        resolve(session, source)
        declared = declared_columns(session, source) if schema is None else []
        table.columns = {column: Column(of) for column, of in declared if of is not None}
    if schema is not None and kind == "TABLE":
        _take_columns(session, name, table, schema)
    target = expression.this.this if schema is not None else expression.this
    for part, exact in zip(("catalog", "db", "this"), name, strict=True):
        target.set(part, exp.to_identifier(exact, quoted=True))
    for sql in translate(session, expression, None):
        run_duckdb(session, sql)
    run_duckdb(session, f"DESCRIBE {name.sql}")
    table.columns = {
        column: table.columns.get(column) or Column(from_duckdb(of))
        for column, of, *_ in session.con.fetchall()
    }
    catalog.tables[name] = table
    session.account.own(session.role, kind, str(name))
    return done(f"{kind.title()} {shown(name.table)} successfully created.")


def _take_properties(
    session: Session, expression: exp.Create, table: Table
) -> exp.Expression | None:
    """Note what DuckDB has no word for; returns the table that LIKE names."""
    properties = list((expression.args.get("properties") or exp.Properties()).expressions)
    expression.set("properties", None)
    like = None
    for part in properties:
        if isinstance(part, exp.TemporaryProperty):
            table.owner_session = session.id
        elif isinstance(part, exp.ClusterProperty):
            inside = ", ".join(column.sql(dialect="snowflake") for column in part.expressions)
            table.cluster_by = f"LINEAR({inside})"
        elif isinstance(part, exp.LikeProperty):
            like = part.this
    return like


def _copy_shape(
    session: Session, expression: exp.Create, table: Table, other: exp.Expression, *, has_rows: bool
) -> None:
    """LIKE and CLONE: the columns and keys of another table, with or without its rows."""
    (name,) = resolve(session, other)
    model = session.catalog.find(name)
    table.columns, table.primary = dict(model.columns), model.primary
    table.foreign, table.unique = list(model.foreign), list(model.unique)
    query = exp.select("*").from_(other.copy())
    expression.set("clone", None)
    expression.set("expression", query if has_rows else query.limit(0))


def _take_columns(session: Session, own: Name, table: Table, schema: exp.Schema) -> None:
    """Note declared types and keys, and leave DuckDB what it can hold."""
    _take_keys(session, own, table, schema)
    columns = [part for part in schema.expressions if isinstance(part, exp.ColumnDef)]
    for column in columns:
        if column.kind is None:
            continue
        sf_type = parse_type(column.kind.sql(dialect="snowflake"))
        constraints = [part.kind for part in column.args.get("constraints") or []]
        must = any(
            isinstance(part, exp.NotNullColumnConstraint) and not part.args.get("allow_null")
            for part in constraints
        )
        default = next((p for p in constraints if isinstance(p, exp.DefaultColumnConstraint)), None)
        key = folded(column.this)
        text = default.this.sql(dialect="snowflake") if default is not None else None
        table.columns[key] = Column(
            sf_type, is_nullable=not must and key not in table.primary, default=text
        )
        if sf_type.name in ("VECTOR", "GEOGRAPHY", "GEOMETRY"):
            column.set("kind", exp.DataType.build("VARIANT", dialect="snowflake"))
        keys = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint, exp.Reference)
        kept = [p for p in column.args.get("constraints") or [] if not isinstance(p.kind, keys)]
        column.set("constraints", kept)
    schema.set("expressions", columns)


def _take_keys(session: Session, own: Name, table: Table, schema: exp.Schema) -> None:
    for part in schema.expressions:
        if isinstance(part, exp.ColumnDef):
            for constraint in part.args.get("constraints") or []:
                _take_key(session, own, table, constraint.kind, (folded(part.this),), "")
        elif isinstance(part, exp.Constraint):
            for inner in part.expressions:
                _take_key(session, own, table, inner, (), folded(part.this))
        else:
            _take_key(session, own, table, part, (), "")


def _take_key(
    session: Session,
    own: Name,
    table: Table,
    key: exp.Expression,
    columns: tuple[str, ...],
    name: str,
) -> None:
    if isinstance(key, exp.PrimaryKeyColumnConstraint | exp.PrimaryKey):
        table.primary = columns or _key_columns(key.expressions)
        table.primary_name = name or "SYS_CONSTRAINT_PRIMARY"
    elif isinstance(key, exp.UniqueColumnConstraint):
        table.unique.append(columns or _key_columns(key.this.expressions))
    elif isinstance(key, exp.ForeignKey | exp.Reference):
        reference = key.args["reference"] if isinstance(key, exp.ForeignKey) else key
        here = columns or _key_columns(key.expressions)
        schema = reference.this
        target = schema.this if isinstance(schema, exp.Schema) else schema
        full = session.full(
            [folded(target.args[p]) for p in ("catalog", "db", "this") if target.args.get(p)]
        )
        other = table if full == own else session.catalog.find(full)
        there = (
            _key_columns(schema.expressions) if isinstance(schema, exp.Schema) else other.primary
        )
        name = name or f"SYS_CONSTRAINT_{len(table.foreign) + 1}"
        table.foreign.append(Foreign(here, full, there or other.primary, name))


def _key_columns(parts: list[exp.Expression]) -> tuple[str, ...]:
    return tuple(folded(part.find(exp.Identifier)) for part in parts)


def add_key(session: Session, match: re.Match[str]) -> Answer:
    """ALTER TABLE ... ADD a key, which is noted and enforces nothing."""
    name = session.name(match["name"])
    table = session.check_table(name, "OWNERSHIP")
    stub = parse_one(f"CREATE TABLE rle_stub (rle_column INT, {match['key']})")
    _take_keys(session, name, table, stub.this)
    return done()
