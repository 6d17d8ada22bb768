"""Names and declared types of what a SELECT returns.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snowflake_catalog import Name
from snowflake_types import SfType, parse_type
from sqlglot import exp

if TYPE_CHECKING:
    from snowflake_session import Session


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
            name = exact_name(part)
            if name in session.catalog.tables:
                columns = session.catalog.tables[name].columns
                found[key] = {column: info.sf_type for column, info in columns.items()}
            elif part.name in withs:
                found[key] = withs[part.name]
    return found


def named(expression: exp.Expression) -> exp.Expression:
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


def folded(identifier: exp.Expression) -> str:
    """Return the exact name that an identifier means."""
    text = str(identifier.this)
    return text if identifier.args.get("quoted") else text.upper()


def exact_name(table: exp.Table) -> Name | None:
    """Return the name of a table that has all three parts; None where it has not."""
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
