"""A table in ranges of one column, for servers that hand out a result in one piece.

Each range is a SELECT of its own, so that ranges are read apart from one another, by any process,
and again where one fails. Together they hold every row exactly once, NULLs included.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rle.connectors.names import quote
from rle.connectors.snowflake.names import fold
from rle.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import JsonValue

_CASTS = {
    "NUMBER": "",
    "DATE": "::DATE",
    "TIMESTAMP_NTZ": "::TIMESTAMP_NTZ",
    "TIMESTAMP_LTZ": "::TIMESTAMP_LTZ",
    "TIMESTAMP_TZ": "::TIMESTAMP_TZ",
    "VARCHAR": "",
}
"""Types that rows are split by, best first, with the cast of a bound that is bound as text."""
_IDENTIFIER = r'"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*'


@dataclass(frozen=True, slots=True)
class Split:
    """What a table is split by."""

    column: str
    type_name: str
    """One of `_CASTS`."""
    bounds: tuple[int | str, ...]
    """Ascending, distinct: each is the last value of a range."""


def choose(
    types: Mapping[str, str], *, clustering: Sequence[str] = (), primary: Sequence[str] = ()
) -> str | None:
    """Choose the column that rows are split by; None where none will do.

    Args:
        types: Type of each column by name, such as NUMBER, without what is in parentheses. A
            NUMBER with fraction digits is not among them.
        clustering: Columns that the table is clustered by, so that a range touches few partitions.
        primary: Columns of the primary key, first ones first.
    """
    for column in (*clustering[:1], *primary[:1]):
        if types.get(column) in _CASTS:
            return column
    for type_name in _CASTS:
        for column, found in types.items():
            if found == type_name != "VARCHAR":
                return column
    return None


def clustering_columns(cluster_by: str | None) -> list[str]:
    """Return the columns in the text that SHOW TABLES has in "cluster_by"; expressions are not.

    Args:
        cluster_by: Such as LINEAR(CREATED, TO_DATE("at"), "odd name"); None or "" where there is
            no clustering.
    """
    inside = re.fullmatch(r"\s*(?:LINEAR)?\s*\((.*)\)\s*", cluster_by or "", re.DOTALL)
    if inside is None:
        return []
    return [fold(part) for part in re.findall(rf"(?:^|,)\s*({_IDENTIFIER})\s*(?=,|$)", inside[1])]


def bounds_query(table: str, column: str) -> str:
    """Return the query for the value of every n-th row but the last; n is its one parameter.

    Args:
        table: Quoted full name, with the moment it is read at.
        column: Name of the column.
    """
    name = quote(column)
    # Names that no column has: a column called N would be taken for the position.
    bound, position, total = '"rle: bound"', '"rle: position"', '"rle: total"'
    return (
        f"SELECT {bound} FROM (SELECT {name} AS {bound}, "  # noqa: S608
        f"ROW_NUMBER() OVER (ORDER BY {name}) AS {position}, COUNT(*) OVER () AS {total} "
        f"FROM {table} WHERE {name} IS NOT NULL) AS ordered "
        f"WHERE MOD({position}, ?) = 0 AND {position} < {total} ORDER BY {position}"
    )


def plain_bounds(values: Iterable[Any]) -> tuple[int | str, ...]:
    """Return bounds as JSON has them, each once.

    A moment loses its nanoseconds: a bound need not be a value that is there.
    """
    plain = [_plain(value) for value in values if value is not None]
    return tuple(dict.fromkeys(plain))


def _plain(value: Any) -> int | str:
    match value:
        case int() | str():
            return value
        case Decimal() if value == int(value):
            return int(value)
        case dt.datetime():
            return value.isoformat(sep=" ")
        case dt.date():
            return value.isoformat()
    raise InternalError(f"{value!r} of type {type(value).__name__} is no bound of a range.")


def tokens(split: Split) -> list[dict[str, JsonValue]]:
    """Return the ranges: up to the first bound, between two, after the last, and of the NULLs.

    The NULLs are with the first range: they are few, and a chunk of no row would be one too many.
    """
    shared: dict[str, JsonValue] = {"column": split.column, "type": split.type_name}
    lows, highs = (None, *split.bounds), (*split.bounds, None)
    return [
        shared | {"above": low, "upto": high, "nulls": low is None}
        for low, high in zip(lows, highs, strict=True)
    ]


def condition(token: Mapping[str, JsonValue]) -> tuple[str, list[int | str]]:
    """Return the WHERE clause of a range, and the values that are bound in it."""
    column, cast = quote(str(token["column"])), _CASTS[str(token["type"])]
    parts, values = [], []
    for key, sign in (("above", ">"), ("upto", "<=")):
        bound = token[key]
        if isinstance(bound, int | str):
            parts.append(f"{column} {sign} ?{cast}")
            values.append(bound)
    clause = " AND ".join(parts) or f"{column} IS NOT NULL"
    if token["nulls"]:
        clause = f"({clause}) OR {column} IS NULL"
    return f" WHERE {clause}", values
