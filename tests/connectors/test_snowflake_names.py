from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.connectors.names import quote
from rle.connectors.snowflake import names
from rle.errors import ValidationError
from rle.spec.output import OutputConfig

PARTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("shop.Public.orders", ("SHOP", "PUBLIC", "ORDERS")),
        ('SHOP.PUBLIC."orders"', ("SHOP", "PUBLIC", "orders")),
        ('"my db"."odd.schema"."a ""b"""', ("my db", "odd.schema", 'a "b"')),
        ("shop.public.select", ("SHOP", "PUBLIC", "SELECT")),
        ("_a.b$1.C_2", ("_A", "B$1", "C_2")),
        ('shop.public."日本"', ("SHOP", "PUBLIC", "日本")),
    ],
)
def test_plain_parts_fold_to_upper_case_and_quoted_ones_stay(
    source: str, parts: tuple[str, ...]
) -> None:
    assert names.read(source) == parts


@given(PARTS, PARTS, PARTS)
def test_written_names_come_apart_again(database: str, schema: str, table: str) -> None:
    name = names.TableName(database, schema, table)
    assert names.read(str(name)) == name
    assert names.read(name.sql) == name


@given(PARTS)
def test_a_quoted_part_stays_one_part(table: str) -> None:
    quoted = names.TableName("A", "B", table).sql
    assert quoted.startswith('"A"."B"."')
    inside = quoted[len('"A"."B"."') : -1]
    assert '"' not in inside.replace('""', "")


@pytest.mark.parametrize("source", ["a", "a.b", "a.b.c.d", "a..c", 'a.b."', 'a.b.""', "a.b.c\0"])
def test_other_names_are_refused_with_an_example(source: str) -> None:
    with pytest.raises(ValidationError, match=r"DB\.SCHEMA\.TABLE, such as SHOP\.PUBLIC\.ORDERS"):
        names.read(source)


@pytest.mark.parametrize("part", ["my-table", "1st", "naïve", "a b", 'we"ird', "x;DROP TABLE y"])
def test_parts_that_need_quotes_say_how(part: str) -> None:
    with pytest.raises(ValidationError, match="double quotes only: write"):
        names.read(f"a.b.{part}")


def test_schemas_are_read_the_same_way() -> None:
    assert names.read_schema('shop."my schema"') == ("SHOP", "my schema")
    with pytest.raises(ValidationError, match=r"form DB\.SCHEMA, such as"):
        names.read_schema("shop")


@given(PARTS, PARTS, PARTS)
def test_an_output_is_where_it_is_said_to_be(database: str, schema: str, table: str) -> None:
    """However a place is named, its table has three parts, each of them what was named."""
    for place in ("snowflake", "warehouse"):
        output = OutputConfig(place=place, database_name=database, schema_name=schema)
        parts = names.read(output.table(table))
        for found, named in zip(parts, (database, schema, table), strict=True):
            assert found in (named, named.upper(), named[1:-1].replace('""', '"'))
        assert names.read_schema(output.full_schema) == names.read(output.table("P"))[:2]
        exact = OutputConfig(
            place=place,
            database_name=quote(database),
            schema_name=quote(schema),
        )
        assert names.read(exact.table("P")) == (database, schema, "P")
