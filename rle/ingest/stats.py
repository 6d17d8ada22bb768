"""What a model must know about its columns, from rows visible at training time only."""

from __future__ import annotations

from rle.values import Value

NUM_QUANTILES = 33


class NumberStats(Value):
    """One number column."""

    column: str
    num_nulls: int
    mean: float
    std: float
    """Standard deviation; 1 for a constant or all-NULL column, so that dividing is safe."""
    quantiles: tuple[float, ...]
    """33 evenly spaced quantiles from minimum to maximum."""


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


class DatasetStats(Value):
    """All tables, over rows with time <= `until` (nanoseconds; None: all rows)."""

    until: int | None
    tables: tuple[TableStats, ...]

    def table(self, name: str) -> TableStats:
        """Return the statistics of one table that must be there."""
        return next(t for t in self.tables if t.table == name)
