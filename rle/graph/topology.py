"""Every link in both directions, as three flat arrays that a kernel walks without Python.

A foreign key is an array, not an edge list: `parents[row]` one way, and the other way the child
rows grouped by parent. Rows are in time order, so each group is in time order too and what a seed
may see of it is a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rle.graph.schema import GraphSchema, Relation

    Int32Array = NDArray[np.int32]
    Emit = Callable[[Int32Array], None]


@dataclass(frozen=True, slots=True)
class RelationSlice:
    """Where one relation lies in the flat arrays.

    many=True: the targets of row r are
    `links[link_start + offsets[offset_start + r] : link_start + offsets[offset_start + r + 1]]`.
    many=False: the parent of row r is `links[link_start + r * stride + column]`, -1 for none.
    """

    many: bool
    link_start: int
    offset_start: int = 0
    stride: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Topology:
    """All relations of a graph. Arrays are int32, read-only and usually memory-mapped."""

    links: Int32Array
    """Per many-relation the target rows grouped by source row, ascending within a group; and per
    table with foreign keys its parents, row-major [num_rows, num_foreign_keys], -1 for none."""
    offsets: Int32Array
    """Per many-relation [num_source_rows + 1], counted from that relation's `link_start`."""
    relations: tuple[RelationSlice, ...]
    """Aligned with `GraphSchema.relations`."""

    def children(self, relation: int, row: int) -> Int32Array:
        """Return the targets of one row under a many-relation, oldest first."""
        part = self.relations[relation]
        first, last = self.offsets[part.offset_start + row : part.offset_start + row + 2]
        return self.links[part.link_start + int(first) : part.link_start + int(last)]

    def parents(self, relation: int, rows: NDArray[np.integer]) -> Int32Array:
        """Return the parent of each row under a parent-relation, -1 for none."""
        part = self.relations[relation]
        return self.links[part.link_start + rows.astype(np.int64) * part.stride + part.column]

    @classmethod
    def of(
        cls,
        schema: GraphSchema,
        num_rows: Mapping[str, int],
        parents: Mapping[str, Int32Array],
    ) -> Topology:
        """Build a topology in memory.

        Args:
            schema: Tables and relations.
            num_rows: Rows per table.
            parents: Per table with foreign keys, edge tables included, int32 [num_rows, num_fks].
        """
        links: list[Int32Array] = []
        offsets: list[Int32Array] = []
        builder = TopologyBuilder(schema, num_rows, links.append, offsets.append)
        for table, block in parents.items():
            builder.add(table, block)
        empty = [np.empty(0, np.int32)]
        return cls(np.concatenate(links or empty), np.concatenate(offsets or empty), builder.slices)


class TopologyBuilder:
    """Turns parents into both directions of every link, one table at a time, append-only."""

    def __init__(
        self,
        schema: GraphSchema,
        num_rows: Mapping[str, int],
        emit_links: Emit,
        emit_offsets: Emit,
    ) -> None:
        self._relations = schema.relations
        self._num_rows = num_rows
        self._emit_links = emit_links
        self._emit_offsets = emit_offsets
        self._num_links = 0
        self._num_offsets = 0
        self._slices: dict[str, RelationSlice] = {}

    @property
    def slices(self) -> tuple[RelationSlice, ...]:
        """The slice of every relation, in order; all tables must have been added."""
        missing = [r.name for r in self._relations if r.name not in self._slices]
        if missing:
            raise InternalError(f"These relations were never built: {missing}.")
        return tuple(self._slices[r.name] for r in self._relations)

    def add(self, table: str, parents: Int32Array) -> tuple[int, ...]:
        """Append the relations of one table's foreign keys.

        Args:
            table: The table that holds the foreign keys.
            parents: int32 [num_rows, num_fks] in row order, columns in schema order, -1 for none.

        Returns:
            Edges per foreign key.
        """
        relations = self._relations
        single = [r for r in relations if not r.many and r.source == table]
        if not single:
            return self._add_edge_table(table, parents)
        links = {r.link for r in single}
        many = [r for r in relations if r.many and r.link in links]
        start = self._append_links(np.ascontiguousarray(parents).reshape(-1))
        edges: list[int] = []
        for column, (down, up) in enumerate(zip(many, single, strict=True)):
            self._slices[up.name] = RelationSlice(
                many=False, link_start=start, stride=parents.shape[1], column=column
            )
            edges.append(
                self._add_lists(down.name, down.source, np.ascontiguousarray(parents[:, column]))
            )
        return tuple(edges)

    def inherit(self, relation: Relation, parent: Int32Array) -> int:
        """Append a relation that no foreign key of its own stands for; see `rle.graph.inherit`.

        Args:
            relation: A many-relation; from now on the last of the schema.
            parent: int32 [num_rows of its target], row of its source, -1 for none.

        Returns:
            Edges.
        """
        self._relations = (*self._relations, relation)
        return self._add_lists(relation.name, relation.source, parent)

    def _add_edge_table(self, table: str, parents: Int32Array) -> tuple[int, ...]:
        forward, backward = (
            r for r in self._relations if r.many and r.link.partition(".")[0] == table
        )
        kept = (parents >= 0).all(axis=1)
        first, second = (np.ascontiguousarray(parents[kept, i]) for i in (0, 1))
        # Ordered by target before grouping by source, so that every group ascends in time.
        by_first, by_second = stable_order(first), stable_order(second)
        self._add_lists(forward.name, forward.source, first[by_second], second[by_second])
        self._add_lists(backward.name, backward.source, second[by_first], first[by_first])
        return first.size, second.size

    def _add_lists(
        self, name: str, source: str, parent: Int32Array, values: Int32Array | None = None
    ) -> int:
        offsets, rows = group_by_parent(parent, self._num_rows[source], values)
        self._slices[name] = RelationSlice(
            many=True, link_start=self._num_links, offset_start=self._num_offsets
        )
        self._append_links(rows)
        self._emit_offsets(offsets)
        self._num_offsets += offsets.size
        return int(rows.size)

    def _append_links(self, values: Int32Array) -> int:
        start = self._num_links
        self._emit_links(values)
        self._num_links += values.size
        return start


def group_by_parent(
    parent: Int32Array, num_parents: int, values: Int32Array | None = None
) -> tuple[Int32Array, Int32Array]:
    """Group rows by parent with a stable counting sort.

    Args:
        parent: int32 [N], -1 for none.
        num_parents: P; every parent is below it.
        values: int32 [N] to group instead of the row numbers.

    Returns:
        int32 [P + 1] offsets and int32 [E] values, in their given order within a group.
    """
    offsets = np.zeros(num_parents + 1, np.int32)
    if parent.size and int(parent.min()) < 0:
        kept = np.flatnonzero(parent >= 0).astype(np.int32)
        parent, values = parent[kept], kept if values is None else values[kept]
    counts = np.bincount(parent, minlength=num_parents)
    np.cumsum(counts, out=offsets[1:], dtype=np.int32)
    order = stable_order(parent)
    return offsets, order if values is None else values[order]


def stable_order(values: Int32Array) -> Int32Array:
    """Return the stable sorting order of non-negative int32 values, int32 [N].

    numpy sorts 16-bit integers by counting, so two passes over the halves are several times
    cheaper than one merge sort.
    """
    # Narrowed at once: numpy's own int64 order would be half of the build's peak memory.
    order = np.argsort((values & 0xFFFF).astype(np.uint16), kind="stable").astype(np.int32)
    if values.size and int(values.max()) > 0xFFFF:
        high = (values >> 16).astype(np.uint16)[order]
        order = order[np.argsort(high, kind="stable")]
    return order
