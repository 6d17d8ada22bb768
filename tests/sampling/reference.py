"""A slow, obvious sampler: looks at every row's own time, knows no prefix, cutoff or bit trick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.schema import Relation
    from tests.sampling.graphs import Graph

WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def draw(key: int, n: int, k: int) -> list[int]:
    """Draw k of n > k without replacement: Floyd's algorithm on what is kept or on what is not."""
    fewer = min(k, n - k)
    chosen: set[int] = set()
    for i, j in enumerate(range(n - fewer, n)):
        pick = mix((key + (i + 1) * GOLDEN) & WORD) * (j + 1) >> 64
        chosen.add(j if pick in chosen else pick)
    return sorted(chosen if fewer == k else set(range(n)) - chosen)


@dataclass
class ReferenceHop:
    relation: int
    depth: int
    first: int
    offset: list[int] = field(default_factory=lambda: [0])
    count: list[int] = field(default_factory=list)
    newest_row: list[int] = field(default_factory=list)
    newest: list[list[int]] = field(default_factory=list)
    recent: list[list[int]] = field(default_factory=list)
    num_extra: int = 0


@dataclass
class ReferenceSampler:
    graph: Graph
    entity_table: str
    fanouts: Sequence[int]
    strategy: str
    inclusive: bool
    seed: int
    newest: int = 0
    windows: Sequence[int] = ()
    backtrack: bool = True
    time_window: int | None = None

    def sample(
        self, rows: Sequence[int], times: Sequence[int], epoch: int, positions: Sequence[int]
    ) -> tuple[dict[tuple[int, str], list[tuple[int, int]]], list[ReferenceHop]]:
        """Return frontiers as lists of (row, seed), and the hops."""
        schema = self.graph.schema
        self.times, self.positions, self.epoch = times, positions, epoch
        frontiers = {(0, self.entity_table): [(int(r), s) for s, r in enumerate(rows)]}
        self.came_by = {(0, self.entity_table): [""] * len(rows)}  # the relation of every node
        hops = []
        for depth in range(len(self.fanouts)):
            for table in schema.tables:
                for i, relation in enumerate(schema.relations):
                    if relation.target == table.name and (depth, relation.source) in frontiers:
                        below = frontiers.setdefault((depth + 1, table.name), [])
                        hops.append(self._hop(i, depth, frontiers[depth, relation.source], below))
                        came_by = self.came_by.setdefault((depth + 1, table.name), [])
                        came_by += [relation.name] * (len(below) - len(came_by))
        return frontiers, hops

    def _hop(
        self, i: int, depth: int, above: list[tuple[int, int]], below: list[tuple[int, int]]
    ) -> ReferenceHop:
        relation = self.graph.schema.relations[i]
        hop = ReferenceHop(i, depth, len(below))
        extras: list[tuple[int, int, int, int]] = []
        for p, (row, s) in enumerate(above):
            seen = [
                r
                for r in self.graph.neighbours(relation, row)
                if not self._leads_back(relation, depth, p) and self._is_visible(relation, r, s)
            ]
            kept = self._keep(i, depth, row, s, len(seen))
            newest_kept = [(len(below) + j, seen[pick]) for j, pick in enumerate(kept)]
            below += [(seen[pick], s) for pick in kept]
            hop.offset.append(len(below) - hop.first)
            hop.count.append(len(seen))
            hop.newest_row.append(seen[-1] if seen else -1)
            hop.newest.append([-1] * self.newest if relation.many else [])
            hop.recent.append(
                [
                    sum(self._is_within(window, relation.target, r, s) for r in seen)
                    for window in self.windows
                    if relation.many and self.graph.sources[relation.target].times is not None
                ]
            )
            for m in range(min(len(hop.newest[-1]), len(seen))):
                # Rows, not picks, are compared: an edge table may name a neighbour twice.
                if newest_kept and newest_kept[-1][1] == seen[-1 - m]:
                    hop.newest[-1][m] = newest_kept.pop()[0]
                else:
                    extras.append((p, m, seen[-1 - m], s))
        for p, m, row, s in extras:
            hop.newest[p][m] = len(below)
            below.append((row, s))
        hop.num_extra = len(extras)
        return hop

    def _is_visible(self, relation: Relation, row: int, s: int) -> bool:
        table, time = relation.target, self.times[s]
        is_too_old = (
            self.time_window is not None
            and self.graph.sources[table].times is not None
            and self.graph.is_visible(table, row, time - self.time_window, inclusive=self.inclusive)
        )
        return not is_too_old and self.graph.is_visible(table, row, time, inclusive=self.inclusive)

    def _leads_back(self, relation: Relation, depth: int, p: int) -> bool:
        came_by = self.came_by[depth, relation.source][p]
        return (
            not self.backtrack
            and relation.name == f"{relation.link}:parent"
            and came_by == f"{relation.link}:children"
        )

    def _is_within(self, window: int, table: str, row: int, s: int) -> bool:
        # Whether the row was not yet visible when the window began.
        return not self.graph.is_visible(
            table, row, self.times[s] - window, inclusive=self.inclusive
        )

    def _keep(self, relation: int, depth: int, row: int, s: int, n: int) -> list[int]:
        k = self.fanouts[depth]
        if n <= k:
            return list(range(n))
        if self.strategy == "last":
            return list(range(n - k, n))
        key = mix(mix(self.seed + GOLDEN & WORD) ^ self.epoch)
        key = mix(key ^ int(self.positions[s]))
        key = mix(((depth << 32) | relation) ^ key)
        return draw(mix(key ^ row), n, k)
