from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.connectors.snowflake import json as snowflake_json
from rle.connectors.snowflake import types as snowflake_types
from rle.errors import DataError

LISTS = {kind: pa.list_(kind) for kind in (pa.string(), pa.float64(), pa.int64())}

TYPES = {
    "NUMBER(38,0)": pa.int64(),
    "NUMBER(10, 2)": pa.decimal128(10, 2),
    "NUMBER(38,37)": pa.decimal128(38, 37),
    "DECIMAL": pa.int64(),
    "INT": pa.int64(),
    "FLOAT": pa.float64(),
    "DOUBLE PRECISION": pa.float64(),
    "DECFLOAT(38)": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME(9)": pa.time64("ns"),
    "TIMESTAMP_NTZ(9)": pa.timestamp("us"),
    "TIMESTAMP_LTZ(3)": pa.timestamp("us", tz="UTC"),
    "TIMESTAMP_TZ(9)": pa.timestamp("us", tz="UTC"),
    "VARCHAR(16777216)": pa.string(),
    "varchar": pa.string(),
    "BINARY(8388608)": pa.binary(),
    "VECTOR(FLOAT, 3)": pa.list_(pa.float32(), 3),
    "VECTOR(INT, 256)": pa.list_(pa.int32(), 256),
    "ARRAY": pa.string(),
    "ARRAY(VARCHAR(16) NOT NULL)": LISTS[pa.string()],
    "ARRAY(FLOAT)": LISTS[pa.float64()],
    "ARRAY(NUMBER(10,2))": LISTS[pa.float64()],
    "ARRAY(NUMBER(38,0))": LISTS[pa.int64()],
    "ARRAY(ARRAY(FLOAT))": pa.string(),
    "ARRAY(DATE)": pa.string(),
    "OBJECT(a INT, b VARCHAR)": pa.string(),
    "MAP(VARCHAR, NUMBER(38,0))": pa.string(),
    "VARIANT": pa.string(),
    "OBJECT": pa.string(),
    "GEOGRAPHY": pa.string(),
    "GEOMETRY": pa.string(),
    "INTERVAL YEAR TO MONTH": pa.string(),
    "A TYPE OF 2031(x)": pa.string(),
}


def told(dtype: pa.DataType, array: pa.Array) -> pa.Array:
    """What becomes of a column that a driver hands out as `array`."""
    batch = pa.RecordBatch.from_arrays([array], names=["whatever"])
    return snowflake_types.plain(batch, pa.schema([("COL", dtype)]), source="DB.S.T").column(0)


@pytest.mark.parametrize(("described", "dtype"), TYPES.items())
def test_every_type_has_its_arrow_type(described: str, dtype: pa.DataType) -> None:
    assert snowflake_types.to_arrow({"name": "A", "type": described}) == dtype


@pytest.mark.parametrize("dtype", dict.fromkeys(TYPES.values()), ids=str)
def test_types_travel_as_text(dtype: pa.DataType) -> None:
    assert snowflake_types.type_named(str(dtype)) == dtype


def at(moment: str, unit: str = "us") -> Any:
    return pa.array([moment, None]).cast(pa.timestamp(unit))


STRUCT = pa.struct([("epoch", pa.int64()), ("fraction", pa.int32())])

ARRIVING = [
    (pa.int64(), pa.array([1, None], pa.int8()), [1, None]),
    (pa.int64(), pa.array([Decimal(2**63 - 1), None], pa.decimal128(38, 0)), [2**63 - 1, None]),
    (pa.int64(), pa.array([-(2**63), None], pa.decimal128(38, 0)), [-(2**63), None]),
    (pa.int64(), pa.nulls(2), [None, None]),
    (pa.decimal128(10, 2), pa.array([Decimal("9.99"), None]), [Decimal("9.99"), None]),
    (pa.decimal128(10, 2), pa.array([3, None]), [Decimal("3.00"), None]),
    (pa.decimal128(10, 2), pa.array([0.07, None]), [Decimal("0.07"), None]),
    (pa.float64(), pa.array([float("inf"), None]), [float("inf"), None]),
    (pa.float64(), pa.array([0.5, None], pa.float32()), [0.5, None]),
    (pa.bool_(), pa.array([True, None]), [True, None]),
    (pa.date32(), pa.array([dt.date(1, 1, 1), None]), [dt.date(1, 1, 1), None]),
    (pa.time64("ns"), pa.array([5, None], pa.time32("s")), [dt.time(0, 0, 5), None]),
    (pa.timestamp("us"), at("2020-01-01 00:00:00.123456789", "ns"), "2020-01-01 00:00:00.123456"),
    (pa.timestamp("us"), at("9999-12-31 23:59:59.999999"), "9999-12-31 23:59:59.999999"),
    (pa.timestamp("us"), at("0001-01-01 00:00:00"), "0001-01-01 00:00:00"),
    (pa.timestamp("us"), at("1677-01-01 00:00:00", "s"), "1677-01-01 00:00:00"),
    (
        pa.timestamp("us"),
        pa.array([{"epoch": -1, "fraction": 999_999_999}, None], STRUCT),
        "1969-12-31 23:59:59.999999",
    ),
    (
        pa.timestamp("us", tz="UTC"),
        pa.array([dt.datetime(2020, 1, 1, 5), None], pa.timestamp("ns", tz="Asia/Tokyo")),
        [dt.datetime(2020, 1, 1, 5, tzinfo=dt.UTC), None],
    ),
    (pa.string(), pa.array(["日本", None], pa.large_string()), ["日本", None]),
    (pa.string(), pa.array([b"\x01\xfe", None]), ["01FE", None]),
    (pa.string(), pa.array([{"a": [1]}, None]), ['{"a": [1]}', None]),
    (pa.binary(), pa.array([b"\x00\xff", None]), [b"\x00\xff", None]),
    (pa.list_(pa.float32(), 2), pa.array(["[1.5, 2]", None]), [[1.5, 2.0], None]),
    (LISTS[pa.string()], pa.array(['["a", undefined]', None]), [["a", None], None]),
    (LISTS[pa.string()], pa.array(['["undefined \\" x", 3]', "[]"]), [['undefined " x', "3"], []]),
    (LISTS[pa.float64()], pa.array(["[1.5e+00, 2, null]", None]), [[1.5, 2.0, None], None]),
    (LISTS[pa.int64()], pa.array([[1, 2], None], pa.list_(pa.int8())), [[1, 2], None]),
]


@pytest.mark.parametrize(("dtype", "array", "wanted"), ARRIVING)
def test_values_become_the_type_they_are_told(
    dtype: pa.DataType, array: pa.Array, wanted: Any
) -> None:
    if isinstance(wanted, str):
        wanted = at(wanted).to_pylist()
    found = told(dtype, array)
    assert found.type == dtype
    assert found.to_pylist() == wanted


def test_nan_stays_nan() -> None:
    assert str(told(pa.float64(), pa.array([float("nan")], pa.float32())).to_pylist()) == "[nan]"


def test_a_null_is_no_time_even_where_its_parts_are_set() -> None:
    parts = [pa.array([0, 0]), pa.array([0, 0], pa.int32())]
    masked = pa.StructArray.from_arrays(parts, fields=list(STRUCT), mask=pa.array([False, True]))
    assert told(pa.timestamp("us"), masked).is_null().to_pylist() == [False, True]


def test_a_document_of_16_mb_comes_through() -> None:
    document = json.dumps({"text": "é" * (8 * 2**20 - 20)}, ensure_ascii=False)
    assert len(document.encode()) > 16 * 2**20 - 40
    assert told(pa.string(), pa.array([document, None])).to_pylist() == [document, None]


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        (pa.int64(), pa.array([None, 10**20], pa.decimal128(38, 0)), r"1\d{20}, .*beyond 64 bits"),
        (pa.int64(), pa.array([10**20], pa.decimal128(38, 0)), "to VARCHAR to keep its digits"),
        (pa.int64(), pa.array(["7"]), "found to be int64, but holds '7'"),
        (pa.int64(), pa.array([dt.date(2020, 1, 31)]), r"holds datetime\.date\(2020, 1, 31\)"),
        (pa.int64(), pa.array([b"x"]), "but holds b'x'"),
        (pa.timestamp("us"), pa.array([7]), "but holds 7"),
        (pa.date32(), pa.array(["2020-01-01"]), "but holds '2020-01-01'"),
        (LISTS[pa.float64()], pa.array(['["a"]']), "not of one kind"),
        (LISTS[pa.string()], pa.array(['{"a": 1}']), "not of one kind"),
        (LISTS[pa.string()], pa.array(["no JSON"]), "but holds 'no JSON'"),
        (pa.list_(pa.float32(), 2), pa.array(["[1]"]), "not of one kind"),
    ],
)
def test_values_that_do_not_fit_are_named(
    dtype: pa.DataType, array: pa.Array, message: str
) -> None:
    with pytest.raises(DataError, match=r"Column 'COL' of DB\.S\.T .*" + message):
        told(dtype, array)


def test_rows_of_json_results_become_the_same_types() -> None:
    moment = dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    values = {
        pa.int64(): 2**62,
        pa.decimal128(10, 2): Decimal("1.50"),
        pa.float64(): float("-inf"),
        pa.bool_(): False,
        pa.date32(): dt.date(2020, 2, 29),
        pa.time64("ns"): dt.time(1, 2, 3, 4),
        pa.timestamp("us"): dt.datetime(9999, 12, 31),
        pa.timestamp("us", tz="UTC"): moment,
        pa.string(): "x",
        pa.binary(): b"\x00",
        LISTS[pa.string()]: '["a"]',
        pa.list_(pa.float32(), 1): "[0.5]",
    }
    schema = pa.schema([(str(dtype), dtype) for dtype in values])
    batch = snowflake_types.from_rows([tuple(values.values()), (None,) * len(values)], schema)
    wanted = dict(zip(schema.names, values.values(), strict=True))
    wanted |= {str(LISTS[pa.string()]): ["a"], str(pa.list_(pa.float32(), 1)): [0.5]}
    assert batch.to_pylist() == [wanted, dict.fromkeys(schema.names)]
    assert snowflake_types.from_rows([], schema).num_rows == 0


def test_a_whole_number_of_a_json_result_beyond_64_bits_is_named() -> None:
    with pytest.raises(DataError, match="beyond 64 bits"):
        snowflake_types.from_rows([(10**20,)], pa.schema([("ID", pa.int64())]))


def test_rows_without_columns_still_count() -> None:
    assert snowflake_types.from_rows([(1,), (1,)], pa.schema([])).num_rows == 2
    ones = pa.RecordBatch.from_arrays([pa.array([1, 1, 1])], names=["1"])
    assert snowflake_types.plain(ones, pa.schema([])).num_rows == 3


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (['["a"]', None, "[]"], LISTS[pa.string()]),
        (['["a", undefined]'], LISTS[pa.string()]),
        (["[1, 2]"], LISTS[pa.int64()]),
        (["[1, 2.5]", "[1]"], LISTS[pa.float64()]),
        (['["a"]', "[1]"], pa.string()),
        (["[true]"], pa.string()),
        (["[[1]]"], pa.string()),
        (['{"a": 1}'], pa.string()),
        (['"a"'], pa.string()),
        (["[1", "2]"], pa.string()),
        ([None], pa.string()),
        ([], pa.string()),
    ],
)
def test_lists_of_one_kind_are_lists_and_all_else_is_text(
    values: list[str | None], dtype: pa.DataType
) -> None:
    assert snowflake_json.kind_of(values) == dtype


@given(st.lists(st.none() | st.lists(st.none() | st.text())))
def test_lists_of_any_strings_survive(lists: list[list[str | None] | None]) -> None:
    texts = [
        None if each is None else f"[{','.join(_element(text) for text in each)}]" for each in lists
    ]
    assert snowflake_json.load_lists(texts, pa.string()) == lists


def _element(text: str | None) -> str:
    return "undefined" if text is None else json.dumps(text)
