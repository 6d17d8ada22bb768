from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from rle.spec.infer import allowed_dtypes, infer_dtypes, key_dtype
from rle.values import ColumnDType

WORDS = [f"a soft warm article number {i}" for i in range(100)]


def infer(values: list[object], dtype: pa.DataType | None = None) -> ColumnDType | str:
    """The dtype of a column, or why it is left out."""
    found = infer_dtypes(pa.table({"c": pa.array(values, dtype)}))
    return found.dtypes.get("c") or found.left_out["c"]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, None], pa.int8(), "integer"),
        ([1, None], pa.uint64(), "integer"),
        ([Decimal(7)], pa.decimal128(38, 0), "integer"),
        ([Decimal("7.5")], pa.decimal128(10, 2), "float"),
        ([0.5, float("nan")], pa.float32(), "float"),
        ([True, None], pa.bool_(), "category"),
        ([dt.date(2020, 1, 1)], pa.date32(), "datetime"),
        ([dt.datetime(2020, 1, 1)], pa.timestamp("ns"), "datetime"),
        ([dt.datetime(2020, 1, 1)], pa.timestamp("s", "UTC"), "datetime"),
        ([["a"], [], None], pa.list_(pa.string()), "multi_categorical"),
        ([[1], [1, 2]], pa.list_(pa.int64()), "multi_categorical"),
        ([[True]], pa.list_(pa.bool_()), "multi_categorical"),
        ([[1.0, 2.0], None], pa.list_(pa.float32()), "embedding"),
        ([[1.0, 2.0], None], pa.list_(pa.float64(), 2), "embedding"),
        ([[1, 2]], pa.list_(pa.int8(), 2), "embedding"),
    ],
)
def test_the_type_decides(values: list[object], dtype: pa.DataType, expected: str) -> None:
    assert infer(values, dtype) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (WORDS, "text"),
        (WORDS[:20], "category"),  # few values
        (WORDS[:21] * 10, "category"),  # not varied
        ([f"id{i}" for i in range(100)], "category"),  # short
        (["long " * 30 + str(i % 30) for i in range(1000)], "text"),  # long, though not varied
        (["red", "blue", None] * 50, "category"),
    ],
)
def test_strings_are_text_where_long_or_varied(values: list[object], expected: str) -> None:
    assert infer(values) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "reason"),
    [
        ([None, None], pa.int64(), "NULL only, in all 2 sampled rows"),
        ([None], pa.null(), "has no dtype"),
        ([[1.0], [1.0, 2.0]], pa.list_(pa.float64()), "one length; found [1, 2]"),
        ([[], []], pa.list_(pa.float64()), "all empty"),
        ([{"a": 1}], pa.struct([("a", pa.int64())]), "has no dtype"),
        ([b"x"], pa.binary(), "has no dtype"),
        ([dt.time(1)], pa.time64("us"), "has no dtype"),
        ([[["a"]]], pa.list_(pa.list_(pa.string())), "has no dtype"),
    ],
)
def test_the_rest_is_left_out_with_a_reason(
    values: list[object], dtype: pa.DataType, reason: str
) -> None:
    found = infer(values, dtype)
    assert not isinstance(found, ColumnDType)
    assert reason in found


def test_an_empty_table_is_inferred_by_type() -> None:
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("v", pa.list_(pa.float32()))])
    assert infer_dtypes(schema.empty_table()).dtypes == {
        "id": "integer",
        "name": "category",
        "v": "embedding",
    }


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (pa.string(), "text"),
        (pa.large_string(), "text"),
        (pa.int32(), "integer"),
        (pa.float64(), "float"),
        (pa.decimal128(38, 0), "integer"),
        (pa.bool_(), None),
        (pa.date32(), None),
        (pa.list_(pa.int64()), None),
    ],
)
def test_keys_are_integer_float_or_text(dtype: pa.DataType, expected: str | None) -> None:
    assert key_dtype(dtype) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (pa.string(), {"text", "integer", "float", "category", "datetime"}),
        (pa.int64(), {"text", "integer", "float", "category"}),
        (pa.timestamp("us"), {"text", "category", "datetime"}),
        (pa.list_(pa.int64()), {"multi_categorical", "embedding"}),
        (pa.list_(pa.string()), {"multi_categorical"}),
        (pa.list_(pa.float32(), 3), {"embedding"}),
        (pa.binary(), set()),
    ],
)
def test_allowed_dtypes_are_those_values_can_be_read_as(
    dtype: pa.DataType, expected: set[str]
) -> None:
    assert {d.value for d in allowed_dtypes(dtype)} == expected
