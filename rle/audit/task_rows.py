"""The task tables of an audit: entities found in the graph, times, labels; a sample where large.

Shapes: N rows of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

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
        owner = pa.compute.list_parent_indices(self.labels).to_numpy(zero_copy_only=False)
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


def pick(found: TaskRows, *, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Return positions of at most `max_rows` rows with a known entity and a label, ascending.

    The draw hangs on seed and split alone.
    """
    usable = found.rows >= 0
    if found.labels is not None:
        usable &= found.labels.is_valid().to_numpy(zero_copy_only=False)
    positions = np.flatnonzero(usable)
    if positions.size > max_rows:
        rng = np.random.default_rng([seed, list(Split).index(found.split)])
        positions = np.sort(rng.choice(positions, max_rows, replace=False))
    return positions


def spread(values: Sequence[int] | NDArray[np.int64]) -> str:
    """Return the first and last of some times as text."""
    first, last = (np.datetime64(int(v), "ns").astype("datetime64[s]") for v in
                   (min(values), max(values)))  # fmt: skip
    return f"{first} .. {last}"
