from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rle.ingest.nulls import NULL_STAMP
from rle.ingest.stats import (
    category_stats,
    number_stats,
    stamp_stats,
    time_correlation,
    vector_stats,
)


def test_number_stats_ignore_nulls(rng: np.random.Generator) -> None:
    values = rng.normal(1e4, 2, 5000).astype(np.float32)
    values[::7] = np.nan
    stats = number_stats("x", values)
    assert stats.num_nulls == np.isnan(values).sum()
    assert stats.mean == pytest.approx(np.nanmean(values.astype(np.float64)))
    assert stats.std == pytest.approx(np.nanstd(values.astype(np.float64)))
    assert len(stats.quantiles) == 33
    assert stats.quantiles[0] == np.nanmin(values)
    assert stats.quantiles[16] == pytest.approx(np.nanmedian(values))


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [3.0, 3.0]])
def test_a_constant_or_empty_column_has_deviation_one(values: list[float]) -> None:
    assert number_stats("x", np.array(values, np.float32)).std == 1.0


def test_category_stats_are_ordered_by_count_then_value() -> None:
    dictionary = pa.array(["a", "b", "c", "d"])
    stats = category_stats("c", np.array([2, -1, 1, 2, 0], np.int32), dictionary)
    assert stats.values == ("c", "a", "b")
    assert stats.counts == (2, 1, 1)


def test_vector_stats_leave_out_null_rows() -> None:
    vectors = np.array([[1, 3], [np.nan, np.nan]], np.float16)
    stats = vector_stats("v", vectors)
    assert (stats.dim, stats.mean, stats.std) == (2, 2.0, 1.0)


def test_stamp_stats_leave_out_nulls() -> None:
    stats = stamp_stats("t", np.array([5, NULL_STAMP, 3]))
    assert (stats.min, stats.max) == (3, 5)
    assert stamp_stats("t", np.array([NULL_STAMP])).max == 0


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_time_correlation_tells_a_clock_from_a_measurement(rng: np.random.Generator) -> None:
    year = np.repeat(np.arange(1900, 2000), 200).astype(np.float32)
    year[::7] = np.nan
    assert time_correlation(year) > 0.99
    assert time_correlation(-(year**3)) < -0.99
    assert abs(time_correlation(rng.normal(size=20_000).astype(np.float32))) < 0.1
    assert time_correlation(np.full(100, 3, np.float32)) == 0.0
    assert time_correlation(np.full(100, np.nan, np.float32)) == 0.0
    assert time_correlation(np.empty(0, np.float32)) == 0.0
