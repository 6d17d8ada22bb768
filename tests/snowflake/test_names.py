"""No name breaks out of its statement: what is named is what is read, and nothing else happens."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rle.connectors.snowflake.names import TableName
from rle.errors import NotSeenError
from tests.connectors.warehouse import read_all
from tests.snowflake.warehouse import PASSWORD, connector_to

if TYPE_CHECKING:
    from rle.testing.fake_snowflake import FakeSnowflake

_number = itertools.count(1)

HOSTILE = [
    '"; DROP TABLE SHOP.PUBLIC.CANARY; --',
    "'; DROP TABLE SHOP.PUBLIC.CANARY; --",
    '" UNION SELECT * FROM SHOP.PUBLIC.CANARY --',
    '"."CANARY',
    "/* */ -- ;",
    "a\\",
    'a\\"',
    "${x} &y %s ? :1 {0}",
    "SELECT",
    "orders",
    "naïve 表",
    " ",
    "a\nb\tc",
    "rowid",
    "n",
    "found",
]
# DuckDB, which is behind the stand-in, does not tell names apart that differ only in case.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40
)
NAMES = st.sampled_from(HOSTILE) | TEXT | st.tuples(TEXT, st.sampled_from(HOSTILE)).map("".join)


@pytest.fixture
def server(snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch) -> FakeSnowflake:
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    return snowflake_server


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(schema=NAMES, table=NAMES, column=NAMES, is_in_pieces=st.booleans())
@example(HOSTILE[0], HOSTILE[0], HOSTILE[0], False)
@example(HOSTILE[1], HOSTILE[3], HOSTILE[2], True)
@example("a.b", "select", 'x"y', True)
def test_the_named_table_is_read_and_a_bystander_is_left_alone(
    server: FakeSnowflake, schema: str, table: str, column: str, is_in_pieces: bool
) -> None:
    server.put("CANARY", pa.table({"SONG": ["tweet"]}))
    unique = f"{schema}{next(_number)}"
    server.add_schema("SHOP", unique)
    server.put(("SHOP", unique, table), pa.table({column: list(range(60))}))
    server.settings(rows_per_chunk=20 if is_in_pieces else 10**6, first_rows=5)
    source = str(TableName("SHOP", unique, table))
    connector = connector_to(server)

    assert connector.arrow_schema(source).names == [column]
    assert connector.exists(source)
    assert source in connector.sources()
    assert connector.num_rows(source) == 60
    rows = read_all(connector, source, [column], 25)
    assert sorted(rows[column].to_pylist()) == list(range(60))
    assert connector.sample(source, max_rows=10).num_rows == 10
    assert connector.version(source) == connector.version(source)
    fixed, moment = connector.at_one_moment([source])
    assert moment is not None
    assert read_all(fixed, source, [column], 25).num_rows == 60
    connector.table_keys(source)
    with pytest.raises(NotSeenError):
        connector.arrow_schema(str(TableName("SHOP", unique, f"{table}{table}x")))

    assert read_all(connector, "SHOP.PUBLIC.CANARY", ["SONG"], 9)["SONG"].to_pylist() == ["tweet"]


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(alias=NAMES, column=NAMES)
@example(HOSTILE[0], HOSTILE[0])
def test_what_is_written_has_its_name_and_nothing_else_is_touched(
    server: FakeSnowflake, alias: str, column: str
) -> None:
    server.put("CANARY", pa.table({"SONG": ["tweet"]}))
    table = str(TableName("SHOP", "OUT", f"PREDICTIONS_{alias}{next(_number)}"))
    rows = pa.table({column: [1, 2, 3]})
    connector = connector_to(server)
    assert connector.write(table, rows.to_batches(), schema=rows.schema) == 3
    assert sorted(read_all(connector, table, [column], 9)[column].to_pylist()) == [1, 2, 3]
    assert read_all(connector, "SHOP.PUBLIC.CANARY", ["SONG"], 9)["SONG"].to_pylist() == ["tweet"]


def test_names_that_differ_in_case_are_told_apart(server: FakeSnowflake) -> None:
    server.add_schema("SHOP", "CASES")
    server.put(("SHOP", "CASES", "Orders"), pa.table({"Id": [1]}))
    connector = connector_to(server)
    assert connector.num_rows('shop.cases."Orders"') == 1
    with pytest.raises(NotSeenError, match=r'Did you mean .*"Orders"'):
        connector.num_rows("SHOP.CASES.ORDERS")
    with pytest.raises(NotSeenError):
        connector.num_rows('"shop".CASES."Orders"')
