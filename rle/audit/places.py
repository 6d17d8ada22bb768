"""Where a prediction can look: rows around each seed that its time bound lets it see.

A place is one row per seed: its own, a parent, the newest visible child, and those of these. Each
stands on a basis: what vouches for the row having been known at the time of the prediction.

Shapes: S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rle.graph.schema import Relation
    from rle.graph.snapshot import Snapshot

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]

NS_PER_DAY = 86_400 * 10**9
MAX_PLACES = 400
"""Places that are read; the nearest come first."""
MEMBERS = 16
"""Newest visible children that aggregates are taken over."""


class Basis(Enum):
    """What vouches for a row having been known at the time of the prediction."""

    UNDATED = "undated"
    """Nothing: it is the entity's own row, or was reached through rows without a bound."""
    DATED = "dated"
    """A time column, before the prediction."""
    AT_T = "at t"
    """A time column, but of the very moment of the prediction, or of its day for times that are
    cut to the day."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Task rows that are looked at: the first `num_fit` to learn from, the rest to measure on."""

    rows: Int32Array
    """int32 [S], row in the entity table."""
    times: Int64Array
    """int64 [S], nanoseconds."""
    num_fit: int


@dataclass(frozen=True, slots=True)
class Place:
    """One row of a table per seed."""

    table: str
    path: str
    """How it was reached, for people."""
    basis: Basis
    rows: Int32Array
    """int32 [S], -1 where there is none."""
    depth: int
    arrived_by: str | None
    """Link that was followed last."""


@dataclass(frozen=True, slots=True)
class Children:
    """The visible rows that one relation leads to, per seed."""

    table: str
    link: str
    path: str
    basis: Basis
    count: Int64Array
    """int64 [S], all of them."""
    members: Int32Array
    """int32 [S, MEMBERS], the newest of them, -1 behind the last; [S, 0] at a second hop."""

    @property
    def is_own(self) -> bool:
        """Whether they are children of the entity's own row."""
        return bool(self.members.shape[1])


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of a row's children, by position in `topology.links`."""

    first: Int64Array
    last: Int64Array
    basis: Basis


class Surroundings:
    """Walks the graph from seeds, two hops far.

    Args:
        snapshot: The graph.
        inclusive: Whether rows of exactly a seed's time are visible.
        daily: Tables whose times are cut to the day: rows of the seed's day stand on AT_T.
    """

    def __init__(self, snapshot: Snapshot, *, inclusive: bool, daily: frozenset[str]) -> None:
        self._snapshot, self._inclusive, self._daily = snapshot, inclusive, daily

    def cutoffs(self, table: str, times: Int64Array) -> Int64Array:
        """Return how many rows of a table each time lets see, int64 [S]."""
        store = self._snapshot.tables[table]
        if store.times is None:
            return np.full(times.size, store.num_rows, np.int64)
        if self._inclusive:
            return np.searchsorted(store.times, times, side="right").astype(np.int64)
        return np.searchsorted(store.times, times, side="left").astype(np.int64)

    def walk(
        self, entity_table: str, seeds: Seeds, *, max_depth: int = 2
    ) -> Iterator[Place | Children]:
        """Yield the own row, then what one hop and two hops lead to. Nothing that is not visible.

        The own row is always visible.
        """
        waiting = [Place(entity_table, "own row", Basis.UNDATED, seeds.rows, 0, None)]
        num_places = 0
        while waiting and num_places < MAX_PLACES:
            place = waiting.pop(0)
            num_places += 1
            yield place
            if place.depth == max_depth:
                continue
            for found in self._expand(place, seeds):
                if isinstance(found, Children):
                    yield found
                else:
                    waiting.append(found)

    def _expand(self, place: Place, seeds: Seeds) -> Iterator[Place | Children]:
        for index, relation in enumerate(self._snapshot.schema.relations):
            if relation.source != place.table:
                continue
            if relation.many:
                yield from self._children(place, index, relation, seeds)
            elif relation.link != place.arrived_by:  # it would only lead back
                yield self._parent(place, index, relation, seeds)

    def _parent(self, place: Place, index: int, relation: Relation, seeds: Seeds) -> Place:
        has = place.rows >= 0
        rows = np.full(place.rows.size, -1, np.int32)
        rows[has] = self._snapshot.topology.parents(index, place.rows[has])
        rows[rows >= self.cutoffs(relation.target, seeds.times)] = -1
        path = f"{place.path} > {relation.link} > {relation.target}"
        return Place(relation.target, path, place.basis, rows, place.depth + 1, relation.link)

    def _children(
        self, place: Place, index: int, relation: Relation, seeds: Seeds
    ) -> Iterator[Place | Children]:
        for part in self._parts(place, index, relation, seeds):
            which = "at t" if part.basis is Basis.AT_T else "newest"
            path = f"{place.path} > {which} {relation.target} by {relation.link}"
            links, start = self._snapshot.topology, self._snapshot.topology.relations[index]
            count = part.last - part.first
            newest = np.full(count.size, -1, np.int32)
            at = start.link_start + part.last - 1
            newest[count > 0] = links.links[at[count > 0]]
            members = np.empty((count.size, 0), np.int32)
            if place.depth == 0:
                back = np.arange(MEMBERS)
                kept = back[None, :] < count[:, None]
                members = np.full(kept.shape, -1, np.int32)
                members[kept] = links.links[(at[:, None] - back[None, :])[kept]]
            yield Children(relation.target, relation.link, path, part.basis, count, members)
            if (newest >= 0).any():
                yield Place(
                    relation.target, path, part.basis, newest, place.depth + 1, relation.link
                )

    def _parts(self, place: Place, index: int, relation: Relation, seeds: Seeds) -> Iterator[_Part]:
        """Yield what is visible before the moment in question, and what is visible at it."""
        part, topology = self._snapshot.topology.relations[index], self._snapshot.topology
        has = place.rows >= 0
        at = part.offset_start + np.where(has, place.rows, 0).astype(np.int64)
        first = np.where(has, topology.offsets[at], 0).astype(np.int64)
        end = np.where(has, topology.offsets[at + 1], 0).astype(np.int64)
        links = topology.links[part.link_start :]
        visible = _bisect(links, first, end, self.cutoffs(relation.target, seeds.times))
        store = self._snapshot.tables[relation.target]
        if store.times is None:
            yield _Part(first, visible, place.basis)
            return
        earlier = self._moment_begins(relation.target, seeds.times)
        if earlier is None:
            yield _Part(first, visible, _dated(place.basis))
            return
        before = np.searchsorted(store.times, earlier, side="left").astype(np.int64)
        until = np.minimum(_bisect(links, first, end, before), visible)
        yield _Part(first, until, _dated(place.basis))
        yield _Part(until, visible, Basis.AT_T)

    def _moment_begins(self, table: str, times: Int64Array) -> Int64Array | None:
        """Return from when on a visible row may tell of what comes after t; None: it never may."""
        if table in self._daily:
            return times - times % NS_PER_DAY
        return times if self._inclusive else None


def _dated(basis: Basis) -> Basis:
    return Basis.AT_T if basis is Basis.AT_T else Basis.DATED


def _bisect(
    links: Int32Array, first: Int64Array, last: Int64Array, bound: Int64Array
) -> Int64Array:
    """Return per seed the first position in [first, last) whose row is `bound` or more."""
    low, high = first.copy(), last.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        is_below = open_ & (links[np.where(open_, middle, 0)] < bound)
        low = np.where(is_below, middle + 1, low)
        high = np.where(open_ & ~is_below, middle, high)
    return low
