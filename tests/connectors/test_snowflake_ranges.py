from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.connectors.names import quote
from rle.connectors.snowflake import moment as snowflake_moment
from rle.connectors.snowflake import ranges as snowflake_ranges
from rle.connectors.snowflake import results as snowflake_results
from rle.connectors.snowflake.ranges import Split


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_batches_are_put_together_in_order_and_none_is_lost(
    num_rows: list[int], max_rows: int
) -> None:
    groups = snowflake_results.group(num_rows, max_rows)
    positions = [i for first, stop, _ in groups for i in range(first, stop)]
    assert positions == list(range(len(num_rows)))
    assert [sum(num_rows[first:stop]) for first, stop, _ in groups] == [n for *_, n in groups]
    assert all(rows <= max_rows or num_rows[first] == rows for first, _, rows in groups)


def test_neighbours_share_a_chunk_only_up_to_its_size() -> None:
    assert snowflake_results.group([10, 20, 70, 90, 500, 5], 100) == [
        (0, 3, 100),
        (3, 4, 90),
        (4, 5, 500),
        (5, 6, 5),
    ]


@pytest.mark.parametrize(
    ("types", "keys", "column"),
    [
        ({"A": "VARCHAR", "B": "NUMBER"}, {}, "B"),
        ({"A": "TIMESTAMP_LTZ", "B": "DATE"}, {}, "B"),
        ({"A": "VARCHAR", "B": "NUMBER"}, {"primary": ["A"]}, "A"),
        ({"A": "DATE", "B": "NUMBER"}, {"primary": ["B"], "clustering": ["A"]}, "A"),
        ({"A": "BOOLEAN", "B": "NUMBER"}, {"primary": ["A"], "clustering": ["gone"]}, "B"),
        ({"A": "VARCHAR", "B": "VARIANT", "C": "FLOAT"}, {}, None),
        ({}, {}, None),
    ],
)
def test_rows_are_split_by_a_key_or_a_number_or_a_time(
    types: dict[str, str], keys: dict[str, list[str]], column: str | None
) -> None:
    assert snowflake_ranges.choose(types, **keys) == column


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("LINEAR(CREATED, USER_ID)", ["CREATED", "USER_ID"]),
        ('LINEAR(TO_DATE("at"), "odd, ""name""", b)', ['odd, "name"', "B"]),
        ("(A)", ["A"]),
        ("", []),
        (None, []),
    ],
)
def test_clustering_columns_are_read_and_expressions_are_not(
    text: str | None, columns: list[str]
) -> None:
    assert snowflake_ranges.clustering_columns(text) == columns


def rows_by_range(
    values: list[Any],
    step: int,
    sql_type: str,
    type_name: str,
    name: str = 'k"; DROP TABLE t; --',
) -> list[list[int]]:
    """Row numbers that each range selects, by running its statements on DuckDB."""
    column = quote(name)
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t (row_number INT, {column} {sql_type})")
        if values:
            con.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(values)))
        bounds = con.execute(snowflake_ranges.bounds_query("t", name), [step]).fetchall()
        split = Split(name, type_name, snowflake_ranges.plain_bounds(row[0] for row in bounds))
        found = []
        for token in snowflake_ranges.tokens(split):
            where, given_ = snowflake_ranges.condition(token)
            where = where.replace("::TIMESTAMP_NTZ", "::TIMESTAMP")
            rows = con.execute(f"SELECT row_number FROM t{where}", given_).fetchall()
            found.append([row[0] for row in rows])
        return found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.integers(-(2**70), 2**70) | st.integers(0, 5)), st.integers(1, 9))
def test_ranges_hold_every_row_once(values: list[int | None], step: int) -> None:
    ranges = rows_by_range(values, step, "HUGEINT", "NUMBER")
    assert sorted(row for rows in ranges for row in rows) == list(range(len(values)))
    if len({*values}) == len(values):
        nulls = values.count(None)
        assert all(len(rows) <= step + nulls for rows in ranges)


@pytest.mark.parametrize(
    ("sql_type", "type_name", "value"),
    [
        ("DATE", "DATE", lambda i: dt.date(1, 1, 1) + dt.timedelta(days=i)),
        ("TIMESTAMP", "TIMESTAMP_NTZ", lambda i: dt.datetime(1600, 1, 1, 0, 0, 0, i)),
        ("TIMESTAMP", "TIMESTAMP_NTZ", lambda i: dt.datetime(9999, 1, 1 + i)),
        ("VARCHAR", "VARCHAR", lambda i: f"'; DROP TABLE t; -- {i:02d}"),
    ],
)
def test_times_and_texts_make_ranges_too(sql_type: str, type_name: str, value: Any) -> None:
    values = [value(i) for i in (*range(20), 3, 3)] + [None, None]
    ranges = rows_by_range(values, 5, sql_type, type_name)
    assert len(ranges) == 5
    assert sorted(row for rows in ranges for row in rows) == list(range(24))


@pytest.mark.parametrize("name", ["N", "TOTAL", "ORDERED", "BOUND"])
def test_a_column_of_any_name_is_split_by_its_rows(name: str) -> None:
    values = [1 + 3 * i for i in range(20)]
    assert [len(rows) for rows in rows_by_range(values, 5, "INT", "NUMBER", name)] == [5] * 4


def test_a_column_of_nulls_is_one_range() -> None:
    assert rows_by_range([None] * 3, 2, "INT", "NUMBER") == [[0, 1, 2]]


def test_bounds_are_plain_values() -> None:
    moment = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    bounds = snowflake_ranges.plain_bounds([Decimal(10**20), 10**20, moment, dt.date(1, 1, 1)])
    assert bounds == (10**20, "2020-01-01 00:00:00+00:00", "0001-01-01")


def test_a_moment_enters_a_statement_only_as_a_moment() -> None:
    assert snowflake_moment.clause(None) == ""
    assert snowflake_moment.clause("2026-01-31T12:00:00+02:00") == (
        " AT(TIMESTAMP => '2026-01-31 10:00:00.000000+00:00'::TIMESTAMP_LTZ)"
    )
    with pytest.raises(ValueError, match="Invalid isoformat"):
        snowflake_moment.clause("2026-01-31'); DROP TABLE a; --")
