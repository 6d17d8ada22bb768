from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rle.errors import DataError
from rle.ingest import convert

ENDS = np.iinfo(np.int64)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None], pa.timestamp("s")), [10**9, None]),
        (pa.array([1, None], pa.timestamp("ms")), [10**6, None]),
        (pa.array([1, None], pa.timestamp("us", "UTC")), [10**3, None]),
        (pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")), [1, None]),
        (pa.array([1, None], pa.date32()), [86_400 * 10**9, None]),
        (pa.array(["1970-01-02", None]), [86_400 * 10**9, None]),
        (pa.array(["1970-01-01T02:00:00+01:00"]), [3_600 * 10**9]),
        (pa.array([None, None], pa.null()), [None, None]),
    ],
)
def test_times_become_nanoseconds_in_utc(values: pa.Array, expected: list[int | None]) -> None:
    found = convert.to_moments(values, where="a.t")
    shown = [None if null else int(ns) for ns, null in zip(found.ns, found.is_null, strict=True)]
    assert shown == expected
    assert not found.is_outside.any()


def test_times_beyond_nanoseconds_are_marked_and_clamped() -> None:
    dates = pa.array([dt.date(1500, 1, 1), dt.date(1677, 9, 22), dt.date(2262, 4, 12)])
    found = convert.to_moments(dates, where="a.t")
    assert found.is_outside.tolist() == [True, False, True]
    assert found.ns[[0, 2]].tolist() == [ENDS.min + 1, ENDS.max - 1]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2]),
        pa.array(["2020-01-01", "soon"]),
        pa.array(["2020-01-01 10:00:00", "2020-01-01 10:00:00+01:00"]),
        pa.array([dt.time(1, 2)]),
    ],
)
def test_what_is_no_time_is_refused_by_name(values: pa.Array) -> None:
    with pytest.raises(DataError, match=r"'a\.t'"):
        convert.to_moments(values, where="a.t")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None, 2**40]), [1, np.nan, 2.0**40]),
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.array([Decimal("1.25"), None]), [1.25, np.nan]),
        (pa.array(["1.5", None]), [1.5, np.nan]),
        (pa.array([np.nan, 1.0]), [np.nan, 1.0]),
        (pa.array([None], pa.null()), [np.nan]),
    ],
)
def test_numbers_become_float32_with_nan_for_null(values: pa.Array, expected: list[float]) -> None:
    found, num_infinite = convert.to_numbers(values, where="a.x")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert num_infinite == 0


def test_infinities_count_as_null_and_are_counted() -> None:
    found, num_infinite = convert.to_numbers(pa.array([np.inf, -np.inf, 1e300, 1.0]), where="a.x")
    assert num_infinite == 3
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 1.0])


def test_text_in_a_number_column_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"'a\.x'"):
        convert.to_numbers(pa.array(["1", "many"]), where="a.x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["b", None, "a"]), ["b", None, "a"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([1.5, np.nan]), ["1.5", None]),
        (pa.array([None], pa.null()), [None]),
        (pa.array([dt.date(2020, 1, 2)]), ["2020-01-02"]),
    ],
)
def test_categories_are_text_behind_codes(values: pa.Array, expected: list[str | None]) -> None:
    assert convert.to_codes(values, where="a.c").to_pylist() == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([["b", "a"], None, [], ["c", None]]),
        pa.array([["b", "a"], None, [], ["c", None]], pa.large_list(pa.string())),
        pa.array(['["b", "a"]', None, "[]", '["c", null]']),
    ],
)
def test_lists_lose_only_their_nulls(values: pa.Array) -> None:
    offsets, elements = convert.to_lists(values, where="a.l")
    assert offsets.tolist() == [0, 2, 2, 2, 3]
    assert elements.to_pylist() == ["b", "a", "c"]


def test_lists_of_a_slice_keep_to_the_slice() -> None:
    values = pa.array([["a"], ["b", "c"], None, ["d"]]).slice(1, 3)
    offsets, elements = convert.to_lists(values, where="a.l")
    assert offsets.tolist() == [0, 2, 2, 3]
    assert elements.to_pylist() == ["b", "c", "d"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2], None, [3, None]], pa.list_(pa.int64())),
        pa.array([[1, 2], None, [3, None]], pa.list_(pa.float32(), 2)),
        pa.array(["[1, 2]", None, "[3, null]"]),
    ],
)
def test_vectors_are_null_as_a_whole(values: pa.Array) -> None:
    found = convert.to_vectors(values, where="a.v")
    assert found is not None
    np.testing.assert_array_equal(found, [[1, 2], [np.nan] * 2, [np.nan] * 2])


@pytest.mark.parametrize("rows", [[[1.0], [1.0, 2.0]], [[]]])
def test_vectors_of_different_or_no_length_are_refused(rows: list[Any]) -> None:
    with pytest.raises(DataError, match=r"'a\.v' has vectors of length"):
        convert.to_vectors(pa.array(rows, pa.list_(pa.float64())), where="a.v")


def test_a_vector_column_of_nulls_has_no_dimension_yet() -> None:
    assert convert.to_vectors(pa.array([None], pa.list_(pa.float64())), where="a.v") is None


@pytest.mark.parametrize("text", ["{}", "no json", "3"])
def test_text_that_is_no_json_list_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no JSON list"):
        convert.to_lists(pa.array([text]), where="a.l")
