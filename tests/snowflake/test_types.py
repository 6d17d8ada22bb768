"""A NULL and the extremes of every type of Snowflake, as they come over the wire."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from rle.connectors.snowflake.driver import generation
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.session import session
from rle.errors import DataError
from rle.spec.infer import infer_dtypes
from rle.values import ColumnDType
from tests.connectors.warehouse import read_all
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.testing.fake_snowflake import FakeSnowflake

    Make = Callable[..., str]

UTC = dt.UTC

# Declared type, literals in SQL (NULL is added), what is read.
COLUMNS: dict[str, tuple[list[str], list[Any]]] = {
    "NUMBER(38,0)": (["1", str(2**63 - 1), str(-(2**63))], [1, 2**63 - 1, -(2**63)]),
    "NUMBER(10,2)": (["12.5", "-0.01"], [Decimal("12.50"), Decimal("-0.01")]),
    "NUMBER(38,10)": (["1234567890.0123456789"], [Decimal("1234567890.0123456789")]),
    "NUMBER(20,10)": (["12345678.0123456789"], [Decimal("12345678.0123456789")]),
    "INT": (["-5"], [-5]),
    "FLOAT": (["1e300", "'inf'::FLOAT", "'-inf'::FLOAT"], [1e300, math.inf, -math.inf]),
    "BOOLEAN": (["TRUE", "FALSE"], [True, False]),
    "VARCHAR": (["'日本'", "''", "'it''s \"x\"'"], ["日本", "", 'it\'s "x"']),
    "DATE": (
        ["'0001-01-01'::DATE", "'9999-12-31'::DATE"],
        [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    ),
    "TIME": (["'23:59:59.123456'::TIME"], [dt.time(23, 59, 59, 123456)]),
    "TIMESTAMP_NTZ": (
        [
            f"'{t}'::TIMESTAMP_NTZ"
            for t in ("1600-02-29 01:02:03", "9999-12-31 23:59:59", "1969-12-31 23:59:59.999999")
        ],
        [
            dt.datetime(1600, 2, 29, 1, 2, 3),
            dt.datetime(9999, 12, 31, 23, 59, 59),
            dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
        ],
    ),
    "TIMESTAMP_NTZ(0)": (
        ["'2020-01-01 10:00:00'::TIMESTAMP_NTZ"],
        [dt.datetime(2020, 1, 1, 10)],
    ),
    "TIMESTAMP_LTZ": (
        [
            f"'{t}'::TIMESTAMP_LTZ"
            for t in (
                "2020-01-01 10:00:00+02:00",
                "1600-02-29 01:02:03+00:00",
                "9999-12-31 23:59:59.999999+00:00",
            )
        ],
        [
            dt.datetime(2020, 1, 1, 8, tzinfo=UTC),
            dt.datetime(1600, 2, 29, 1, 2, 3, tzinfo=UTC),
            dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ],
    ),
    "TIMESTAMP_TZ": (
        [
            f"'{t}'::TIMESTAMP_TZ"
            for t in (
                "2020-01-01 10:00:00+02:00",
                "1600-02-29 01:02:03-05:00",
                "9999-12-31 23:59:59+00:00",
            )
        ],
        [
            dt.datetime(2020, 1, 1, 8, tzinfo=UTC),
            dt.datetime(1600, 2, 29, 6, 2, 3, tzinfo=UTC),
            dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        ],
    ),
    "BINARY": (["TO_BINARY('00FF', 'HEX')"], [b"\x00\xff"]),
}

_number = itertools.count(1)


@pytest.fixture(params=["arrow", "json"])
def connector(
    request: pytest.FixtureRequest,
    snowflake_server: FakeSnowflake,
    monkeypatch: pytest.MonkeyPatch,
) -> SnowflakeConnector:
    """Its results come as the parameter says."""
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    snowflake_server.settings(has_arrow=request.param == "arrow")
    return connector_to(snowflake_server)


@pytest.fixture
def make(snowflake_server: FakeSnowflake, connector: SnowflakeConnector) -> Make:
    schema = new_schema(snowflake_server)

    def make_table(declared: str, literals: list[str]) -> str:
        source = str(TableName("SHOP", schema, f"T{next(_number)}"))
        with session(connector) as opened:
            opened.execute(f"CREATE TABLE {source} (ID INT, C {declared})")
            for row, literal in enumerate(literals):
                opened.execute(f"INSERT INTO {source} SELECT {row}, {literal}")
        return source

    return make_table


def column(connector: SnowflakeConnector, source: str) -> list[Any]:
    rows = read_all(connector, source, ["ID", "C"], 1000)
    assert rows.schema.field("C").type == connector.arrow_schema(source).field("C").type
    return rows.sort_by("ID")["C"].to_pylist()


@pytest.mark.parametrize("declared", COLUMNS)
def test_values_and_nulls_survive(connector: SnowflakeConnector, make: Make, declared: str) -> None:
    literals, values = COLUMNS[declared]
    source = make(declared, [*literals, "NULL"])
    assert column(connector, source) == [*values, None]
    empty = make(declared, [])
    assert column(connector, empty) == []
    nulls = make(declared, ["NULL", "NULL"])
    assert column(connector, nulls) == [None, None]
    assert connector.sample(nulls, max_rows=10)["C"].null_count == 2


def test_nan_is_nan_and_null_is_null(connector: SnowflakeConnector, make: Make) -> None:
    found = column(connector, make("FLOAT", ["'NaN'::FLOAT", "NULL"]))
    assert math.isnan(found[0])
    assert found[1] is None


def test_a_whole_number_beyond_64_bits_is_refused_by_name(
    snowflake_server: FakeSnowflake, connector: SnowflakeConnector
) -> None:
    large = pa.array([Decimal(1), Decimal(10**30)], pa.decimal128(38, 0))
    name = f"LARGE{next(_number)}"
    types = {"C": "NUMBER(38,0)", "ID": "INT"}
    rows = pa.table({"ID": [1, 2], "C": large})
    snowflake_server.put(("SHOP", "PUBLIC", name), rows, types=types)
    source = f"SHOP.PUBLIC.{name}"
    with pytest.raises(DataError, match=rf"Column 'C' of {source} holds 1\d+, a number beyond 64"):
        column(connector, source)
    assert read_all(connector, source, ["ID"], 10).num_rows == 2


@pytest.mark.parametrize(
    ("documents", "dtype", "values"),
    [
        (['["a", "b"]', "[]"], pa.list_(pa.string()), [["a", "b"], []]),
        (["[1.5, 2]", "[0.25, -1]"], pa.list_(pa.float64()), [[1.5, 2.0], [0.25, -1.0]]),
        (["[1, 2]", "[3]"], pa.list_(pa.int64()), [[1, 2], [3]]),
        (['{"a": [1, null]}', "7", '"x"'], pa.string(), [{"a": [1, None]}, 7, "x"]),
        (['["a"]', "[1]"], pa.string(), [["a"], [1]]),
    ],
)
@pytest.mark.parametrize("declared", ["VARIANT", "ARRAY"])
def test_documents_are_lists_or_text(
    connector: SnowflakeConnector,
    make: Make,
    declared: str,
    documents: list[str],
    dtype: pa.DataType,
    values: list[Any],
) -> None:
    source = make(declared, [f"PARSE_JSON('{text}')" for text in documents] + ["NULL"])
    assert connector.arrow_schema(source).field("C").type == dtype
    found = column(connector, source)
    assert found.pop() is None
    if pa.types.is_string(dtype):
        found = [json.loads(text) for text in found]
    assert found == values


def test_objects_and_places_are_text(
    snowflake_server: FakeSnowflake, connector: SnowflakeConnector
) -> None:
    point = '{"coordinates": [1, 2], "type": "Point"}'
    rows = pa.table({"o": ['{"a": 1}', None], "g": [point, None]})
    types = {"o": "OBJECT", "g": "GEOGRAPHY"}
    name = f"PLACES{next(_number)}"
    snowflake_server.put(("SHOP", "PUBLIC", name), rows, types=types)
    found = read_all(connector, f"SHOP.PUBLIC.{name}", ["o", "g"], 10)
    assert [t and json.loads(t) for t in found["o"].to_pylist()] == [{"a": 1}, None]
    assert [t and json.loads(t) for t in found["g"].to_pylist()] == [json.loads(point), None]


@pytest.mark.parametrize(("kind", "item"), [("FLOAT", pa.float32()), ("INT", pa.int32())])
def test_vectors_are_lists_of_their_length(
    request: pytest.FixtureRequest,
    snowflake_server: FakeSnowflake,
    connector: SnowflakeConnector,
    kind: str,
    item: pa.DataType,
) -> None:
    if generation() > 4 and "json" in request.node.name:
        pytest.skip("driver 5 wants a vector's metadata in a form that the stand-in does not know")
    rows = pa.table({"v": pa.array([[1, 2, 3], None], pa.list_(item))})
    name = f"VECTORS{next(_number)}"
    snowflake_server.put(("SHOP", "PUBLIC", name), rows, types={"v": f"VECTOR({kind}, 3)"})
    found = read_all(connector, f"SHOP.PUBLIC.{name}", ["v"], 10)
    assert found.schema.field("v").type == pa.list_(item, 3)
    assert found["v"].to_pylist() == [[1, 2, 3], None]


def test_a_document_of_16_mb_survives(
    snowflake_server: FakeSnowflake, connector: SnowflakeConnector
) -> None:
    document = json.dumps({"text": "x" * (16 * 2**20 - 20)})
    name = f"LARGE{next(_number)}"
    rows = pa.table({"v": [document, None]})
    snowflake_server.put(("SHOP", "PUBLIC", name), rows, types={"v": "VARIANT"})
    found = read_all(connector, f"SHOP.PUBLIC.{name}", ["v"], 10)["v"].to_pylist()
    assert json.loads(found[0]) == json.loads(document)
    assert found[1] is None


def test_each_type_has_its_dtype(
    snowflake_server: FakeSnowflake, connector: SnowflakeConnector
) -> None:
    rows = pa.table(
        {
            "whole": [1, 2],
            "exact": pa.array([Decimal("1.5"), None]),
            "flag": [True, None],
            "day": [dt.date(2020, 1, 1), None],
            "at": pa.array([dt.datetime(2020, 1, 1), None], pa.timestamp("us", tz="UTC")),
            "text": ["a", "b"],
            "tags": ['["a"]', None],
            "vector": ["[1.5, 2]", None],
            "raw": [b"x", None],
        }
    )
    name = f"MIXED{next(_number)}"
    types = {"tags": "ARRAY", "vector": "VARIANT"}
    snowflake_server.put(("SHOP", "PUBLIC", name), rows, types=types)
    found = infer_dtypes(connector.sample(f"SHOP.PUBLIC.{name}", max_rows=100))
    assert found.dtypes == {
        "whole": ColumnDType.integer_t,
        "exact": ColumnDType.float_t,
        "flag": ColumnDType.category_t,
        "day": ColumnDType.datetime_t,
        "at": ColumnDType.datetime_t,
        "text": ColumnDType.category_t,
        "tags": ColumnDType.multi_category_t,
        "vector": ColumnDType.embedding_t,
    }
    assert list(found.left_out) == ["raw"]
