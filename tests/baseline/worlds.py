"""Random graphs whose tables have numbers, categories, dates and lists, and what is left of them
when everything after a moment is taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from tests.sampling.graphs import Graph, Source, build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from rle.graph.store import TableStore

VALUES = pa.array(["a", "b", "c", "d", "e"])
WORDS = pa.array([str(i) for i in range(9)])


def furnished(graph: Graph, stores: Mapping[str, TableStore] | None = None) -> Graph:
    """The graph with columns for the values its stores hold; `stores` in place of its own."""
    tables = tuple(
        layout.replace(
            number_columns=("n", "m"),
            code_columns=("c",),
            stamp_columns=("d",),
            list_columns=("l",),
        )
        for layout in graph.schema.tables
    )
    schema = graph.schema.replace(tables=tables)
    words = {"c": lambda: VALUES, "l": lambda: WORDS}
    kept = {
        name: replace(store, dictionaries=words, vectors={})
        for name, store in (stores or graph.snapshot.tables).items()
    }
    snapshot = replace(graph.snapshot, schema=schema, tables=kept)
    return replace(graph, schema=schema, snapshot=snapshot)


def until(graph: Graph, time: int, *, inclusive: bool, entity_table: str) -> Graph:
    """The same world as it was at `time`; the entity's table stays whole."""

    def num_kept(source: Source) -> int:
        if source.times is None or source.name == entity_table:
            return source.num_rows
        return sum(
            1 for t in source.times if t is not None and (t <= time if inclusive else t < time)
        )

    kept = {name: num_kept(source) for name, source in graph.sources.items()}
    smaller = build_graph([_cut(source, kept) for source in graph.sources.values()])
    stores = {
        name: _head(graph.snapshot.tables[name], kept[name]) for name in graph.snapshot.tables
    }
    return furnished(smaller, stores)


def _cut(source: Source, kept: Mapping[str, int]) -> Source:
    """The first rows: rows are in time order, so those that are known are."""
    num = kept[source.name]
    keys = {
        column: [
            k if k is not None and k < kept[source.parents[column]] else None for k in values[:num]
        ]
        for column, values in source.keys.items()
    }
    times = None if source.times is None else source.times[:num]
    return replace(source, num_rows=num, times=times, keys=keys)


def _head(store: TableStore, num: int) -> TableStore:
    offsets, codes = store.lists["l"]
    return replace(
        store,
        num_rows=num,
        times=None if store.times is None else store.times[:num],
        numbers=store.numbers[:num],
        codes=store.codes[:num],
        stamps=store.stamps[:num],
        lists={"l": (offsets[: num + 1], codes[: int(offsets[num])])},
    )


def one_value(features: np.ndarray, names: tuple[str, ...], name: str, row: int = 0) -> float:
    """One feature of one seed by its name."""
    return float(features[row, names.index(name)])
