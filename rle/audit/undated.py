"""Tables and columns that are as of the end of the data: dumps without a date, and running totals.

Shapes: P sampled rows of a table, n their children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.audit.findings import Finding, FindingKind, Severity
from rle.audit.probes import looks_like_years, year_of
from rle.ingest.nulls import NULL_STAMP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rle.graph.schema import Relation
    from rle.graph.snapshot import Snapshot

    Int64Array = NDArray[np.int64]
    Float64Array = NDArray[np.float64]

MAX_PARENTS = 5_000
MAX_CHILDREN = 1_000
"""Rows with more children are passed over."""
MIN_PARENTS = 100
"""Rows of a table whose total still grows after t, below which nothing is said."""
FOLLOWS = 0.9
"""Correlation with what comes after t, given what came before, from which on a column is a total
over the whole history."""
MIN_LATER_SHARE = 0.01
UNBORN_SHARE = 0.2


def check_undated(snapshot: Snapshot, times: Int64Array, *, seed: int) -> Iterator[Finding]:
    """Yield tables and columns that know more than their rows' time lets them.

    Args:
        snapshot: The graph.
        times: int64, the times of the training rows.
        seed: Of the samples.
    """
    first, middle, last = (int(np.quantile(times, q, method="lower")) for q in (0.0, 0.5, 1.0))
    for layout in snapshot.schema.tables:
        rng = np.random.default_rng([seed, snapshot.tables[layout.name].num_rows])
        if not layout.has_time:
            yield from _later_dates(snapshot, layout.name, first)
            yield from _late_comers(snapshot, layout.name, last, rng)
        if layout.number_columns:
            yield from _totals(snapshot, layout.name, middle, rng)


def _later_dates(snapshot: Snapshot, table: str, first: int) -> Iterator[Finding]:
    """Dates after the first training time in a table that claims to have been known all along."""
    store, layout = snapshot.tables[table], snapshot.schema.table(table)
    step = -(-store.num_rows // 100_000) or 1
    found: list[tuple[str, NDArray[np.bool_]]] = []
    for i, column in enumerate(layout.stamp_columns):
        stamps = store.stamps[::step, i]
        found.append((column, stamps[stamps != NULL_STAMP] > first))
    for i, column in enumerate(layout.number_columns):
        years = store.numbers[::step, i].astype(np.float64)
        if looks_like_years(years):
            found.append((column, years[~np.isnan(years)] > year_of(np.array([first]))[0]))
    for column, is_later in found:
        share = float(is_later.mean()) if is_later.size else 0.0
        if share < MIN_LATER_SHARE:
            continue
        yield Finding(
            kind=FindingKind.UNDATED_SNAPSHOT,
            severity=Severity.MEDIUM,
            table=table,
            column=column,
            message=(
                f"Table {table!r} has no time column, so all of it is visible always, but "
                f"{share:.1%} of {column!r} lie after the first training time: it was written "
                "later. If the date says when a row began, set_time_column; otherwise remove the "
                "columns that were filled in later."
            ),
            evidence={"share": share, "rows": int(is_later.size)},
        )


def _late_comers(
    snapshot: Snapshot, table: str, last: int, rng: np.random.Generator
) -> Iterator[Finding]:
    """Rows of an undated table that nothing refers to until after the last training time."""
    num_rows = snapshot.tables[table].num_rows
    rows = _sample(num_rows, rng)
    has, early = np.zeros(rows.size, np.bool_), np.zeros(rows.size, np.bool_)
    for index, relation in _timed_children(snapshot, table):
        first, end = _bounds(snapshot, index, rows)
        links = snapshot.topology.links[snapshot.topology.relations[index].link_start :]
        cutoff = _cutoff(snapshot, relation.target, last)
        known = end > first
        has |= known
        early[known] |= links[first[known]] < cutoff
    num_seen, num_early = int(has.sum()), int((has & early).sum())
    share = 1.0 - num_early / max(num_seen, 1)
    if num_seen < MIN_PARENTS or share < UNBORN_SHARE:
        return
    yield Finding(
        kind=FindingKind.UNDATED_SNAPSHOT,
        severity=Severity.LOW,
        table=table,
        message=(
            f"Nothing refers to {share:.1%} of the rows of {table!r} until after the last "
            "training time; it has no time column, so they are visible in training already, with "
            "no history. If they began over time, give the table a time column."
        ),
        evidence={"share": share, "rows": num_seen},
    )


def _totals(
    snapshot: Snapshot, table: str, middle: int, rng: np.random.Generator
) -> Iterator[Finding]:
    """Numbers that follow counts or sums over children which come after the prediction."""
    rows = _sample(_cutoff(snapshot, table, middle), rng)
    numbers = snapshot.tables[table].numbers[rows].astype(np.float64)
    best: dict[str, tuple[float, int, str, Relation]] = {}
    for index, relation in _timed_children(snapshot, table):
        for what, before, after in _aggregates(snapshot, index, relation, rows, middle):
            for i, column in enumerate(snapshot.schema.table(table).number_columns):
                strength, num = _follows(numbers[:, i], before, after)
                if strength > max(FOLLOWS, best[column][0] if column in best else 0.0):
                    best[column] = (strength, num, what, relation)
    for column, (strength, num, what, relation) in best.items():
        yield _total(table, column, relation, strength, what, num)


def _aggregates(
    snapshot: Snapshot, index: int, relation: Relation, rows: Int64Array, middle: int
) -> Iterator[tuple[str, Float64Array, Float64Array]]:
    """Yield count and sums over a relation's children, before t and after it, [P]."""
    first, end = _bounds(snapshot, index, rows)
    kept = (end > first) & (end - first <= MAX_CHILDREN)
    counts = np.where(kept, end - first, 0)
    owner = np.repeat(np.arange(rows.size), counts)
    inside = np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)
    links = snapshot.topology.links[snapshot.topology.relations[index].link_start :]
    children = links[np.repeat(first, counts) + inside]
    is_before = children < _cutoff(snapshot, relation.target, middle)
    size = rows.size

    def split(values: Float64Array) -> tuple[Float64Array, Float64Array]:
        parts = (np.where(is_before, values, 0.0), np.where(is_before, 0.0, values))
        before, after = (np.bincount(owner, part, size).astype(np.float64) for part in parts)
        return before, after

    yield "number", *split(np.ones(owner.size))
    block = snapshot.tables[relation.target].numbers[children].astype(np.float64)
    for i, column in enumerate(snapshot.schema.table(relation.target).number_columns):
        yield f"sum of {column}", *split(np.nan_to_num(block[:, i]))


def _follows(values: Float64Array, before: Float64Array, after: Float64Array) -> tuple[float, int]:
    """Return the correlation of values with what comes after, given what came before."""
    use = ~np.isnan(values) & ((before != 0) | (after != 0))
    if int((use & (after != 0)).sum()) < MIN_PARENTS:
        return 0.0, 0
    y, b, a = values[use], before[use], after[use]
    design = np.column_stack([np.ones(y.size), b])
    rest = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (y, a)]
    size = [float(np.sqrt((r**2).sum())) for r in rest]
    scale = [float(np.sqrt(((v - v.mean()) ** 2).sum())) for v in (y, a)]
    if min(size) <= 1e-6 * max(*scale, 1e-12):
        return 0.0, 0
    return float(rest[0] @ rest[1]) / (size[0] * size[1]), int(y.size)


def _total(
    table: str, column: str, relation: Relation, strength: float, what: str, num: int
) -> Finding:
    return Finding(
        kind=FindingKind.UNDATED_SNAPSHOT,
        severity=Severity.HIGH,
        table=table,
        column=column,
        message=(
            f"{column!r} follows the {what} of {relation.target} rows ({relation.link}) that come "
            f"after the middle of training (correlation {strength:.3f} given what came before, "
            f"{num:,} rows): it is a total over the whole history, as of the end of the data. "
            f"remove_column({column!r}); the model counts what is visible by itself."
        ),
        evidence={
            "correlation": strength,
            "of": what,
            "children": relation.target,
            "rows": num,
        },
    )


def _timed_children(snapshot: Snapshot, table: str) -> Iterator[tuple[int, Relation]]:
    for index, relation in enumerate(snapshot.schema.relations):
        is_child = relation.source == table and relation.many
        if is_child and snapshot.tables[relation.target].times is not None:
            yield index, relation


def _bounds(snapshot: Snapshot, index: int, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
    at = snapshot.topology.relations[index].offset_start + rows
    offsets = snapshot.topology.offsets
    return offsets[at].astype(np.int64), offsets[at + 1].astype(np.int64)


def _cutoff(snapshot: Snapshot, table: str, moment: int) -> int:
    """Return how many rows of a table are there at a moment."""
    store = snapshot.tables[table]
    if store.times is None:
        return store.num_rows
    return int(np.searchsorted(store.times, moment, side="right"))


def _sample(num_rows: int, rng: np.random.Generator) -> Int64Array:
    """Return at most MAX_PARENTS of the first `num_rows` rows, ascending."""
    if num_rows <= MAX_PARENTS:
        return np.arange(num_rows)
    return np.unique(rng.integers(num_rows, size=MAX_PARENTS))
