"""Checks of the task tables alone: order of the splits, gaps, the same row twice.

Shapes: N rows of all splits together.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from rle.audit.findings import Finding, FindingKind, Severity
from rle.spec.infer import is_list
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from rle.audit.task_rows import TaskRows
    from rle.spec.dataset import DatasetSpec

MIN_CONTRADICTING_SHARE = 0.001
"""Share of a split's rows with two labels from which on the labels as such are in doubt."""
GAP_TOLERANCE = 0.9
"""A gap that is a tenth shorter than the spacing is still one spacing: months and years differ."""
REGULAR_ROWS = 10
"""Rows per distinct time from which on a split counts as taken at regular moments."""


def check_splits(spec: DatasetSpec, splits: Mapping[Split, TaskRows]) -> Iterator[Finding]:
    """Yield what is wrong with the task tables."""
    if spec.task.time_column is not None:
        for earlier, later in itertools.pairwise(splits.values()):
            yield from _check_order(spec, earlier, later)
        yield from _check_gaps(spec, splits)
    yield from _check_overlap(spec, splits)
    for rows in splits.values():
        yield from _check_twice(spec, rows)


def _check_order(spec: DatasetSpec, earlier: TaskRows, later: TaskRows) -> Iterator[Finding]:
    begin, end = int(later.times.min()), int(earlier.times.max())
    if begin > end:
        return
    share = float((later.times <= end).mean())
    yield Finding(
        kind=FindingKind.SPLIT_ORDER,
        severity=Severity.HIGH,
        table=later.source,
        column=spec.task.time_column,
        message=(
            f"The {later.split.value} split begins at {_date(begin)}, but the "
            f"{earlier.split.value} split ends at {_date(end)}: {share:.1%} of the "
            f"{later.split.value} rows are not after all {earlier.split.value} rows. What is "
            "learnt from labels of later times is measured on earlier ones. Split by time."
        ),
        evidence={
            "begins": _date(begin),
            "earlier_ends": _date(end),
            "share_not_after": share,
        },
    )


def _check_gaps(spec: DatasetSpec, splits: Mapping[Split, TaskRows]) -> Iterator[Finding]:
    """Labels of regular moments usually span the time to the next one: so must the gaps."""
    if Split.TRAIN not in splits:
        return
    times = np.unique(splits[Split.TRAIN].times)
    if times.size < 3 or splits[Split.TRAIN].times.size < REGULAR_ROWS * times.size:
        return
    spacing = int(np.median(np.diff(times)))
    for earlier, later in itertools.pairwise(splits.values()):
        gap = int(later.times.min()) - int(earlier.times.max())
        if 0 < gap < GAP_TOLERANCE * spacing:
            yield Finding(
                kind=FindingKind.SPLIT_GAP,
                severity=Severity.MEDIUM,
                table=later.source,
                column=spec.task.time_column,
                message=(
                    f"Only {_days(gap)} lie between the last {earlier.split.value} time and the "
                    f"first {later.split.value} time, but {_days(spacing)} between the times "
                    f"within training. If a label looks {_days(spacing)} ahead, the last "
                    f"{earlier.split.value} labels reach into the {later.split.value} split. "
                    "Leave out the times in between."
                ),
                evidence={"gap_days": gap / 86_400e9, "spacing_days": spacing / 86_400e9},
            )


def _check_overlap(spec: DatasetSpec, splits: Mapping[Split, TaskRows]) -> Iterator[Finding]:
    for earlier, later in itertools.combinations(splits.values(), 2):
        both = _shared(earlier, later)
        if both == 0:
            continue
        share = both / len(later.keys)
        what = "entity" if spec.task.time_column is None else "entity and time"
        yield Finding(
            kind=FindingKind.SPLIT_OVERLAP,
            severity=Severity.HIGH,
            table=later.source,
            column=spec.entities[0][2],
            message=(
                f"{both:,} rows of the {later.split.value} split ({share:.1%}) have an {what} "
                f"that the {earlier.split.value} split has too, so they are measured on what was "
                f"learnt by heart. Put each {what} into one split."
            ),
            evidence={"rows": both, "share": share, "other": earlier.source},
        )


def _shared(earlier: TaskRows, later: TaskRows) -> int:
    """How many rows of `later` have an entity and time of `earlier`; unknown entities are none."""
    known = later.rows >= 0
    seen = np.unique(_pairs(earlier)[earlier.rows >= 0])
    return int(np.isin(_pairs(later)[known], seen).sum())


def _pairs(found: TaskRows) -> NDArray[np.void]:
    out = np.empty(len(found.keys), np.dtype([("time", np.int64), ("row", np.int32)]))
    out["time"], out["row"] = found.times, found.rows
    return out


def _check_twice(spec: DatasetSpec, found: TaskRows) -> Iterator[Finding]:
    """The same entity at the same time, with the same or another label."""
    pairs = _pairs(found)
    order = np.argsort(pairs, kind="stable")
    order = order[found.rows[order] >= 0]
    same = pairs[order][1:] == pairs[order][:-1]
    if not same.any():
        return
    at = np.flatnonzero(same)
    contradicting = duplicate = at.size
    if found.labels is not None:
        first, second = found.labels.take(order[at]), found.labels.take(order[at + 1])
        equal = np.array([a == b for a, b in zip(first.to_pylist(), second.to_pylist(),
                                                 strict=True)])  # fmt: skip
        duplicate = int(equal.sum())
        contradicting = at.size - duplicate
    if spec.task.task_type.is_link and not (found.labels is None or is_list(found.labels.type)):
        contradicting = 0  # one target per row: several rows of one source are one list
    if contradicting and found.labels is not None:
        yield _contradiction(spec, found, contradicting)
    if duplicate:
        yield Finding(
            kind=FindingKind.DUPLICATE_ROWS,
            severity=Severity.LOW,
            table=found.source,
            column=spec.entities[0][2],
            message=(
                f"{duplicate:,} of {len(found.keys):,} {found.split.value} rows repeat another "
                "row's entity, time and label; they count twice."
            ),
            evidence={"rows": duplicate},
        )


def _contradiction(spec: DatasetSpec, found: TaskRows, num_rows: int) -> Finding:
    share = num_rows / len(found.keys)
    is_grave = share >= MIN_CONTRADICTING_SHARE
    return Finding(
        kind=FindingKind.CONTRADICTING_LABELS,
        severity=Severity.HIGH if is_grave else Severity.MEDIUM,
        table=found.source,
        column=spec.entities[0][2],
        message=(
            f"{num_rows:,} of {len(found.keys):,} {found.split.value} rows ({share:.2%}) have the "
            "entity and time of another row but another label. At most one can be right; the "
            "query that makes the task joins too many rows, or lacks a column of the time."
        ),
        evidence={"rows": num_rows, "share": share},
    )


def _date(moment: int) -> str:
    return str(np.datetime64(moment, "ns").astype("datetime64[s]"))


def _days(span: int) -> str:
    return f"{span / 86_400e9:.3g} days"
