"""Slow, obvious versions of what link prediction reads: they look at every row's own time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.schema import GraphSchema, Relation
    from tests.sampling.graphs import Graph

NS_PER_DAY = 86_400e9


@dataclass(frozen=True)
class Event:
    """One walk down a path and up again."""

    target: int
    event: int
    """Row at the bottom, -1 where the walk only goes up."""
    time: int | None
    rank: tuple[int, ...]
    """Events in this order are oldest first."""


def is_edge(graph: Graph, relation: Relation) -> bool:
    return graph.sources[relation.link.partition(".")[0]].is_edge


def slow_paths(
    schema: GraphSchema, source: str, target: str, max_hops: int
) -> set[tuple[int, ...]]:
    """All sequences of relations, filtered by what a history path must be."""
    names = {layout.name for layout in schema.tables}
    out: set[tuple[int, ...]] = set()
    level: list[tuple[int, ...]] = [(i,) for i, r in enumerate(schema.relations)]
    for _ in range(max_hops):
        out |= {p for p in level if _is_history_path(schema, p, source, target, names)}
        level = [
            (*path, i)
            for path in level
            for i, r in enumerate(schema.relations)
            if i not in path and r.source == schema.relations[path[-1]].target
        ]
    return out


def _is_history_path(
    schema: GraphSchema, path: tuple[int, ...], source: str, target: str, names: set[str]
) -> bool:
    steps = [schema.relations[i] for i in path]
    tables = [source, *(s.target for s in steps)]
    # An edge is a step down and a step up at once.
    kinds = [
        "du" if s.many and s.link.partition(".")[0] not in names else "d" if s.many else "u"
        for s in steps
    ]
    return (
        steps[0].source == source
        and tables[-1] == target
        and len(set(tables[:-1])) == len(tables) - 1
        and target not in tables[1:-1]
        and "ud" not in "".join(kinds)
        and all(a.link != b.link for a, b in itertools.pairwise(steps))
    )


def slow_events(
    graph: Graph,
    path: Sequence[int],
    row: int,
    time: int,
    *,
    inclusive: bool,
    limit: int = 10**9,
    time_window: int | None = None,
) -> list[Event]:
    """Every visible event of a source along one path, oldest first."""
    relations = [graph.schema.relations[i] for i in path]
    found = [Event(row, -1, None, ())]
    for relation in relations:
        times = graph.sources[relation.target].times
        below = []
        for event in found:
            for position, child in enumerate(graph.neighbours(relation, event.target)):
                if not graph.is_visible(relation.target, child, time, inclusive=inclusive):
                    continue
                if not relation.many:
                    below.append(Event(child, event.event, event.time, event.rank))
                elif times is None or is_edge(graph, relation):
                    below.append(Event(child, child, event.time, (*event.rank, position)))
                elif time_window is None or not graph.is_visible(
                    relation.target, child, time - time_window, inclusive=inclusive
                ):
                    below.append(Event(child, child, times[child], (child,)))
        found = sorted(below, key=lambda e: e.rank) if relation.many else below
        found = found[-limit:] if relation.many else found
    return found


def slow_history(
    graph: Graph,
    paths: Sequence[Sequence[int]],
    row: int,
    time: int,
    *,
    inclusive: bool,
    windows: Sequence[int] = (),
    limit: int = 10**9,
    time_window: int | None = None,
) -> dict[int, list[tuple[int, list[int], list[float | None], int]]]:
    """Target -> per path (count, recent, [newest, previous, oldest], event)."""
    by_path = [
        slow_events(
            graph, path, row, time, inclusive=inclusive, limit=limit, time_window=time_window
        )
        for path in paths
    ]
    out = {}
    for target in sorted({event.target for events in by_path for event in events}):
        facts = []
        for events in by_path:
            mine = [event for event in events if event.target == target]
            ages = [None if e.time is None else (time - e.time) / NS_PER_DAY for e in mine]
            recent = [
                sum(
                    e.time is not None
                    and (e.time > time - window if inclusive else e.time >= time - window)
                    for e in mine
                )
                for window in windows
            ]
            ends = [
                ages[-1] if ages else None,
                ages[-2] if len(ages) > 1 else None,
                ages[0] if ages else None,
            ]
            facts.append((len(mine), recent, ends, mine[-1].event if mine else -1))
        out[target] = facts
    return out


def as_age(value: float | None) -> float:
    return float("nan") if value is None else float(np.float32(value))
