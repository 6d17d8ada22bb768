"""The rows of a split, found in the graph: which entity, as of when, with which label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.errors import DataError, UnknownNameError, ValidationError
from rle.ingest.convert import to_moments
from rle.ingest.nulls import NULL_TIME
from rle.values import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.connectors.base import Connector
    from rle.graph.snapshot import Snapshot
    from rle.ingest.labels import LabelCodec
    from rle.spec.dataset import DatasetSpec
    from rle.spec.task import NodeTaskSpec

END_OF_TIME = NULL_TIME - 1
"""Time of a prediction without a time: after every row, but before rows whose time is NULL."""


@dataclass(frozen=True, slots=True)
class SplitRows:
    """One split of a node task, in the order of its table. N rows."""

    split: Split
    rows: NDArray[np.int32]
    """int32 [N], row in the entity table; -1 where the entity is unknown or NULL."""
    times: NDArray[np.int64]
    """int64 [N], nanoseconds since 1970 UTC; END_OF_TIME where the task has no time column."""
    labels: NDArray[np.float32] | NDArray[np.int64] | None
    """As `LabelCodec.encode` returns them; None where they were not asked for or are not there."""
    keys: pa.Array
    """[N], the entity column as it is in the table."""
    task_times: pa.Array | None
    """[N], the time column as it is in the table."""
    num_unknown: int
    """Rows whose entity is not in the graph. Nothing can be predicted for them."""
    example_unknown: str | None = None
    """The key of one of them."""


def read_labels(connector: Connector, task: NodeTaskSpec, split: Split) -> pa.ChunkedArray:
    """Return the label column of a split, to fit a LabelCodec on.

    Raises:
        UnknownNameError: The split has no table, or the table has no such column.
        DataError: The table is empty.
    """
    return _read(connector, task, split, [task.target_column]).column(0)


def check_test_labels(connector: Connector, task: NodeTaskSpec, codec: LabelCodec) -> None:
    """Raise DataError where test labels are there but cannot be measured; needs no graph."""
    if _has_labels(connector, task, Split.TEST):
        _labels(read_labels(connector, task, Split.TEST), codec, task, Split.TEST)


def check_times(connector: Connector, task: NodeTaskSpec, split: Split) -> tuple[int, int] | None:
    """Return the first and last time of a split, nanoseconds; None without a time. Needs no graph.

    Raises:
        DataError: A time is NULL or out of range.
    """
    if task.time_column is None:
        return None
    column = _read(connector, task, split, [task.time_column]).column(0)
    times = _times(column.combine_chunks(), where=_time_of(task, split))
    return int(times.min()), int(times.max())


def read_split(
    connector: Connector,
    spec: DatasetSpec,
    split: Split,
    snapshot: Snapshot,
    codec: LabelCodec | None,
) -> SplitRows:
    """Read a task table and find its entities in the graph.

    Args:
        connector: Where the task tables are.
        spec: The dataset; its task must be a node task.
        split: Which of the task's tables.
        snapshot: The graph of the dataset.
        codec: Encodes the labels; None leaves them out. A test table without the label column, or
            with NULLs only in it, has no labels either way.

    Raises:
        UnknownNameError: The split has no table, or the table lacks a column.
        DataError: The table is empty, a time is NULL or out of range, a label is bad, or keys and
            entity are of different kinds.
    """
    table_name, key, column, _ = spec.entities[0]
    task = spec.task
    if task.task_type.is_link:
        raise ValidationError(f"Task {task.name!r} is a link task; read_split reads node tasks.")
    node_task: NodeTaskSpec = task  # type: ignore[assignment]
    wanted = [column, *([task.time_column] if task.time_column else [])]
    has_labels = codec is not None and _has_labels(connector, node_task, split)
    if has_labels:
        wanted.append(node_task.target_column)
    table = _read(connector, node_task, split, wanted)
    keys = table.column(column).combine_chunks()
    rows = snapshot.tables[table_name].rows_of(key, keys)
    unknown = np.flatnonzero(rows < 0)
    times, task_times = np.full(table.num_rows, END_OF_TIME, np.int64), None
    if task.time_column is not None:
        task_times = table.column(task.time_column).combine_chunks()
        times = _times(task_times, where=_time_of(node_task, split))
    labels = None
    if has_labels and codec is not None:
        labels = _labels(table.column(node_task.target_column), codec, node_task, split)
    return SplitRows(
        split=split,
        rows=rows,
        times=times,
        labels=labels,
        keys=keys,
        task_times=task_times,
        num_unknown=int(unknown.size),
        example_unknown=str(keys[int(unknown[0])].as_py()) if unknown.size else None,
    )


def _read(connector: Connector, task: NodeTaskSpec, split: Split, columns: list[str]) -> pa.Table:
    source = _source(task, split)
    known = connector.arrow_schema(source)
    for column in columns:
        if column not in known.names:
            raise UnknownNameError(f"column of {source}", column, known.names)
    batches = [
        batch
        for chunk in connector.chunks(source, columns=columns)
        for batch in connector.read(chunk)
    ]
    schema = pa.schema([known.field(column) for column in columns])
    table = pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema)
    if table.num_rows == 0:
        raise DataError(f"The {split.value} table of task {task.name!r} ({source}) is empty.")
    return table


def _source(task: NodeTaskSpec, split: Split) -> str:
    if split not in task.sources:
        raise UnknownNameError(
            f"split of task {task.name!r}", split.value, [s.value for s in task.sources]
        )
    return task.sources[split]


def _has_labels(connector: Connector, task: NodeTaskSpec, split: Split) -> bool:
    if split is not Split.TEST:
        return True
    return task.target_column in connector.arrow_schema(_source(task, split)).names


def _time_of(task: NodeTaskSpec, split: Split) -> str:
    return f"{task.name}.{task.time_column} ({split.value})"


def _times(values: pa.Array, *, where: str) -> NDArray[np.int64]:
    found = to_moments(values, where=where)
    if found.is_null.any():
        raise DataError(
            f"Time column {where!r} is NULL in {int(found.is_null.sum())} rows, so what they may "
            "see is not defined. Leave such rows out."
        )
    if found.is_outside.any():
        raise DataError(
            f"Time column {where!r} holds {found.example_outside}, which is not between "
            "1677-09-21 and 2262-04-11."
        )
    return found.ns


def _labels(
    values: pa.ChunkedArray, codec: LabelCodec, task: NodeTaskSpec, split: Split
) -> NDArray[np.float32] | NDArray[np.int64] | None:
    if split is Split.TEST and values.null_count == len(values):
        return None
    return codec.encode(values, where=f"{task.name}.{task.target_column} ({split.value})")
