"""Columns at a place, one after the other, as values that could say the label.

Shapes: S seeds, K members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.audit.places import MEMBERS, NS_PER_DAY, Basis, Children, Place
from rle.graph.task_table import END_OF_TIME
from rle.ingest.nulls import NULL_STAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rle.audit.places import Seeds
    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore

    BoolArray = NDArray[np.bool_]
    Float64Array = NDArray[np.float64]

FREQUENT = 6
"""Values of a category column whose share among the children is looked at."""
MIN_YEARS_KNOWN = 20


@dataclass(frozen=True, slots=True)
class Probe:
    """One value per seed."""

    table: str
    column: str | None
    """None: whether and how many rows there are."""
    path: str
    basis: Basis
    depth: int
    values: Float64Array
    """float64 [S], NaN for NULL."""
    is_code: bool
    """Whether values are names rather than amounts."""
    has_row: BoolArray
    """bool [S], whether there is a row that could have a value."""
    name: Callable[[float], str] = "{:g}".format
    """What to call a value."""


def probes_of(found: Place | Children, snapshot: Snapshot, seeds: Seeds) -> Iterator[Probe]:
    """Yield every column of a place, or how many children there are and what they hold."""
    if isinstance(found, Children):
        yield Probe(
            found.table, None, found.path, found.basis, 1, found.count.astype(np.float64),
            is_code=False, has_row=np.ones(found.count.size, np.bool_),
        )  # fmt: skip
        if found.is_own:
            yield from _of_members(found, snapshot)
        return
    reader = _Reader(found, snapshot, seeds)
    yield from reader.numbers()
    yield from reader.codes()
    yield from reader.stamps()
    yield from reader.whether_known()
    yield from reader.parents()


class _Reader:
    """Gathers the columns of one place, block by block."""

    def __init__(self, place: Place, snapshot: Snapshot, seeds: Seeds) -> None:
        self._place, self._snapshot, self._seeds = place, snapshot, seeds
        self._store = snapshot.tables[place.table]
        self._layout = snapshot.schema.table(place.table)
        self._has = place.rows >= 0
        self._known = place.rows[self._has]

    def _probe(self, column: str, values: Float64Array, *, is_code: bool = False) -> Probe:
        """Spread values of the known rows over all seeds."""
        full = np.full(self._has.size, np.nan)
        full[self._has] = values
        place = self._place
        return Probe(
            place.table, column, place.path, place.basis, place.depth, full, is_code, self._has
        )

    def numbers(self) -> Iterator[Probe]:
        block = self._store.numbers[self._known]
        for i, column in enumerate(self._layout.number_columns):
            values = block[:, i].astype(np.float64)
            yield self._probe(column, values)
            if looks_like_years(values) and self._seeds.times.max() < END_OF_TIME:
                yield self._probe(column, values - year_of(self._seeds.times[self._has]))

    def codes(self) -> Iterator[Probe]:
        block = self._store.codes[self._known]
        for i, column in enumerate(self._layout.code_columns):
            values = np.where(block[:, i] < 0, np.nan, block[:, i])
            yield _named(self._probe(column, values, is_code=True), self._store)

    def stamps(self) -> Iterator[Probe]:
        block = self._store.stamps[self._known]
        for i, column in enumerate(self._layout.stamp_columns):
            yield self._probe(column, _ages(block[:, i], self._seeds.times[self._has]))

    def whether_known(self) -> Iterator[Probe]:
        """Vectors and lists: whether there is one, and how long it is."""
        for column, block in self._store.vectors.items():
            first = block[self._known, 0].astype(np.float64)
            yield self._probe(column, np.where(np.isnan(first), np.nan, 0.0))
        for column, (offsets, _) in self._store.lists.items():
            length = offsets[self._known + 1] - offsets[self._known]
            yield self._probe(column, np.where(length == 0, np.nan, length))

    def parents(self) -> Iterator[Probe]:
        """Foreign keys: which parent, and whether there is one."""
        for index, relation in enumerate(self._snapshot.schema.relations):
            is_own = relation.source == self._place.table and not relation.many
            if is_own and relation.link != self._place.arrived_by:
                rows = self._snapshot.topology.parents(index, self._known)
                column = relation.link.split(".", 1)[1]
                values = np.where(rows < 0, np.nan, rows)
                yield self._probe(column, values, is_code=True)


def _named(probe: Probe, store: TableStore) -> Probe:
    def name(code: float) -> str:
        assert probe.column is not None
        return repr(store.dictionary(probe.column)[int(code)].as_py())

    return Probe(
        probe.table, probe.column, probe.path, probe.basis, probe.depth, probe.values,
        probe.is_code, probe.has_row, name,
    )  # fmt: skip


def _of_members(found: Children, snapshot: Snapshot) -> Iterator[Probe]:
    """Yield means of numbers and shares of frequent values over the newest children."""
    store, layout = snapshot.tables[found.table], snapshot.schema.table(found.table)
    has = found.members >= 0
    has_row = has[:, 0]
    if not has_row.any():
        return
    flat, owner = found.members[has], np.nonzero(has)[0]

    def mean(values: Float64Array) -> Float64Array:
        known = ~np.isnan(values)
        total = np.bincount(owner[known], values[known], has_row.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / np.bincount(owner[known], minlength=has_row.size)

    def probe(column: str, values: Float64Array, what: str) -> Probe:
        path = f"{found.path}, {what}"
        return Probe(found.table, column, path, found.basis, 1, values, False, has_row)

    block = store.numbers[flat]
    for i, column in enumerate(layout.number_columns):
        yield probe(column, mean(block[:, i].astype(np.float64)), f"mean of the newest {MEMBERS}")
    codes = store.codes[flat]
    for i, column in enumerate(layout.code_columns):
        known = codes[:, i][codes[:, i] >= 0]
        counts = np.bincount(known) if known.size else np.zeros(0, np.int64)
        words = store.dictionary(column)
        for code in np.argsort(-counts, kind="stable")[:FREQUENT]:
            share = mean((codes[:, i] == code).astype(np.float64))
            word = words[int(code)].as_py()
            yield probe(column, share, f"share of {word!r} among the newest {MEMBERS}")


def looks_like_years(values: Float64Array) -> bool:
    """Whether numbers look like calendar years: whole, of several values, 1500 to 2200."""
    known = values[~np.isnan(values)][:10_000]
    if known.size < MIN_YEARS_KNOWN or known.min() == known.max():
        return False
    return bool((known % 1 == 0).all() and known.min() >= 1500 and known.max() <= 2200)


def year_of(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the calendar year, UTC, of nanoseconds."""
    return times.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970


def _ages(stamps: NDArray[np.int64], times: NDArray[np.int64]) -> Float64Array:
    """Return days between stamp and prediction, NaN for NULL; without a time the stamp's day."""
    days = stamps.astype(np.float64) / NS_PER_DAY
    if times.size and times.max() < END_OF_TIME:
        days = times.astype(np.float64) / NS_PER_DAY - days
    return np.where(stamps == NULL_STAMP, np.nan, days)
