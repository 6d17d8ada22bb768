"""Small random graphs of any shape, as plain lists and as the snapshot the sampler walks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from rle.graph.report import BuildReport
from rle.graph.schema import (
    GraphSchema,
    Relation,
    TableLayout,
    relations_of_edge_table,
    relations_of_link,
)
from rle.graph.snapshot import Snapshot
from rle.graph.store import NULL_STAMP, NULL_TIME, TableStore
from rle.graph.topology import Topology


@dataclass(frozen=True)
class Source:
    """One table as it might arrive: rows in any order, keys and times that may be NULL (None)."""

    name: str
    num_rows: int
    times: list[int | None] | None
    parents: dict[str, str]
    """Foreign key column to the table it refers to; an edge table has two."""
    keys: dict[str, list[int | None]]
    """Per foreign key the position of the parent in its own source, or None."""
    is_edge: bool = False


@dataclass(frozen=True)
class Graph:
    """Tables in row order, with nothing derived: what the reference sampler looks at."""

    sources: dict[str, Source]
    schema: GraphSchema
    snapshot: Snapshot

    def neighbours(self, relation: Relation, row: int) -> list[int]:
        """All target rows of a row, ascending, whatever their time."""
        table, _, column = relation.link.partition(".")
        source = self.sources[table]
        if source.is_edge:
            other = next(c for c in source.keys if c != column)
            pairs = zip(source.keys[column], source.keys[other], strict=True)
            return sorted(b for a, b in pairs if a == row and b is not None)
        if relation.many:
            return [r for r, key in enumerate(source.keys[column]) if key == row]
        key = source.keys[column][row]
        return [] if key is None else [key]

    def is_visible(self, table: str, row: int, time: int, *, inclusive: bool) -> bool:
        """Whether a seed at `time` may see a row."""
        times = self.sources[table].times
        if times is None:
            return True
        at = times[row]
        return at is not None and (at <= time if inclusive else at < time)


def build_graph(sources: list[Source]) -> Graph:
    """Number rows by (time, position in the source), as a snapshot does, and link them."""
    orders = {s.name: _row_order(s) for s in sources}
    row_of = {
        name: {position: row for row, position in enumerate(order)}
        for name, order in orders.items()
    }
    placed = {s.name: _place(s, orders[s.name], row_of) for s in sources}
    nodes = [s for s in sources if not s.is_edge]
    relations: list[Relation] = []
    for s in sources:
        if s.is_edge:
            first, second = s.parents
            relations += relations_of_edge_table(
                s.name, columns=(first, second), parents=(s.parents[first], s.parents[second])
            )
            continue
        for column, parent in s.parents.items():
            relations += relations_of_link(f"{s.name}.{column}", child=s.name, parent=parent)
    schema = GraphSchema(
        tables=tuple(
            TableLayout(name=s.name, has_time=s.times is not None, number_columns=("n",))
            for s in nodes
        ),
        relations=tuple(relations),
    )
    parents = {
        s.name: np.array(
            [[-1 if k is None else k for k in column] for column in placed[s.name].keys.values()],
            np.int32,
        ).T.copy()
        for s in sources
        if s.parents
    }
    num_rows = {s.name: s.num_rows for s in nodes}
    topology = Topology.of(schema, num_rows, parents)
    tables = {s.name: make_store(placed[s.name]) for s in nodes}
    report = BuildReport(tables=())
    return Graph(placed, schema, Snapshot(None, "test", schema, report, tables, topology))


def _row_order(source: Source) -> list[int]:
    times = source.times or [0] * source.num_rows
    return sorted(range(source.num_rows), key=lambda i: (times[i] is None, times[i] or 0, i))


def _place(source: Source, order: list[int], row_of: dict[str, dict[int, int]]) -> Source:
    keys = {
        column: [
            None if (key := values[i]) is None else row_of[source.parents[column]][key]
            for i in order
        ]
        for column, values in source.keys.items()
    }
    times = None if source.times is None else [source.times[i] for i in order]
    return Source(source.name, source.num_rows, times, source.parents, keys, source.is_edge)


def make_store(source: Source, seed: int = 0) -> TableStore:
    """A store with every kind of block, filled at random."""
    rng = np.random.default_rng(seed)
    n = source.num_rows
    numbers = rng.normal(size=(n, 2)).astype(np.float32)
    numbers[rng.uniform(size=(n, 2)) < 0.2] = np.nan
    lengths = rng.integers(0, 4, n)
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    times = source.times
    return TableStore(
        name=source.name,
        num_rows=n,
        times=None
        if times is None
        else np.array([NULL_TIME if t is None else t for t in times], np.int64),
        numbers=numbers,
        codes=rng.integers(-1, 5, (n, 3)).astype(np.int32),
        stamps=np.where(rng.uniform(size=(n, 1)) < 0.2, NULL_STAMP, rng.integers(0, 99, (n, 1))),
        vectors={"v": rng.normal(size=(n, 4)).astype(np.float16)},
        lists={"l": (offsets, rng.integers(0, 9, int(offsets[-1])).astype(np.int32))},
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any schema of up to four tables: cycles, self references, several keys to one table."""
    num_tables = draw(st.integers(1, 4))
    names = [f"t{i}" for i in range(num_tables)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = {name: draw(st.integers(1 if name == "t0" else 0, 60)) for name in names}
    sources = []
    for name in names:
        parents = {
            f"f{j}": p for j, p in enumerate(draw(st.lists(st.sampled_from(names), max_size=3)))
        }
        times = _random_times(rng, sizes[name]) if draw(st.booleans()) else None
        sources.append(
            Source(
                name, sizes[name], times, parents, _random_keys(rng, sizes, sizes[name], parents)
            )
        )
    if draw(st.booleans()):
        parents = {"a": draw(st.sampled_from(names)), "b": draw(st.sampled_from(names))}
        num = draw(st.integers(0, 80))
        sources.append(
            Source("e", num, None, parents, _random_keys(rng, sizes, num, parents), True)
        )
    return build_graph(sources)


def _random_times(rng: np.random.Generator, num: int) -> list[int | None]:
    # A narrow range makes ties, between rows and with the seeds.
    return [None if rng.uniform() < 0.1 else int(t) for t in rng.integers(-5, 15, num)]


def _random_keys(
    rng: np.random.Generator, sizes: dict[str, int], num: int, parents: dict[str, str]
) -> dict[str, list[int | None]]:
    out: dict[str, list[int | None]] = {}
    for column, parent in parents.items():
        # Skewed, so that some lists are longer than every fanout.
        drawn = (sizes[parent] * rng.uniform(size=num) ** 3).astype(int)
        is_null = (rng.uniform(size=num) < 0.1) | (sizes[parent] == 0)
        out[column] = [None if n else int(k) for k, n in zip(drawn, is_null, strict=True)]
    return out


def star(num_children: int, *, num_parents: int = 1) -> Graph:
    """`num_parents` customers, each with `num_children` orders at times 0, 1, 2, ..."""
    num = num_children * num_parents
    orders = Source(
        "orders",
        num,
        [i // num_parents for i in range(num)],
        {"customer": "customers"},
        {"customer": [i % num_parents for i in range(num)]},
    )
    return build_graph([Source("customers", num_parents, None, {}, {}), orders])
