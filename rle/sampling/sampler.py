"""Seeds -> trees. Nothing newer than a seed's time gets into its tree: leakage stops here."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rle.errors import UnknownNameError, ValidationError
from rle.sampling.batch import Frontier, Hop, Trees
from rle.sampling.kernels import due
from rle.sampling.kernels import trees as kernels
from rle.sampling.kernels.loading import load, read_only
from rle.sampling.walk import plan_walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Int32Array, Int64Array

    Strategy = Literal["uniform", "last"]

    UInt64Array = NDArray[np.uint64]

SLACK = 1024
"""Nodes of room beside what the batches so far needed, so that small batches fit too."""
MARGIN = 1.25
"""How much more room than the largest batch so far needed."""


@dataclass(frozen=True, slots=True)
class _Due:
    """The lists of the rows that a hop's rows extend."""

    lag: int
    table: int
    link_start: int
    offset_start: int


class NeighborSampler:
    """Draws the visible past of seed rows as one tree per seed.

    A tree depends on (seed, epoch, the seed row's position in its split) and on the graph, never
    on the batch it is drawn in, the thread, or the number of workers. Safe to share by threads.

    Args:
        snapshot: The graph; kept open as long as the sampler lives.
        entity_table: Table of the seed rows.
        fanouts: Neighbours kept per relation, nearest hop first; its length is the depth.
        strategy: Which neighbours are kept when more are visible: "uniform" draws without
            replacement, "last" keeps the newest.
        inclusive: Whether a row at exactly the seed's time is visible.
        seed: Of the draws.
        newest: How many of the newest visible neighbours each hop points at; those that were not
            drawn are added as extras. 0 costs nothing.
        windows: Nanoseconds, ascending. Each hop to many rows of a table with time reports how
            many of the visible ones are newer than the seed's time less each of these.
        lags: Inherited relation to nanoseconds: how long after a row the row that extends it
            usually comes. The hops report what was due in each of `windows`.
        backtrack: Whether a row that was reached through a foreign key follows that same key back
            to the row it came from.
        time_window: Nanoseconds before a seed's time; older rows of tables with time are not
            visible, at any hop. The window ends where visibility does, as those of `windows`: with
            `inclusive` a row at exactly its beginning is too old, without it is visible. None: no
            limit. The seeds' own rows are always there.

    Raises:
        UnknownNameError: The graph has no such entity table.
        ValidationError: A fanout is below 1 or there is none, windows are not ascending, or the
            time window is not positive.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        entity_table: str,
        fanouts: Sequence[int],
        strategy: Strategy,
        inclusive: bool,
        seed: int,
        newest: int = 0,
        windows: Sequence[int] = (),
        lags: Mapping[str, int] | None = None,
        backtrack: bool = True,
        time_window: int | None = None,
    ) -> None:
        if entity_table not in snapshot.tables:
            raise UnknownNameError("table", entity_table, snapshot.tables)
        if not fanouts or min(fanouts) < 1:
            raise ValidationError(f"Fanouts must be 1 or more per hop, not {list(fanouts)}.")
        if any(a >= b for a, b in itertools.pairwise((0, *windows))):
            raise ValidationError(f"Windows must be positive and ascending, not {list(windows)}.")
        if time_window is not None and time_window < 1:
            raise ValidationError(f"A time window must be positive, not {time_window} ns.")
        load()
        self._snapshot = snapshot  # the kernel holds addresses of its arrays
        self._num_rows = snapshot.tables[entity_table].num_rows
        self._walk = walk = plan_walk(
            snapshot,
            entity_table=entity_table,
            fanouts=fanouts,
            num_windows=len(windows),
            backtrack=backtrack,
        )
        self._graph = tuple(
            read_only(array)
            for array in (
                snapshot.topology.links,
                snapshot.topology.offsets,
                walk.plan,
                walk.clocks,
                walk.buckets,
                np.array(windows, np.int64),
            )
        )
        self._options = (
            int(inclusive),
            int(strategy == "last"),
            newest,
            seed & 0x7FFFFFFFFFFFFFFF,
        )
        self._time_window = time_window or 0
        self._widest = max(len(walk.frontiers), len(walk.steps)) + 1
        self._sizes = (16.0, 64.0)  # nodes and facts per seed: a first guess
        self._scratch = threading.local()
        relations = snapshot.schema.relations
        self._due = self._find_due(snapshot, lags or {}) if windows else {}
        self._hops = tuple(
            (
                step.relation,
                step.depth,
                relations[step.relation].source,
                relations[step.relation].target,
                step.source,
                step.target,
                newest if relations[step.relation].many else 0,
                int(walk.plan[h, kernels.WINDOWS]),
            )
            for h, step in enumerate(walk.steps)
        )

    def sample(
        self, rows: Int32Array, times: Int64Array, *, epoch: int, positions: Int64Array
    ) -> Trees:
        """Draw one tree per seed. Releases the GIL.

        Args:
            rows: int32 [S], rows of the entity table.
            times: int64 [S], nanoseconds since 1970 UTC, below `NULL_TIME`.
            epoch: Part of the randomness: each epoch draws anew.
            positions: int64 [S], the seeds' positions in their split, part of the randomness.

        Raises:
            ValidationError: A row is not in the entity table, or the lengths differ.
        """
        rows = np.ascontiguousarray(rows, np.int32)
        times = np.ascontiguousarray(times, np.int64)
        positions = np.ascontiguousarray(positions, np.int64)
        if not rows.shape == times.shape == positions.shape:
            raise ValidationError(
                f"rows, times and positions differ in length: {rows.shape}, {times.shape}, "
                f"{positions.shape}."
            )
        layout = np.empty((4, self._widest), np.int64)
        links, offsets, plan, clocks, buckets, windows = self._graph
        inclusive, is_last, newest, seed = self._options
        bits, summary = self._bit_sets()
        nodes_per_seed, facts_per_seed = self._sizes
        while True:
            size = int(rows.size * nodes_per_seed) + SLACK
            nodes = np.empty(2 * size + int(rows.size * facts_per_seed) + SLACK, np.int32)
            status = kernels.sample_trees(
                rows, times, positions, links, offsets, plan, clocks, buckets, windows, bits,
                summary, nodes, layout, size, self._num_rows, inclusive, is_last, newest, seed,
                epoch, self._time_window,
            )  # fmt: skip
            if status == kernels.DONE:
                return self._trees(rows, times, nodes, layout.tolist(), size)
            if status == kernels.BAD_ROW:
                raise ValidationError(
                    f"A seed row is outside 0..{self._num_rows - 1}, the rows of the entity table."
                )
            # The draws are functions of the seeds, so a second attempt repeats the first.
            if status == kernels.NODES_FULL:
                nodes_per_seed *= 2
            else:
                facts_per_seed *= 2

    def _trees(
        self,
        rows: Int32Array,
        times: Int64Array,
        nodes: Int32Array,
        layout: list[list[int]],
        size: int,
    ) -> Trees:
        starts, firsts, extras, facts = layout
        frontiers = {
            key: Frontier(
                nodes[starts[i] : starts[i + 1]], nodes[size + starts[i] : size + starts[i + 1]]
            )
            for i, key in enumerate(self._walk.frontiers)
        }
        hops = []
        for h, hop in enumerate(self._hops):
            relation, depth, source, target, above, below, newest, windows = hop
            num = starts[above + 1] - starts[above]
            at = facts[h] + num + 1
            after = at + (2 + newest) * num
            hops.append(
                Hop(
                    relation,
                    depth,
                    source,
                    target,
                    firsts[h] - starts[below],
                    extras[h],
                    nodes[facts[h] : at],
                    nodes[at : at + num],
                    nodes[at + num : at + 2 * num],
                    nodes[at + 2 * num : after].reshape(num, newest),
                    nodes[after : after + windows * num].reshape(num, windows),
                    self._count_due(h, frontiers[depth, source], times),
                )
            )
        self._remember(max(1, rows.size), starts[len(frontiers)], facts[len(hops)] - 2 * size)
        return Trees(rows, times, frontiers, tuple(hops))

    def _find_due(self, snapshot: Snapshot, lags: Mapping[str, int]) -> dict[int, _Due]:
        """By the number of the hop: where `Hop.due` is counted."""
        schema, slices = snapshot.schema, snapshot.topology.relations
        tables = [layout.name for layout in schema.tables]
        out = {}
        for h, step in enumerate(self._walk.steps):
            relation = schema.relations[step.relation]
            found = schema.extension(relation) if relation.name in lags else None
            if found is not None:
                part = slices[schema.relations.index(found[1])]
                table = tables.index(found[1].target)
                out[h] = _Due(lags[relation.name], table, part.link_start, part.offset_start)
        return out

    def _count_due(self, h: int, frontier: Frontier, times: Int64Array) -> Int32Array | None:
        if h not in self._due:
            return None
        at = self._due[h]
        links, offsets, _, clocks, buckets, windows = self._graph
        out = np.empty((frontier.rows.size, windows.size), np.int32)
        due.count_due(
            read_only(times), self._options[0], at.lag, self._time_window, windows,
            clocks[at.table], buckets, read_only(frontier.rows), read_only(frontier.seed), links,
            offsets, at.link_start, at.offset_start, out,
        )  # fmt: skip
        return out

    def _remember(self, num_seeds: int, num_nodes: int, num_facts: int) -> None:
        """Size the next call by the largest so far. Only a hint: threads may overwrite it."""
        nodes_per_seed, facts_per_seed = self._sizes
        if num_nodes > nodes_per_seed * num_seeds or num_facts > facts_per_seed * num_seeds:
            self._sizes = (
                max(nodes_per_seed, MARGIN * num_nodes / num_seeds),
                max(facts_per_seed, MARGIN * num_facts / num_seeds),
            )

    def _bit_sets(self) -> tuple[UInt64Array, UInt64Array]:
        """This thread's scratch for draws from long lists, all zero between calls."""
        try:
            sets: tuple[UInt64Array, UInt64Array] = self._scratch.bits
        except AttributeError:
            words = (self._walk.longest >> 6) + 1
            sets = np.zeros(words, np.uint64), np.zeros((words >> 6) + 1, np.uint64)
            self._scratch.bits = sets
        return sets
