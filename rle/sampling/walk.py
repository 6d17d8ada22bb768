"""What a sampler knows before the first seed: which hops there are, and where times are looked up.

The plan depends on schema, entity table and fanouts alone, so every batch has the same frontiers
and hops in the same order, however many of them are empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import InternalError
from rle.graph.store import NULL_TIME
from rle.sampling.kernels import clocks as clock
from rle.sampling.kernels import trees as kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.schema import GraphSchema
    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore
    from rle.sampling.batch import FrontierKey, Int32Array, Int64Array

ROWS_PER_BUCKET = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One hop of the plan: `relation` from frontier number `source` to frontier `target`."""

    relation: int
    depth: int
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Walk:
    """The plan as names, for people, and as flat arrays, for the kernel."""

    frontiers: tuple[FrontierKey, ...]
    steps: tuple[Step, ...]
    plan: Int64Array
    """int64 [H, 11], see the columns in `rle.sampling.kernels.trees`."""
    clocks: Int64Array
    """int64 [T, 6], one row per table of the schema."""
    buckets: Int32Array
    """Rows before the start of each bucket of time, all tables after each other."""
    longest: int
    """Entries of the longest list a uniform draw may meet."""


def plan_walk(
    snapshot: Snapshot,
    *,
    entity_table: str,
    fanouts: Sequence[int],
    num_windows: int = 0,
    backtrack: bool = True,
) -> Walk:
    """Lay out the walk from `entity_table`, one level per fanout."""
    schema = snapshot.schema
    frontiers, steps = plan_steps(schema, entity_table, len(fanouts))
    topology, relations = snapshot.topology, schema.relations
    table = {layout.name: i for i, layout in enumerate(schema.tables)}
    plan = np.zeros((len(steps), 11), np.int64)
    came_by = {} if backtrack else _hops_to_children(schema, steps)
    for h, step in enumerate(steps):
        part, relation = topology.relations[step.relation], relations[step.relation]
        plan[h, kernels.MANY] = part.many
        plan[h, kernels.LINK_START] = part.link_start + (0 if part.many else part.column)
        plan[h, kernels.OFFSET_START] = part.offset_start
        plan[h, kernels.STRIDE] = part.stride
        plan[h, kernels.TABLE] = table[relation.target]
        plan[h, kernels.FANOUT] = fanouts[step.depth]
        plan[h, kernels.SOURCE] = step.source
        plan[h, kernels.TARGET] = step.target
        plan[h, kernels.SALT] = (step.depth << 32) | step.relation
        is_timed = part.many and schema.table(relation.target).has_time
        plan[h, kernels.WINDOWS] = num_windows if is_timed else 0
        is_back = not part.many and (step.depth - 1, relation.link) in came_by
        plan[h, kernels.BACK] = came_by[step.depth - 1, relation.link] if is_back else -1
    clocks, buckets = index_times([snapshot.tables[name] for name in table])
    many = {step.relation for step in steps if topology.relations[step.relation].many}
    longest = max((_longest_list(snapshot, relation) for relation in many), default=0)
    return Walk(frontiers, steps, plan, clocks, buckets, longest)


def plan_steps(
    schema: GraphSchema, entity_table: str, depth: int
) -> tuple[tuple[FrontierKey, ...], tuple[Step, ...]]:
    """Return all frontiers a walk of `depth` levels can reach, and the hops between them.

    Hops come by depth, then target table, then relation; frontiers in the order they are filled.
    """
    position = {layout.name: i for i, layout in enumerate(schema.tables)}
    frontiers: list[FrontierKey] = [(0, entity_table)]
    number = {(0, entity_table): 0}
    steps: list[Step] = []
    for level in range(depth):
        out = [
            (position[relation.target], i)
            for i, relation in enumerate(schema.relations)
            if (level, relation.source) in number
        ]
        for _, i in sorted(out):
            relation = schema.relations[i]
            below = (level + 1, relation.target)
            if below not in number:
                number[below] = len(frontiers)
                frontiers.append(below)
            steps.append(Step(i, level, number[level, relation.source], number[below]))
    return tuple(frontiers), tuple(steps)


def _hops_to_children(schema: GraphSchema, steps: Sequence[Step]) -> dict[tuple[int, str], int]:
    """Return (depth, link) -> the hop that follows the link from parent to children there."""
    relations = schema.relations
    return {
        (step.depth, relations[step.relation].link): h
        for h, step in enumerate(steps)
        if relations[step.relation].many
    }


def index_times(tables: Sequence[TableStore]) -> tuple[Int64Array, Int32Array]:
    """Cut each table's time span into equal buckets, so that a cutoff is found in a few steps.

    Costs a quarter of a byte per row. Uneven times only make the bisection inside a bucket longer.
    """
    clocks = np.zeros((len(tables), 6), np.int64)
    parts: list[Int32Array] = []
    used = 0
    for i, table in enumerate(tables):
        clocks[i, clock.NUM_TIMED] = table.num_rows
        if table.times is None:
            continue
        if table.times.dtype != np.int64 or not table.times.flags.c_contiguous:
            raise InternalError(f"The times of table {table.name!r} are not contiguous int64.")
        num_timed = int(np.searchsorted(table.times, NULL_TIME))
        clocks[i, clock.NUM_TIMED] = num_timed
        if num_timed == 0:
            continue
        clocks[i, clock.ADDRESS] = table.times.ctypes.data
        first, last = int(table.times[0]), int(table.times[num_timed - 1])
        width = (last - first) // max(1, num_timed // ROWS_PER_BUCKET)
        shift = min(width.bit_length(), 63)
        # Unsigned and wrapping: the span of int64 does not fit into int64.
        starts = np.arange(((last - first) >> shift) + 1, dtype=np.uint64) << np.uint64(shift)
        starts += np.uint64(first % 2**64)
        found = np.searchsorted(table.times[:num_timed], starts.view(np.int64))
        parts.append(np.append(found, num_timed).astype(np.int32))
        clocks[i, clock.FIRST_TIME], clocks[i, clock.SHIFT] = first, shift
        clocks[i, clock.BUCKET_START], clocks[i, clock.NUM_BUCKETS] = used, starts.size
        used += parts[-1].size
    return clocks, np.concatenate([np.empty(0, np.int32), *parts])


def _longest_list(snapshot: Snapshot, relation: int) -> int:
    start = snapshot.topology.relations[relation].offset_start
    num = snapshot.tables[snapshot.schema.relations[relation].source].num_rows
    offsets = snapshot.topology.offsets[start : start + num + 1]
    return int(np.max(np.diff(offsets), initial=0))
