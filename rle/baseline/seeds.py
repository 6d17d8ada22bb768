"""What some seeds may see: how many rows of each table, exactly and at the nanosecond.

Shapes: S seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.graph.store import NULL_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]

NANOSECONDS_PER_DAY = 86_400e9


class Seeds:
    """Rows of the entity table at their times, and what is visible to each.

    Args:
        snapshot: The graph.
        rows: int32 [S], rows of the entity table.
        times: int64 [S], nanoseconds.
        inclusive: Whether a row at exactly the seed's time is visible.
        time_window: Nanoseconds beyond which rows of tables with time are not; None: no limit.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        rows: Int32Array,
        times: Int64Array,
        *,
        inclusive: bool,
        time_window: int | None = None,
    ) -> None:
        self.rows, self.times = np.asarray(rows), np.asarray(times)
        self._snapshot = snapshot
        # Rows up to a time are those before the next nanosecond; END_OF_TIME has one.
        self._bounds = self.times + int(inclusive)
        self.time_window = time_window
        self._cutoffs: dict[tuple[str, int], Int32Array] = {}

    def cutoffs(self, table: str, window: int = 0) -> Int32Array:
        """Int32 [S]: rows of `table` that are visible, or that are older than `window` ns."""
        key = (table, window)
        if key not in self._cutoffs:
            self._cutoffs[key] = self._find(table, window)
        return self._cutoffs[key]

    def floors(self, table: str) -> Int32Array:
        """Int32 [S]: rows of `table` that are too old to be visible."""
        if self.time_window is None:
            return np.zeros(self.rows.size, np.int32)
        return self.cutoffs(table, self.time_window)

    def is_visible(self, table: str, rows: Int32Array) -> NDArray[np.bool_]:
        """Bool [S]: whether each seed may see a row of `table`; False for row -1."""
        is_there = (rows >= 0) & (rows < self.cutoffs(table))
        return np.asarray(is_there & (rows >= self.floors(table)))

    def ages(self, times: Int64Array, rows: Int32Array) -> Float32Array:
        """Float32 [S]: days from the time of a row of each seed to the seed; NaN for row -1."""
        found = times[np.maximum(rows, 0)] if times.size else np.zeros(rows.size, np.int64)
        return self.days_since(found, is_known=(rows >= 0) & (found != NULL_TIME))

    def days_since(self, moments: Int64Array, *, is_known: NDArray[np.bool_]) -> Float32Array:
        """Float32 [S]: days from moments, int64 [S], to the seeds; NaN where not known."""
        # In floats, because the difference of two int64 may not fit into one.
        days = (self.times.astype(np.float64) - moments.astype(np.float64)) / NANOSECONDS_PER_DAY
        return np.where(is_known, days, np.nan).astype(np.float32)

    def _find(self, table: str, window: int) -> Int32Array:
        store = self._snapshot.tables[table]
        if store.times is None:
            return np.full(self.rows.size, 0 if window else store.num_rows, np.int32)
        lowest = np.iinfo(np.int64).min
        bounds = np.where(self._bounds < lowest + window, lowest, self._bounds - window)
        return np.searchsorted(store.times, bounds, side="left").astype(np.int32)
