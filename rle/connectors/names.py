"""How a table is named: DB.SCHEMA.TABLE, with double quotes where a part needs them."""

from __future__ import annotations

import re

from rle.errors import ValidationError

# A part is quoted, quotes inside it doubled, or it is plain: no dots, and no quote at its start.
_PART = r'(?:"(?:[^"]|"")+"|[^."][^.]*)'
_NAME = re.compile(rf"({_PART})\.({_PART})\.({_PART})")
_SCHEMA = re.compile(rf"({_PART})\.({_PART})")
_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+")
# What a terminal obeys in place of showing it: escape sequences, and marks that turn text round.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def parse(source: str, *, example: str) -> tuple[str, str, str]:
    """Split a full name into database, schema and table.

    Args:
        source: Such as SHOP.MAIN.ORDERS or SHOP."odd.schema"."a ""quoted"" table".
        example: A full name that would be right, shown in the error.

    Raises:
        ValidationError: The name does not have three parts.
    """
    database, schema, table = (_unquote(part) for part in split(source, example=example))
    return database, schema, table


def split(source: str, *, example: str) -> tuple[str, str, str]:
    """Split a full name as `parse` does, but leave quotes on: who folds case must see them.

    Raises:
        ValidationError: The name does not have three parts.
    """
    match = _NAME.fullmatch(source) if isinstance(source, str) else None
    if match is None or "\0" in source:
        raise ValidationError(
            f"Table name {source!r} must have the form DB.SCHEMA.TABLE, such as {example}. "
            'A part with dots in it goes in double quotes: DB.SCHEMA."odd.name".'
        )
    database, schema, table = match.groups()
    return database, schema, table


def parse_schema(schema: str) -> tuple[str, str]:
    """Split the name of a schema into database and schema.

    Args:
        schema: Such as SHOP.MAIN or SHOP."odd.schema".

    Raises:
        ValidationError: The name does not have two parts.
    """
    database, name = (_unquote(part) for part in split_schema(schema))
    return database, name


def split_schema(schema: str) -> tuple[str, str]:
    """Split a schema's name as `parse_schema` does, but leave quotes on.

    Raises:
        ValidationError: The name does not have two parts.
    """
    match = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if match is None or "\0" in schema:
        raise ValidationError(
            f"Schema name {schema!r} must have the form DB.SCHEMA, such as SHOP.MAIN. "
            'A part with dots in it goes in double quotes: DB."odd.schema".'
        )
    database, name = match.groups()
    return database, name


def join(database: str, schema: str, table: str) -> str:
    """Return the full name that `parse` takes apart again."""
    return ".".join(
        quote(part) if "." in part or part.startswith('"') else part
        for part in (database, schema, table)
    )


def quote(identifier: str) -> str:
    """Quote an identifier for SQL. The only place where names enter a statement."""
    if "\0" in identifier:
        raise ValidationError(f"Name {identifier!r} holds a NUL character.")
    return '"' + identifier.replace('"', '""') + '"'


def shown(text: str) -> str:
    """Return a name, or what a server says, in one line that a terminal shows and never obeys."""
    return _OBEYED.sub("?", _BREAKS.sub(" ", text))


def _unquote(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part
