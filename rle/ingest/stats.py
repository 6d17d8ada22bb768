"""What a model must know about its columns, from rows visible at training time only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rle.ingest.nulls import NULL_STAMP, NULL_TIME
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NUM_QUANTILES = 33
MAX_LAG = 2**61
"""Nanoseconds, 73 years: with any window it still fits into int64."""
_SAMPLE_ROWS = 200_000
_TREND_ROWS = 5_000
_TREND_MIN = 10
_BLOCK_CELLS = 2**20


class NumberStats(Value):
    """One number column."""

    column: str
    num_nulls: int
    mean: float
    std: float
    """Standard deviation; 1 for a constant or all-NULL column, so that dividing is safe."""
    quantiles: tuple[float, ...]
    """33 evenly spaced quantiles from minimum to maximum."""
    time_correlation: float = 0.0
    """Rank correlation with the row's time, -1 to 1; 0 for a table without time. A column near
    the ends, such as a year, is a clock: in the future it only has values never seen before."""


class CategoryStats(Value):
    """One category or multi-category column."""

    column: str
    values: tuple[str, ...]
    """Values seen, most frequent first, then by value."""
    counts: tuple[int, ...]


class VectorStats(Value):
    """One vector column, over all its entries."""

    column: str
    dim: int
    mean: float
    std: float


class StampStats(Value):
    """One datetime column, in nanoseconds since 1970 UTC; both 0 if all rows are NULL."""

    column: str
    min: int
    max: int


class TableStats(Value):
    """The visible rows of one table."""

    table: str
    num_rows: int
    numbers: tuple[NumberStats, ...] = ()
    categories: tuple[CategoryStats, ...] = ()
    lists: tuple[CategoryStats, ...] = ()
    vectors: tuple[VectorStats, ...] = ()
    stamps: tuple[StampStats, ...] = ()


class LagStats(Value):
    """How long after a row the row that extends it comes, by inherited relation."""

    relation: str
    """Name of the inherited relation."""
    median: int
    """Nanoseconds, not below 0, over extending rows with two known times."""


class DatasetStats(Value):
    """All tables, over rows with time <= `until` (nanoseconds; None: all rows)."""

    until: int | None
    tables: tuple[TableStats, ...]
    lags: tuple[LagStats, ...] = ()

    def table(self, name: str) -> TableStats:
        """Return the statistics of one table that must be there."""
        return next(t for t in self.tables if t.table == name)


def number_stats(column: str, values: NDArray[np.float32]) -> NumberStats:
    """Describe float32 [N]; NaN is NULL. Quantiles come from at most 200,000 evenly spaced rows."""
    count, total, squares = 0, 0.0, 0.0
    for part in _blocks(values):
        known = part[~np.isnan(part)].astype(np.float64)
        count += known.size
        total += float(known.sum())
    mean = total / count if count else 0.0
    for part in _blocks(values):  # a second pass: sums of squares lose digits far from zero
        known = part[~np.isnan(part)].astype(np.float64) - mean
        squares += float(known @ known)
    sample = np.asarray(evenly(values))
    sample = sample[~np.isnan(sample)]
    levels = np.linspace(0.0, 1.0, NUM_QUANTILES)
    quantiles = np.quantile(sample, levels) if sample.size else np.zeros(NUM_QUANTILES)
    return NumberStats(
        column=column,
        num_nulls=values.size - count,
        mean=mean,
        std=_safe_std(squares, count),
        quantiles=tuple(float(q) for q in quantiles),
    )


def time_correlation(values: NDArray[np.float32]) -> float:
    """Correlate the ranks of float32 [N], in time order, with their positions; NaN is left out.

    At most 5,000 evenly spaced rows are read; below ten known values the answer is 0.
    """
    sample = np.asarray(values[:: max(1, -(-values.shape[0] // _TREND_ROWS))])
    known = np.flatnonzero(~np.isnan(sample))
    _, rank, count = np.unique(sample[known], return_inverse=True, return_counts=True)
    if known.size < _TREND_MIN or count.size < 2:
        return 0.0
    # Equal values share the middle of their ranks.
    middle = np.cumsum(count) - (count - 1) / 2
    return float(np.corrcoef(middle[rank], known)[0, 1])


def category_stats(column: str, codes: NDArray[np.int32], dictionary: pa.Array) -> CategoryStats:
    """Count the values behind int32 codes; -1 is NULL and not counted."""
    counts = np.zeros(len(dictionary), np.int64)
    for part in _blocks(codes):
        counts += np.bincount(part[part >= 0], minlength=counts.size)
    # Codes follow the sorted dictionary, so a stable sort breaks ties by value.
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    return CategoryStats(
        column=column,
        values=tuple(dictionary.take(pa.array(order)).to_pylist()),
        counts=tuple(counts[order].tolist()),
    )


def vector_stats(column: str, vectors: NDArray[np.float16] | NDArray[np.float32]) -> VectorStats:
    """Describe [N, dim] over all entries; at most 200,000 evenly spaced rows are read."""
    count, total, squares = 0, 0.0, 0.0
    sample = evenly(vectors)
    for part in _blocks(sample):
        known = part[~np.isnan(part).any(axis=1)].astype(np.float64)
        count += known.size
        total += float(known.sum())
    mean = total / count if count else 0.0
    for part in _blocks(sample):
        known = part[~np.isnan(part).any(axis=1)].astype(np.float64) - mean
        squares += float((known**2).sum())
    return VectorStats(
        column=column, dim=vectors.shape[1], mean=mean, std=_safe_std(squares, count)
    )


def stamp_stats(column: str, stamps: NDArray[np.int64]) -> StampStats:
    """Find the range of int64 nanoseconds; NULL_STAMP is NULL."""
    known = stamps[stamps != NULL_STAMP]
    if known.size == 0:
        return StampStats(column=column, min=0, max=0)
    return StampStats(column=column, min=int(known.min()), max=int(known.max()))


def median_lag(relation: str, before: NDArray[np.int64], after: NDArray[np.int64]) -> LagStats:
    """Describe pairs of int64 nanoseconds [N], NULL times left out; 0 where there is none."""
    known = (before != NULL_TIME) & (after != NULL_TIME)
    # A float64 keeps the difference of two extreme moments, which int64 does not.
    lags = after[known].astype(np.float64) - before[known].astype(np.float64)
    median = float(np.median(lags)) if lags.size else 0.0
    return LagStats(relation=relation, median=min(max(round(median), 0), MAX_LAG))


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    # Mapped arrays are read piece by piece, so that copies stay small.
    step = max(_BLOCK_CELLS // max(int(np.prod(values.shape[1:])), 1), 1)
    for first in range(0, len(values), step):
        yield np.asarray(values[first : first + step])


def evenly(values: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th of `values`, so that at most 200,000 are left."""
    step = -(-len(values) // _SAMPLE_ROWS)
    return values[::step] if step > 1 else values


def _safe_std(squares: float, count: int) -> float:
    std = (squares / count) ** 0.5 if count else 0.0
    return std if std > 0.0 and np.isfinite(std) else 1.0
