"""The columns of a table as plain numbers, one row at a time.

Shapes: S seeds, F features, C number columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.graph.store import NULL_STAMP
from rle.sampling.kernels.loading import read_only

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.baseline.plan import TableColumns
    from rle.baseline.seeds import Seeds
    from rle.graph.schema import TableLayout
    from rle.graph.store import TableStore

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]

MAX_SHARES = 8
"""Values of a category column that have a share of their own in a list."""
MAX_DISTINCT = 32
"""Values up to which a category is split by subsets rather than by frequency."""


class TableReader:
    """Reads rows of one table by the columns of a plan; codes mean values, not positions."""

    def __init__(self, columns: TableColumns, layout: TableLayout, store: TableStore) -> None:
        self.columns, self.store = columns, store
        self.numbers = read_only(np.ascontiguousarray(store.numbers, np.float32))
        self.codes = read_only(np.ascontiguousarray(store.codes, np.int32))
        self.number_at = read_only(
            np.array([layout.number_columns.index(c) for c in columns.numbers], np.int64)
        )
        self.code_at = [layout.code_columns.index(c.column) for c in columns.categories]
        self._stamp_at = [layout.stamp_columns.index(c) for c in columns.stamps]
        self._ranks = [_ranks(store.dictionary(c.column), c.values) for c in columns.categories]

    @property
    def is_empty(self) -> bool:
        """Whether there is no row to read."""
        return self.store.num_rows == 0

    def slots(self, category: int) -> Int32Array:
        """Int32 by code plus one: which of the `MAX_SHARES` most frequent values, or -1."""
        rank = np.nan_to_num(self._ranks[category], nan=-1.0).astype(np.int32)
        known = len(self.columns.categories[category].values)
        return read_only(np.where((rank >= 0) & (rank < min(known, MAX_SHARES)), rank, -1))

    def names(self, *, numbers: bool) -> list[tuple[str, bool]]:
        """Name of each feature of `read`, and whether it is a category's rank."""
        columns = self.columns
        out = [(name, False) for name in columns.numbers] if numbers else []
        out += [(c.column, 1 < len(c.values) <= MAX_DISTINCT) for c in columns.categories]
        out += [(f"{name} age in days", False) for name in columns.stamps]
        out += [(f"{name} length", False) for name in columns.lists]
        return out

    def read(self, seeds: Seeds, rows: Int32Array, *, numbers: bool) -> list[Float32Array]:
        """One float32 [S] per feature of a row of each seed; NaN where it is -1 or NULL.

        Args:
            seeds: Whose time ages are counted to.
            rows: int32 [S].
            numbers: Whether number columns are read too.
        """
        is_there = rows >= 0
        at = np.maximum(rows, 0)
        if self.is_empty:
            nothing = np.full(rows.size, np.nan, np.float32)
            return [nothing for _ in self.names(numbers=numbers)]
        out = self._numbers(at) if numbers else []
        for column, rank in zip(self.code_at, self._ranks, strict=True):
            out.append(rank[self.codes[at, column] + 1])
        for column in self._stamp_at:
            stamps = np.asarray(self.store.stamps[at, column])
            out.append(seeds.days_since(stamps, is_known=stamps != NULL_STAMP))
        for name in self.columns.lists:
            offsets = self.store.lists[name][0]
            out.append((offsets[at + 1] - offsets[at]).astype(np.float32))
        return [np.where(is_there, values, np.float32(np.nan)) for values in out]

    def _numbers(self, at: NDArray[np.integer]) -> list[Float32Array]:
        return [self.numbers[at, column] for column in self.number_at]


def _ranks(dictionary: pa.Array, values: tuple[str, ...]) -> Float32Array:
    """Float32 by code plus one: how many values are more frequent; NaN for NULL."""
    found = pc.index_in(dictionary, value_set=pa.array(values, pa.string()))
    rank = found.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.float32)
    return np.concatenate([np.array([np.nan], np.float32), rank])
