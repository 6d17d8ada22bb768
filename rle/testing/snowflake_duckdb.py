"""What DuckDB runs, by fakesnow's translation, and what its errors are called in Snowflake.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
from snowflake.connector.errors import Error as DriverError
from snowflake_accounts import SnowflakeError, not_there
from snowflake_catalog import shown
from sqlglot import exp
from sqlglot.errors import SqlglotError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from snowflake_session import Session

_KEPT_AS_JSON = (exp.DataType.Type.VECTOR, exp.DataType.Type.GEOGRAPHY, exp.DataType.Type.GEOMETRY)


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


def translated(session: Session, expression: exp.Expression, values: list[Any] | None) -> list[str]:
    """Return DuckDB's statements; what cannot be translated is a feature that is not there."""
    try:
        return translate(session, expression, values)
    except (SqlglotError, DriverError, RuntimeError, AssertionError) as error:
        raise SnowflakeError("000002", f"Unsupported feature '{error}'.", "0A000") from error


def run_duckdb(session: Session, sql: str, values: Sequence[Any] = ()) -> None:
    """Run one statement of DuckDB's, whose errors become Snowflake's."""
    with as_snowflake(session, sql):
        session.con.execute(sql, list(values) if values else None)


@contextmanager
def as_snowflake(session: Session, sql: str) -> Iterator[None]:
    """Raise errors of DuckDB as Snowflake words them."""
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
