"""Entities that are not in the graph, or begin after the prediction that is made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.audit.findings import Finding, FindingKind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from rle.audit.places import Children
    from rle.audit.task_rows import TaskRows
    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec
    from rle.values import Split

GRAVE_SHARE = 0.01


def check_entities(
    spec: DatasetSpec, snapshot: Snapshot, splits: Mapping[Split, TaskRows]
) -> Iterator[Finding]:
    """Yield what is wrong with the entities of each split, targets of link tasks included."""
    for found in splits.values():
        yield from _check(spec, snapshot, found, 0, found.rows, found.times)
        if not spec.task.task_type.is_link or found.labels is None:
            continue
        table, key, _, _ = spec.entities[1]
        owner, targets = found.targets()
        valid = targets.is_valid().to_numpy(zero_copy_only=False)
        rows = snapshot.tables[table].rows_of(key, targets.filter(targets.is_valid()))
        yield from _check(spec, snapshot, found, 1, rows, found.times[owner[valid]])


@dataclass(slots=True)
class FirstSeen:
    """Takes children one by one; counts seeds that no visible row refers to."""

    _has_history: NDArray[np.bool_] | None = None

    def add(self, found: Children) -> None:
        """Look at one relation; only those that lead from the entity's own row count."""
        if not found.is_own:
            return
        has_rows = found.count > 0
        known = self._has_history
        self._has_history = has_rows if known is None else known | has_rows

    def notes(self) -> Iterator[str]:
        """Say how many seeds have no history. That is no fault: flights have none."""
        if self._has_history is not None:
            share = 1.0 - float(self._has_history.mean())
            yield f"{share:.1%} of the sampled task rows have no earlier row in any child table."


def _check(
    spec: DatasetSpec,
    snapshot: Snapshot,
    found: TaskRows,
    entity: int,
    rows: NDArray[np.int32],
    times: NDArray[np.int64],
) -> Iterator[Finding]:
    table, _, column, _ = spec.entities[entity]
    what = "target" if entity else "entity"
    num_unknown = int((rows < 0).sum())
    if num_unknown:
        share = num_unknown / rows.size
        yield Finding(
            kind=FindingKind.UNKNOWN_ENTITY,
            severity=Severity.MEDIUM if share >= GRAVE_SHARE else Severity.LOW,
            table=found.source,
            column=column,
            message=(
                f"{num_unknown:,} of {rows.size:,} {what} keys of the {found.split.value} split "
                f"({share:.1%}) are not in table {table!r}; nothing can be predicted for them. If "
                f"{table!r} is a dump of a later day, those that have left since are missing."
            ),
            evidence={"rows": num_unknown, "share": share},
        )
    born = snapshot.tables[table].times
    if born is None or spec.task.time_column is None:
        return
    known = rows >= 0
    unborn = born[rows[known]] > times[known]
    if unborn.any():
        tell = _unborn_target if entity else _unborn_entity
        yield tell(spec, found, int(unborn.sum()), rows.size)


def _unborn_entity(spec: DatasetSpec, found: TaskRows, num_unborn: int, num_rows: int) -> Finding:
    table, _, column, _ = spec.entities[0]
    share = num_unborn / num_rows
    return Finding(
        kind=FindingKind.ENTITY_NOT_ALIVE,
        severity=Severity.HIGH if share >= GRAVE_SHARE else Severity.MEDIUM,
        table=table,
        column=spec.table(table).time_column,
        message=(
            f"For {num_unborn:,} of {num_rows:,} entity keys ({column!r}) of the "
            f"{found.split.value} split ({share:.1%}) the row of {table!r} begins after the "
            "prediction: nobody could have asked for it then, and being asked for says that it "
            "will come. Leave such rows out of the task."
        ),
        evidence={"rows": num_unborn, "share": share, "split": found.split.value},
    )


def _unborn_target(spec: DatasetSpec, found: TaskRows, num_unborn: int, num_rows: int) -> Finding:
    """A target that is launched before it is met is no leak: it is not there to be ranked."""
    table, _, column, _ = spec.entities[1]
    share = num_unborn / num_rows
    return Finding(
        kind=FindingKind.TARGET_NOT_ALIVE,
        severity=Severity.LOW,
        table=table,
        column=spec.table(table).time_column,
        message=(
            f"For {num_unborn:,} of {num_rows:,} target keys ({column!r}) of the "
            f"{found.split.value} split ({share:.1%}) the row of {table!r} begins after the "
            "prediction. Such targets are not ranked, so these links can be neither learnt nor "
            "found, and no ranking can reach a metric of 1."
        ),
        evidence={"rows": num_unborn, "share": share, "split": found.split.value},
    )
