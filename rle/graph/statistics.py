"""Statistics over the visible prefix of every table, computed once per bound."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from rle.ingest.stats import (
    DatasetStats,
    TableStats,
    category_stats,
    evenly,
    median_lag,
    number_stats,
    stamp_stats,
    time_correlation,
    vector_stats,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.graph.schema import TableLayout
    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore
    from rle.ingest.stats import LagStats


def snapshot_stats(snapshot: Snapshot, *, until: int | None) -> DatasetStats:
    """Return statistics over rows with time <= `until`; see `Snapshot.stats`."""
    cache = None
    if snapshot.path is not None:
        cache = snapshot.path / f"stats2-{'all' if until is None else until}.json"
        if cache.is_file():
            return DatasetStats.from_json(cache.read_bytes())
    stats = DatasetStats(
        until=until,
        tables=tuple(
            _table_stats(snapshot.tables[layout.name], layout, until)
            for layout in snapshot.schema.tables
        ),
        lags=tuple(_lags(snapshot, until)),
    )
    if cache is not None:
        temporary = cache.with_suffix(f".{os.getpid()}")
        temporary.write_text(stats.to_json())
        temporary.replace(cache)
    return stats


def visible_rows(store: TableStore, until: int | None) -> int:
    """Return how many rows have a time of at most `until`: rows in time order, so a prefix."""
    if until is None or store.times is None:
        return store.num_rows
    return int(np.searchsorted(store.times, until, side="right"))


def _lags(snapshot: Snapshot, until: int | None) -> Iterator[LagStats]:
    schema = snapshot.schema
    for relation in schema.relations:
        found = schema.extension(relation)
        if found is None:
            continue
        up, _ = found
        before, after = snapshot.tables[up.target].times, snapshot.tables[up.source].times
        if before is None or after is None:
            continue
        rows = evenly(np.arange(visible_rows(snapshot.tables[up.source], until)))
        parents = snapshot.topology.parents(schema.relations.index(up), rows)
        rows, parents = rows[parents >= 0], parents[parents >= 0]
        yield median_lag(relation.name, before[parents], after[rows])


def _table_stats(store: TableStore, layout: TableLayout, until: int | None) -> TableStats:
    n = visible_rows(store, until)
    return TableStats(
        table=store.name,
        num_rows=n,
        numbers=tuple(
            number_stats(column, store.numbers[:n, i]).replace(
                time_correlation=time_correlation(store.numbers[:n, i]) if layout.has_time else 0.0
            )
            for i, column in enumerate(layout.number_columns)
        ),
        categories=tuple(
            category_stats(column, store.codes[:n, i], store.dictionary(column))
            for i, column in enumerate(layout.code_columns)
        ),
        lists=tuple(
            category_stats(
                column,
                store.lists[column][1][: store.lists[column][0][n]],
                store.dictionary(column),
            )
            for column in layout.list_columns
        ),
        vectors=tuple(
            vector_stats(column, store.vectors[column][:n]) for column, _ in layout.vector_columns
        ),
        stamps=tuple(
            stamp_stats(column, store.stamps[:n, i])
            for i, column in enumerate(layout.stamp_columns)
        ),
    )
