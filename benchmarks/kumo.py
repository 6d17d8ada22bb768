"""The native neighbour sampler of kumo-relational-engine, over the arrays of our snapshot.

Not a dependency: `pip install kumo-relational-engine` puts it beside us, and benchmarks.sampling
then measures it in the same run. It draws the newest neighbours only.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot

NATIVE = "kumo_relational_engine.relationallib"
NANOSECONDS = 10**9


def is_installed() -> bool:
    """Whether the peer can be measured here."""
    return importlib.util.find_spec("kumo_relational_engine") is not None


class KumoSampler:
    """Trees of a snapshot, drawn by the peer."""

    def __init__(self, graph: Snapshot, fanouts: list[int]) -> None:
        relations = graph.schema.relations
        self.edge_types = [(r.target, r.name.replace(":", "_"), r.source) for r in relations]
        self.fanouts = {self._name(edge): fanouts for edge in self.edge_types}
        ends, neighbours = {}, {}
        for i, edge in enumerate(self.edge_types):
            ends[self._name(edge)], neighbours[self._name(edge)] = self._lists(graph, i)
        times = {
            name: table.times // NANOSECONDS
            for name, table in graph.tables.items()
            if table.times is not None
        }
        native: Any = importlib.import_module(NATIVE)
        tables = list(graph.tables)
        self.kept = ends, neighbours, times  # the native code holds addresses
        self.native = native.NeighborSampler(tables, self.edge_types, *self.kept)

    def sample(self, rows: NDArray[np.int32], times: NDArray[np.int64]) -> int:
        """Draw trees from customers; returns the number of edges."""
        seconds = times // NANOSECONDS
        out = self.native.sample(self.fanouts, {}, "customers", rows.astype(np.int64), seconds)
        return sum(len(sources) for sources in out[0].values())

    @staticmethod
    def _name(edge: tuple[str, str, str]) -> str:
        return "__".join(edge)

    @staticmethod
    def _lists(graph: Snapshot, i: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        relation, part = graph.schema.relations[i], graph.topology.relations[i]
        num = graph.tables[relation.source].num_rows
        if part.many:
            ends = graph.topology.offsets[part.offset_start : part.offset_start + num + 1]
            links = graph.topology.links[part.link_start : part.link_start + int(ends[-1])]
            return ends.astype(np.int64), links.astype(np.int64)
        parents = graph.topology.parents(i, np.arange(num))
        ends = np.concatenate([[0], np.cumsum(parents >= 0)])
        return ends.astype(np.int64), parents[parents >= 0].astype(np.int64)
