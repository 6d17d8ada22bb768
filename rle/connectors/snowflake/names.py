"""How Snowflake reads a name: what is not in double quotes is folded to upper case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from rle.connectors.names import quote, split
from rle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = "SHOP.PUBLIC.ORDERS"
"""A full name that would be right."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_UPPER = re.compile(r"[A-Z_][A-Z0-9_$]*")


class TableName(NamedTuple):
    """The three parts as Snowflake stores them: folded, without quotes."""

    database: str
    schema: str
    table: str

    @property
    def sql(self) -> str:
        """The full name as it goes into a statement, every part quoted."""
        return ".".join(map(quote, self))

    @property
    def schema_sql(self) -> str:
        """The schema's full name as it goes into a statement."""
        return f"{quote(self.database)}.{quote(self.schema)}"

    def __str__(self) -> str:
        return write(self)


def read(source: str) -> TableName:
    """Split a full name and fold its parts as Snowflake does.

    Args:
        source: Such as shop.public.orders, which is SHOP.PUBLIC.ORDERS, or
            SHOP.PUBLIC."orders.2024", whose last part is taken as it is.

    Raises:
        ValidationError: The name does not have three parts, or a part has characters that Snowflake
            takes in double quotes only.
    """
    database, schema, table = split(source, example=EXAMPLE)
    return TableName(_fold(database, source), _fold(schema, source), _fold(table, source))


def read_schema(name: str) -> tuple[str, str]:
    """Split DB.SCHEMA and fold its parts.

    Raises:
        ValidationError: The name does not have two parts.
    """
    try:
        database, schema, _ = read(f"{name}.TABLE_OF_IT")
    except ValidationError:
        raise ValidationError(
            f"Schema name {name!r} must have the form DB.SCHEMA, such as SHOP.PUBLIC. "
            'A part in lower case or with other characters goes in double quotes: DB."my schema".'
        ) from None
    return database, schema


def write(parts: Sequence[str]) -> str:
    """Return the name that `read` takes apart again: quoted where folding would change a part."""
    return ".".join(part if _UPPER.fullmatch(part) else quote(part) for part in parts)


def fold(part: str) -> str:
    """Return a part as Snowflake stores it: what is in double quotes as it is, else upper case."""
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.upper()


def _fold(part: str, source: str) -> str:
    if not part.startswith('"') and _PLAIN.fullmatch(part) is None:
        raise ValidationError(
            f"Table name {source!r} has the part {part!r}, which Snowflake takes in double quotes "
            f"only: write {quote(part)}. The form is DB.SCHEMA.TABLE, such as {EXAMPLE}."
        )
    return fold(part)
