"""The task tables of an audit: entities found in the graph, times, labels; a sample where large.

Shapes: N rows of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.errors import DataError
from rle.graph.task_table import END_OF_TIME
from rle.ingest.convert import to_moments
from rle.spec.infer import is_list
from rle.spec.task import NodeTaskSpec
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

MAX_SHARED = 0.02
"""Share of later rows whose entity came before, up to which entities are taken to be new."""
MAX_TASK_ROWS = 2_000_000
"""Rows of a task table that are read; a larger one is sampled evenly."""


@dataclass(frozen=True, slots=True)
class TaskRows:
    """One split of a node or link task, in the order of its table."""

    split: Split
    source: str
    """Name of the task table."""
    num_rows: int
    """Rows of the table, of which at most MAX_TASK_ROWS were read."""
    keys: pa.Array
    """[N], the (source) entity's key."""
    rows: NDArray[np.int32]
    """int32 [N], row in the entity table, -1 where it is unknown."""
    times: NDArray[np.int64]
    """int64 [N], nanoseconds; END_OF_TIME for a task without time."""
    labels: pa.Array | None
    """[N], labels or targets as they are in the table; None in a table without."""

    @property
    def is_sample(self) -> bool:
        """Whether the table has more rows than were read."""
        return self.num_rows > len(self.keys)

    def targets(self) -> tuple[NDArray[np.int64], pa.Array]:
        """Return single labels and the row each belongs to; lists are taken apart."""
        assert self.labels is not None
        if not is_list(self.labels.type):
            return np.arange(len(self.labels)), self.labels
        owner = pc.list_parent_indices(self.labels).to_numpy(zero_copy_only=False)
        return owner.astype(np.int64), self.labels.flatten()


def read_task(spec: DatasetSpec, snapshot: Snapshot) -> dict[Split, TaskRows]:
    """Read every split of the task.

    Raises:
        DataError: A split is empty, or a time is NULL or out of range.
        UnknownNameError: A table or a column is not there.
    """
    given = [split for split in Split if split in spec.task.sources]
    return {split: _read_split(spec, snapshot, split) for split in given}


def _read_split(spec: DatasetSpec, snapshot: Snapshot, split: Split) -> TaskRows:
    task, source = spec.task, spec.task.sources[split]
    table_name, key, column, _ = spec.entities[0]
    label = label_column(spec)
    known = spec.connector.arrow_schema(source).names
    has_label = label in known or split is not Split.TEST
    wanted = [column, *([task.time_column] if task.time_column else [])]
    wanted += [label] if has_label else []
    num_rows = spec.connector.num_rows(source)
    if num_rows == 0:
        raise DataError(f"The {split.value} table of task {task.name!r} ({source}) is empty.")
    found = spec.connector.sample(source, columns=wanted, max_rows=MAX_TASK_ROWS)
    keys = found.column(column).combine_chunks()
    labels = found.column(label).combine_chunks() if has_label else None
    if labels is not None and labels.null_count == len(labels):
        labels = None
    return TaskRows(
        split=split,
        source=source,
        num_rows=num_rows,
        keys=keys,
        rows=snapshot.tables[table_name].rows_of(key, keys),
        times=_times(found, task.time_column, where=source),
        labels=labels,
    )


def label_column(spec: DatasetSpec) -> str:
    """Return the column of the task tables that holds the label or the targets."""
    task = spec.task
    return task.target_column if isinstance(task, NodeTaskSpec) else task.target_entity_column


def _times(found: pa.Table, column: str | None, *, where: str) -> NDArray[np.int64]:
    if column is None:
        return np.full(found.num_rows, END_OF_TIME, np.int64)
    place = f"{where}.{column}"
    moments = to_moments(found.column(column).combine_chunks(), where=place)
    bad = moments.is_null | moments.is_outside
    if bad.any():
        raise DataError(
            f"Time column {place!r} is NULL or not between 1677-09-21 and 2262-04-11 in "
            f"{int(bad.sum())} rows, so what they may see is not defined. Leave such rows out."
        )
    return moments.ns


def usable_rows(parts: Sequence[TaskRows]) -> list[NDArray[np.bool_]]:
    """Say which rows of each part have a known entity and a label, and share no entity.

    Where the same entities come again in a later part, half of the entities are kept in the first
    part and the other half in the others. Otherwise a column that merely names the entity, such as
    a customer's name, would say whatever stays the same about him.
    """
    usable = [_has_entity_and_label(found) for found in parts]
    if len(parts) < 2:
        return usable
    seen = np.unique(parts[0].rows[usable[0]])
    again = float(np.isin(parts[1].rows[usable[1]], seen).mean()) if usable[1].any() else 0.0
    if again < MAX_SHARED:
        return usable
    halves = [_is_odd(found.rows) for found in parts]
    return [~halves[0] & usable[0], *(h & u for h, u in zip(halves[1:], usable[1:], strict=True))]


def _has_entity_and_label(found: TaskRows) -> NDArray[np.bool_]:
    usable = found.rows >= 0
    if found.labels is not None:
        usable &= found.labels.is_valid().to_numpy(zero_copy_only=False)
    return usable


def _is_odd(rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Split entities into two halves by a hash, so that neighbouring rows part."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    odd: NDArray[np.bool_] = (mixed >> np.uint64(63)) == 1
    return odd


def pick(
    found: TaskRows, usable: NDArray[np.bool_], *, max_rows: int, seed: int
) -> NDArray[np.int64]:
    """Return positions of at most `max_rows` usable rows, ascending.

    The draw hangs on seed and split alone.
    """
    positions = np.flatnonzero(usable)
    if positions.size > max_rows:
        rng = np.random.default_rng([seed, list(Split).index(found.split)])
        positions = np.sort(rng.choice(positions, max_rows, replace=False))
    return positions
