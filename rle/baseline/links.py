"""Links as lists and maps: what one row leads to, and what many lie behind it.

Shapes: N rows of a table, E entries of all lists, S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import DataError
from rle.graph.store import NULL_TIME
from rle.graph.topology import group_by_parent
from rle.sampling.kernels.aggregates import visible_ends
from rle.sampling.kernels.loading import read_only

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.baseline.seeds import Seeds
    from rle.graph.schema import Relation
    from rle.graph.snapshot import Snapshot

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lists:
    """The rows that one or two relations link to each row of a table."""

    entries: Int32Array
    """int32 [E], rows of the table at the end."""
    keys: Int32Array
    """int32 [E], ascending within a list: rows of `clock`, which say when an entry is seen."""
    offsets: Int32Array
    """int32 [rows + 1]."""
    clock: str
    """Table whose time decides."""

    def ends(self, seeds: Seeds, rows: Int32Array) -> tuple[Int64Array, Int64Array]:
        """First of the visible entries and their end; int64 [S] each."""
        first, last = self._below(rows, seeds.cutoffs(self.clock))
        if seeds.time_window is not None:
            _, first = self._below(rows, seeds.floors(self.clock))
        return first, last

    def end_of_past(self, seeds: Seeds, rows: Int32Array, *, window: int) -> Int64Array:
        """End of the entries that are older than `window` nanoseconds, int64 [S]."""
        return self._below(rows, seeds.cutoffs(self.clock, window))[1]

    def _below(self, rows: Int32Array, cutoffs: Int32Array) -> tuple[Int64Array, Int64Array]:
        first, last = np.empty(rows.size, np.int64), np.empty(rows.size, np.int64)
        visible_ends(self.keys, self.offsets, read_only(rows), read_only(cutoffs), first, last)
        return first, last


class Links:
    """The links of one snapshot, by the names of relations."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._index = {r.name: i for i, r in enumerate(snapshot.schema.relations)}
        self._maps: dict[str, Int32Array] = {}

    def relation(self, name: str) -> Relation:
        """Return the relation of this name; DataError where the graph has none."""
        if name not in self._index:
            raise DataError(f"The graph has no relation {name!r}, which the baseline follows.")
        return self._snapshot.schema.relations[self._index[name]]

    def to_one(self, name: str) -> Int32Array:
        """Int32 [N + 1]: the one row that each row leads to, whatever its time; -1 for none.

        The last entry is -1, so that row -1 leads nowhere.
        """
        if name not in self._maps:
            relation = self.relation(name)
            num = self._snapshot.tables[relation.source].num_rows
            if relation.many:
                found = self._first_child(self._index[name], num)
            else:
                found = self._snapshot.topology.parents(self._index[name], np.arange(num))
            self._maps[name] = read_only(np.append(found, np.int32(-1)).astype(np.int32))
        return self._maps[name]

    def follow(self, seeds: Seeds, rows: Int32Array, name: str) -> Int32Array:
        """Int32 [S]: the visible row that a row of each seed leads to, -1 for none."""
        found = self.to_one(name)[rows]
        is_visible = seeds.is_visible(self.relation(name).target, found)
        return np.where(is_visible, found, np.int32(-1)).astype(np.int32)

    def lists(self, path: tuple[str, ...]) -> Lists:
        """Return the lists at the end of one relation down, or of two."""
        if len(path) == 2:
            return self._grandchildren(*path)
        number, relation = self._index[self.relation(path[0]).name], self.relation(path[0])
        part = self._snapshot.topology.relations[number]
        num = self._snapshot.tables[relation.source].num_rows
        topology = self._snapshot.topology
        offsets = topology.offsets[part.offset_start : part.offset_start + num + 1]
        size = int(offsets[-1]) if num else 0
        entries = read_only(topology.links[part.link_start : part.link_start + size])
        return Lists(entries, entries, read_only(offsets), relation.target)

    def _first_child(self, number: int, num: int) -> Int32Array:
        part, topology = self._snapshot.topology.relations[number], self._snapshot.topology
        offsets = topology.offsets[part.offset_start : part.offset_start + num + 1]
        out = np.full(num, -1, np.int32)
        some = np.flatnonzero(offsets[1:] > offsets[:-1])
        out[some] = topology.links[part.link_start + offsets[some].astype(np.int64)]
        return out

    def _parents_of(self, down: str) -> Int32Array:
        """Int32 [N + 1]: parent of each row, by the foreign key behind a relation down."""
        link = self.relation(down).link
        relations = self._snapshot.schema.relations
        return self.to_one(next(r.name for r in relations if r.link == link and not r.many))

    def _grandchildren(self, first: str, second: str) -> Lists:
        """Rows two links down, in the order in which they become visible.

        A row older than the row between it and its grandparent could not be reached at its own
        time; it is left out, so that a list stays in the order of time.
        """
        tables = self._snapshot.tables
        top, middle = self.relation(first).source, self.relation(first).target
        below = self.relation(second).target
        parent = self._parents_of(second)[:-1]
        grand = self._parents_of(first)[parent]
        between, times = tables[middle].times, tables[below].times
        if times is None:
            # Rows without a time are seen with the row above them, so they follow its order.
            order = np.argsort(parent, kind="stable").astype(np.int32)
            offsets, entries = group_by_parent(grand[order], tables[top].num_rows, order)
            keys = parent[entries]
            return Lists(read_only(entries), read_only(keys), read_only(offsets), middle)
        if between is not None:
            grand = np.where(np.append(between, NULL_TIME)[parent] <= times, grand, np.int32(-1))
        offsets, entries = group_by_parent(grand.astype(np.int32), tables[top].num_rows)
        entries = read_only(entries)
        return Lists(entries, entries, read_only(offsets), below)
