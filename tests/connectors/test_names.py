from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.connectors.names import join, parse, parse_schema, quote, split_schema
from rle.errors import ValidationError

PARTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(PARTS, PARTS, PARTS)
def test_joined_names_come_apart_again(database: str, schema: str, table: str) -> None:
    assert parse(join(database, schema, table), example="a.b.c") == (database, schema, table)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("SHOP.MAIN.ORDERS", ("SHOP", "MAIN", "ORDERS")),
        ('shop."odd.schema"."a ""b"""', ("shop", "odd.schema", 'a "b"')),
        ('shop.main.we"ird', ("shop", "main", 'we"ird')),
    ],
)
def test_names_are_split_at_dots_outside_quotes(source: str, parts: tuple[str, ...]) -> None:
    assert parse(source, example="a.b.c") == parts


@pytest.mark.parametrize(
    "source", ["a", "a.b", "a.b.c.d", "a..c", 'a.b."', 'a.b.""', "a.b.c\0", 5, None, b"a.b.c"]
)
def test_other_names_are_refused_with_an_example(source: Any) -> None:
    with pytest.raises(ValidationError, match=r"such as shop\.main\.orders"):
        parse(source, example="shop.main.orders")


def test_quotes_are_doubled() -> None:
    assert quote('a"; DROP TABLE b') == '"a""; DROP TABLE b"'
    with pytest.raises(ValidationError, match="NUL"):
        quote("a\0b")


@pytest.mark.parametrize(
    ("schema", "split", "parsed"),
    [
        ("SHOP.MAIN", ("SHOP", "MAIN"), ("SHOP", "MAIN")),
        ('shop."odd.schema"', ("shop", '"odd.schema"'), ("shop", "odd.schema")),
        ('"a ""b"""."c"', ('"a ""b"""', '"c"'), ('a "b"', "c")),
    ],
)
def test_a_schema_has_two_parts(
    schema: str, split: tuple[str, str], parsed: tuple[str, str]
) -> None:
    assert (split_schema(schema), parse_schema(schema)) == (split, parsed)


@pytest.mark.parametrize("schema", ["", "a", "a.b.c", 'a."b', "a.b\0", 5, None])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(ValidationError, match=r"DB\.SCHEMA"):
        split_schema(schema)
