"""Which features a baseline has: a value that is equal to its JSON, made from training rows only.

From the row of the entity the plan follows foreign keys up to at most two *places*, each of them
one row per seed. From the entity and from the rows one key above it, *lists* lead down to many
rows; two links down count as one list. Every row of a list brings the rows it leads to as *joins*.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from rle.model.spec import CLOCK_CORRELATION
from rle.spec.config import nanoseconds
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rle.graph.schema import GraphSchema, Relation, TableLayout
    from rle.graph.snapshot import Snapshot
    from rle.ingest.stats import CategoryStats, TableStats

FORMAT = 1
MAX_PLACE_DEPTH = 2
"""Foreign keys that are followed up from the entity."""
MIN_CATEGORY_COUNT = 10
MAX_CATEGORIES = 2000


class CategoryColumn(Value):
    """A category column and the values it is known to have."""

    column: str
    values: tuple[str, ...]
    """Most frequent first, among the rows that training may see; rarer ones count as one."""


class TableColumns(Value):
    """The columns of one table that are read."""

    table: str
    has_time: bool
    numbers: tuple[str, ...] = ()
    categories: tuple[CategoryColumn, ...] = ()
    stamps: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


class Join(Value):
    """A relation that leads from each row to at most one other row."""

    relation: str
    table: str
    label: str
    """How features name the row it leads to."""


class Place(Value):
    """A row per seed: the entity's own, or one that its foreign keys lead to."""

    path: tuple[str, ...]
    """Relations from the entity's row."""
    table: str
    label: str
    """How features name it; empty for the entity itself."""


class Expected(Value):
    """What rows of an inherited list usually follow, such as departures their flights."""

    relation: str
    """From the place to the rows that are followed."""
    lag: int
    """Nanoseconds after which half of them were."""


class ListPath(Value):
    """Many rows per seed."""

    place: int
    """Where it begins, a position in `FeaturePlan.places`."""
    path: tuple[str, ...]
    """One relation down, or two."""
    table: str
    label: str
    joins: tuple[Join, ...] = ()
    expected: Expected | None = None


class FeaturePlan(Value):
    """All features of a baseline, in order; `rle.baseline.features` computes them."""

    format: int = FORMAT
    inclusive: bool
    """Whether a row at exactly the seed's time is visible."""
    time_window: int | None = None
    """Nanoseconds before the seed's time beyond which rows are not visible; None: no limit."""
    near: int = 8
    """Rows of the shorter aggregates."""
    far: int = 64
    """Rows that are read at most."""
    moments: Annotated[int, Field(ge=2, le=4)] = 3
    """How many of the newest moments of a list have features of their own."""
    windows_h: tuple[float, ...] = (6.0, 24.0, 168.0, 720.0, 8760.0)
    """Hours before the seed's time in which rows are counted."""
    tables: tuple[TableColumns, ...]
    places: tuple[Place, ...]
    lists: tuple[ListPath, ...]
    kept: tuple[int, ...] | None = None
    """Positions of the features that are kept, ascending; None: all."""

    @property
    def windows(self) -> tuple[int, ...]:
        """`windows_h` in nanoseconds."""
        return nanoseconds(self.windows_h)

    def columns_of(self, table: str) -> TableColumns:
        """Return the columns of a table that must be there."""
        return next(t for t in self.tables if t.table == table)


def plan_features(
    snapshot: Snapshot,
    *,
    entity_table: str,
    until: int,
    inclusive: bool,
    time_window: int | None = None,
) -> FeaturePlan:
    """Lay out the features of a task.

    Args:
        snapshot: Its schema says what can be reached, its statistics which values are known.
        entity_table: Table of the seeds.
        until: Latest moment of the training rows, nanoseconds; nothing newer is looked at.
        inclusive: Whether a row at exactly the seed's time is visible.
        time_window: Nanoseconds before a seed's time beyond which rows are not visible.
    """
    schema, stats = snapshot.schema, snapshot.stats(until=until)
    ways = _Ways(snapshot, {lag.relation: lag.median for lag in stats.lags})
    places = tuple(_places(ways, entity_table))
    lists = tuple(_lists(ways, places, has_window=time_window is not None))
    used = {p.table for p in places} | {path.table for path in lists}
    used |= {join.table for path in lists for join in path.joins}
    return FeaturePlan(
        inclusive=inclusive,
        time_window=time_window,
        tables=tuple(
            _columns(layout, stats.table(layout.name))
            for layout in schema.tables
            if layout.name in used
        ),
        places=places,
        lists=lists,
    )


class _Ways:
    """The relations of a schema by what a row finds behind them."""

    def __init__(self, snapshot: Snapshot, lags: Mapping[str, int]) -> None:
        self.schema: GraphSchema = snapshot.schema
        self._lags = lags
        has_parent = {r.link for r in self.schema.relations if not r.many}
        self._single = {
            r.name
            for i, r in enumerate(self.schema.relations)
            if not r.many or (r.link in has_parent and longest_list(snapshot, i) <= 1)
        }
        self._keys = {r.name for r in self.schema.relations if r.link in has_parent}

    def to_one(self, table: str, *, but: str | None = None) -> list[Relation]:
        """Relations to at most one row, without those of the link `but`."""
        found = self.schema.relations_from(table)
        return [r for r in found if r.name in self._single and r.link != but]

    def to_many(self, table: str) -> list[Relation]:
        """Relations to several rows."""
        return [r for r in self.schema.relations_from(table) if r.name not in self._single]

    def expected(self, relation: Relation) -> Expected | None:
        """What the rows of an inherited relation follow; None for any other."""
        found = self.schema.extension(relation) if relation.name in self._lags else None
        if found is None:
            return None
        return Expected(relation=found[1].name, lag=self._lags[relation.name])

    def are_timed(self, relation: Relation) -> bool:
        """Whether the tables at both ends have a time."""
        ends = (relation.source, relation.target)
        return all(self.schema.table(name).has_time for name in ends)

    def is_key(self, relation: Relation) -> bool:
        """Whether a foreign key of its own stands behind the relation."""
        return relation.name in self._keys


def longest_list(snapshot: Snapshot, relation: int) -> int:
    """Return how many rows a relation links to one row at most."""
    start = snapshot.topology.relations[relation].offset_start
    num = snapshot.tables[snapshot.schema.relations[relation].source].num_rows
    return int(np.max(np.diff(snapshot.topology.offsets[start : start + num + 1]), initial=0))


def _places(ways: _Ways, entity_table: str) -> Iterator[Place]:
    level: list[tuple[Place, str | None]] = [(Place(path=(), table=entity_table, label=""), None)]
    for depth in range(MAX_PLACE_DEPTH + 1):
        above: list[tuple[Place, str | None]] = []
        for place, link in level:
            yield place
            if depth == MAX_PLACE_DEPTH:
                continue
            relations = ways.to_one(place.table, but=link)
            for relation, label in zip(relations, _labels(relations), strict=True):
                found = Place(
                    path=(*place.path, relation.name),
                    table=relation.target,
                    label=f"{place.label}.{label}" if place.label else label,
                )
                above.append((found, relation.link))
        level = above


def _lists(ways: _Ways, places: tuple[Place, ...], *, has_window: bool) -> Iterator[ListPath]:
    for number, place in enumerate(places):
        if len(place.path) == MAX_PLACE_DEPTH:
            continue
        relations = ways.to_many(place.table)
        names = _list_labels(relations)
        for relation, label in zip(relations, names, strict=True):
            at = f" at {place.label}" if place.label else ""
            yield _list(ways, number, (relation,), label, at)
            if number or not ways.is_key(relation):
                continue
            below = [r for r in ways.to_many(relation.target) if ways.is_key(r)]
            if has_window:  # which may hide the row between alone: not a stretch of the list
                below = [r for r in below if not ways.are_timed(r)]
            for second, deeper in zip(below, _list_labels(below), strict=True):
                yield _list(ways, number, (relation, second), f"{label}.{deeper}", "")


def _list(
    ways: _Ways, place: int, relations: tuple[Relation, ...], label: str, at: str
) -> ListPath:
    last = relations[-1]
    # Following an inherited link back leads to the row it was inherited through, which is news.
    joins = ways.to_one(last.target, but=last.link)
    return ListPath(
        place=place,
        path=tuple(r.name for r in relations),
        table=last.target,
        label=f"{label}{at}",
        joins=tuple(
            Join(relation=r.name, table=r.target, label=name)
            for r, name in zip(joins, _labels(joins), strict=True)
        ),
        expected=ways.expected(last),
    )


def _labels(relations: list[Relation]) -> list[str]:
    """The table each relation leads to; the foreign key where two lead to the same."""
    count = Counter(r.target for r in relations)
    return [r.target if count[r.target] == 1 else _column(r) for r in relations]


def _list_labels(relations: list[Relation]) -> list[str]:
    count = Counter(r.target for r in relations)
    return [r.target if count[r.target] == 1 else f"{r.target} by {_column(r)}" for r in relations]


def _column(relation: Relation) -> str:
    return relation.link.partition(".")[2]


def _columns(layout: TableLayout, stats: TableStats) -> TableColumns:
    return TableColumns(
        table=layout.name,
        has_time=layout.has_time,
        numbers=tuple(
            s.column for s in stats.numbers if abs(s.time_correlation) < CLOCK_CORRELATION
        ),
        categories=tuple(
            CategoryColumn(column=s.column, values=_frequent(s)) for s in stats.categories
        ),
        stamps=layout.stamp_columns,
        lists=layout.list_columns,
    )


def _frequent(stats: CategoryStats) -> tuple[str, ...]:
    values = (
        value
        for value, count in zip(stats.values, stats.counts, strict=True)
        if count >= MIN_CATEGORY_COUNT
    )
    return tuple(value for value, _ in zip(values, range(MAX_CATEGORIES), strict=False))
