"""The features of one place and of one list, each beside its name.

Shapes: S seeds, C number columns, M moments, V values of a category.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.columns import MAX_DISTINCT, MAX_SHARES
from rle.sampling.kernels.aggregates import (
    MAX_FAR,
    MEAN_FAR,
    MEAN_NEAR,
    SUM_FAR,
    aggregate,
    newest_moments,
    value_shares,
)
from rle.sampling.kernels.loading import read_only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rle.baseline.columns import TableReader
    from rle.baseline.links import Links
    from rle.baseline.plan import FeaturePlan, ListPath, Place
    from rle.baseline.seeds import Seeds
    from rle.graph.snapshot import Snapshot

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]
    Named = tuple[str, bool]

RANKS = ("newest", "previous", "third newest", "fourth newest")
HOURS_PER_DAY = 24.0
NO_ROWS = read_only(np.empty(0, np.int32))


class PlacePart:
    """The columns of one row per seed."""

    def __init__(self, number: int, place: Place, reader: TableReader) -> None:
        self.place = number
        self._reader = reader
        own = reader.names(numbers=True)
        if reader.columns.has_time:
            own.append(("age in days", False))
        label = place.label or place.table
        self.names: list[Named] = [(f"{label}.{name}", flag) for name, flag in own]

    def compute(self, seeds: Seeds, rows: Int32Array) -> list[Float32Array]:
        """One float32 [S] per name, from the place's row of each seed, int32 [S]."""
        out = self._reader.read(seeds, rows, numbers=True)
        times = self._reader.store.times
        if self._reader.columns.has_time:
            out.append(seeds.ages(np.empty(0, np.int64) if times is None else times, rows))
        return out


class ListPart:
    """Counts, ages and pooled columns of the rows of one list."""

    def __init__(
        self,
        path: ListPath,
        plan: FeaturePlan,
        links: Links,
        readers: Mapping[str, TableReader],
        snapshot: Snapshot,
    ) -> None:
        self.place = path.place
        self._plan, self._links, self._path = plan, links, path
        self._lists = links.lists(path.path)
        self._expected = None
        if path.expected is not None:
            self._expected = links.lists((path.expected.relation,))
        self._reader = readers[path.table]
        self._joins = [(join, readers[join.table]) for join in path.joins]
        self._times = snapshot.tables[self._lists.clock].times
        shared = enumerate(self._reader.columns.categories)
        self._shared = [i for i, c in shared if 1 < len(c.values) <= MAX_DISTINCT]
        self.names: list[Named] = self._count_names()
        if self._times is not None:
            self.names += self._newest_names()
        self.names += self._pool_names() + self._join_names()

    def compute(self, seeds: Seeds, rows: Int32Array) -> list[Float32Array]:
        """One float32 [S] per name, from the rows that the lists of `rows`, int32 [S], hold."""
        first, last = self._lists.ends(seeds, rows)
        ends = read_only(first), read_only(last)
        out = self._counts(seeds, rows, *ends)
        if self._times is not None:
            out += self._newest(seeds, *ends)
        return out + self._pool(*ends) + self._join_pool(seeds, *ends)

    def _name(self, what: str) -> str:
        return f"{self._path.label}.{what}"

    def _count_names(self) -> list[Named]:
        names = ["count"]
        if self._times is not None:
            spans = [_span(hours) for hours in self._plan.windows_h]
            names += [f"count in {span}" for span in spans]
            if self._expected is not None:
                names += [f"overdue of {span}" for span in spans]
            names.append("oldest age in days")
        return [(self._name(name), False) for name in names]

    def _counts(
        self, seeds: Seeds, rows: Int32Array, first: Int64Array, last: Int64Array
    ) -> list[Float32Array]:
        out = [(last - first).astype(np.float32)]
        if self._times is None:
            return out
        for window in self._plan.windows:
            past = self._lists.end_of_past(seeds, rows, window=window)
            out.append((last - np.maximum(past, first)).astype(np.float32))
        if self._expected is not None:
            out += self._overdue(seeds, rows, out[1:])
        return [*out, seeds.ages(self._times, _entry(self._lists.keys, first, first, last))]

    def _overdue(
        self, seeds: Seeds, rows: Int32Array, counts: list[Float32Array]
    ) -> list[Float32Array]:
        """How many rows should have come within each window and are not among `counts`."""
        lists, path = self._expected, self._path
        assert lists is not None
        assert path.expected is not None
        lag = path.expected.lag
        first, _ = lists.ends(seeds, rows)
        end = np.maximum(lists.end_of_past(seeds, rows, window=lag), first)
        out = []
        for window, count in zip(self._plan.windows, counts, strict=True):
            begin = np.maximum(lists.end_of_past(seeds, rows, window=lag + window), first)
            out.append((end - begin).astype(np.float32) - count)
        return out

    def _newest_names(self) -> list[Named]:
        names = [(f"{name} newest", flag) for name, flag in self._reader.names(numbers=False)]
        for join, reader in self._joins:
            of_join = reader.names(numbers=True)
            names += [(f"{join.label}.{name} newest", flag) for name, flag in of_join]
        numbers = self._reader.columns.numbers
        ranks = RANKS[: self._plan.moments]
        names += [("newest age in days", False), ("days between previous and newest", False)]
        names += [(f"{number} {rank}", False) for number in numbers for rank in ranks]
        return [(self._name(name), flag) for name, flag in names]

    def _newest(self, seeds: Seeds, first: Int64Array, last: Int64Array) -> list[Float32Array]:
        newest = _entry(self._lists.entries, last - 1, first)
        out = self._reader.read(seeds, newest, numbers=False)
        for join, reader in self._joins:
            joined = self._links.follow(seeds, newest, join.relation)
            out += reader.read(seeds, joined, numbers=True)
        return out + self._moments(seeds, first, last)

    def _moments(self, seeds: Seeds, first: Int64Array, last: Int64Array) -> list[Float32Array]:
        reader, moments = self._reader, len(RANKS[: self._plan.moments])
        out = np.empty((first.size, reader.number_at.size, moments), np.float32)
        keys = np.empty((first.size, moments), np.int32)
        assert self._times is not None
        newest_moments(
            self._lists.entries, self._lists.keys, first, last, read_only(self._times),
            reader.numbers, reader.number_at, self._plan.far, out, keys,
        )  # fmt: skip
        newest = seeds.ages(self._times, keys[:, 0])
        gap = seeds.ages(self._times, keys[:, 1]) - newest
        return [newest, gap, *(out[:, c, m] for c in range(out.shape[1]) for m in range(moments))]

    def _pool_names(self) -> list[Named]:
        near, far = self._plan.near, self._plan.far
        kinds = [f"mean of last {near}"]
        kinds += [f"{kind} of last {far}" for kind in ("mean", "sum", "highest")]
        names = [f"{c} {kind}" for c in self._reader.columns.numbers for kind in kinds]
        for i in self._shared:
            column = self._reader.columns.categories[i]
            names += [f"{column.column} share of {v!r}" for v in column.values[:MAX_SHARES]]
        return [(self._name(name), False) for name in names]

    def _pool(self, first: Int64Array, last: Int64Array) -> list[Float32Array]:
        reader, entries = self._reader, self._lists.entries
        pooled, _ = self._aggregate(first, last, NO_ROWS, (NO_ROWS, NO_ROWS), reader)
        kinds = (MEAN_NEAR, MEAN_FAR, SUM_FAR, MAX_FAR)
        out = [pooled[:, c, kind] for c in range(pooled.shape[1]) for kind in kinds]
        for i in self._shared:
            num = min(MAX_SHARES, len(reader.columns.categories[i].values))
            shares = np.empty((first.size, num), np.float32)
            value_shares(
                entries, first, last, reader.codes, reader.code_at[i], reader.slots(i),
                self._plan.far, shares,
            )  # fmt: skip
            out += list(shares.T)
        return out

    def _join_names(self) -> list[Named]:
        near, far = self._plan.near, self._plan.far
        names = []
        for join, reader in self._joins:
            if self._links.relation(join.relation).many:
                names += [f"share with {join.label} of last {n}" for n in (near, far)]
            for column in reader.columns.numbers:
                names.append(f"{join.label}.{column} mean of last {near}")
                names.append(f"{join.label}.{column} mean of last {far}")
        return [(self._name(name), False) for name in names]

    def _join_pool(self, seeds: Seeds, first: Int64Array, last: Int64Array) -> list[Float32Array]:
        out: list[Float32Array] = []
        for join, reader in self._joins:
            is_many = self._links.relation(join.relation).many
            if not is_many and not reader.columns.numbers:
                continue
            through = self._links.to_one(join.relation)
            visible = seeds.floors(join.table), seeds.cutoffs(join.table)
            pooled, seen = self._aggregate(first, last, through, visible, reader)
            if is_many:
                out += [seen[:, 0], seen[:, 1]]
            for c in range(pooled.shape[1]):
                out += [pooled[:, c, MEAN_NEAR], pooled[:, c, MEAN_FAR]]
        return out

    def _aggregate(
        self,
        first: Int64Array,
        last: Int64Array,
        through: Int32Array,
        visible: tuple[Int32Array, Int32Array],
        reader: TableReader,
    ) -> tuple[Float32Array, Float32Array]:
        out = np.empty((first.size, reader.number_at.size, 4), np.float32)
        seen = np.empty((first.size, 2), np.float32)
        floors, cutoffs = map(read_only, visible)
        aggregate(
            self._lists.entries, first, last, through, floors, cutoffs, reader.numbers,
            reader.number_at, self._plan.near, self._plan.far, out, seen,
        )  # fmt: skip
        return out, seen


def _entry(
    entries: Int32Array, at: Int64Array, first: Int64Array, last: Int64Array | None = None
) -> Int32Array:
    """Int32 [S]: the entries at some places, -1 before the first or at the end."""
    is_there = at >= first if last is None else at < last
    if entries.size == 0:
        return np.full(at.size, -1, np.int32)
    return np.where(is_there, entries[np.where(is_there, at, 0)], np.int32(-1)).astype(np.int32)


def _span(hours: float) -> str:
    """A window in the unit people use: "6 h", "7 days"."""
    days = hours / HOURS_PER_DAY
    return f"{days:g} days" if days > 1 else f"{hours:g} h"
