"""The rows of a split, found in the graph: which entity, as of when, with which label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.errors import ValidationError
from rle.graph.task_table import has_column, read_columns, times_of
from rle.values import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.connectors.base import Connector
    from rle.graph.snapshot import Snapshot
    from rle.ingest.labels import LabelCodec
    from rle.spec.dataset import DatasetSpec
    from rle.spec.task import NodeTaskSpec

    Labels = NDArray[np.float32] | NDArray[np.int64]


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
    is_measured: NDArray[np.bool_] | None
    """bool [N], rows of a test split whose label means something to the model; at the others
    `labels` is 0. None where all do."""
    keys: pa.Array
    """[N], the entity column as it is in the table."""
    task_times: pa.Array | None
    """[N], the time column as it is in the table."""
    num_unknown: int
    """Rows whose entity is not in the graph. Nothing can be predicted for them."""
    example_unknown: str | None = None
    """The key of one of them."""
    left_out: str | None = None
    """Which rows are not measured and why, as a sentence; None where all are."""


def read_labels(connector: Connector, task: NodeTaskSpec, split: Split) -> pa.ChunkedArray:
    """Return the label column of a split, to fit a LabelCodec on.

    Raises:
        UnknownNameError: The split has no table, or the table has no such column.
        DataError: The table is empty.
    """
    return read_columns(connector, task, split, [task.target_column]).column(0)


def check_test_labels(connector: Connector, task: NodeTaskSpec, codec: LabelCodec) -> None:
    """Raise DataError where test labels are of another type than the model's; needs no graph."""
    if _has_labels(connector, task, Split.TEST):
        _test_labels(read_labels(connector, task, Split.TEST), codec, task)


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
            with NULLs only in it, has no labels either way. Its rows may lack a label, or have a
            class that no training row has: they are predicted, but not measured.

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
    table = read_columns(connector, node_task, split, wanted)
    keys = table.column(column).combine_chunks()
    rows = snapshot.tables[table_name].rows_of(key, keys)
    unknown = np.flatnonzero(rows < 0)
    times, task_times = times_of(table, node_task, split)
    labels = is_measured = left_out = None
    if has_labels and codec is not None:
        values = table.column(node_task.target_column)
        if split is Split.TEST:
            labels, is_measured, left_out = _test_labels(values, codec, node_task)
        else:
            labels = codec.encode(values, where=_where(node_task, split))
    return SplitRows(
        split=split,
        rows=rows,
        times=times,
        labels=labels,
        is_measured=is_measured,
        keys=keys,
        task_times=task_times,
        num_unknown=int(unknown.size),
        example_unknown=str(keys[int(unknown[0])].as_py()) if unknown.size else None,
        left_out=left_out,
    )


def _has_labels(connector: Connector, task: NodeTaskSpec, split: Split) -> bool:
    return split is not Split.TEST or has_column(connector, task, split, task.target_column)


def _where(task: NodeTaskSpec, split: Split) -> str:
    return f"{task.name}.{task.target_column} ({split.value})"


def _test_labels(
    values: pa.ChunkedArray, codec: LabelCodec, task: NodeTaskSpec
) -> tuple[Labels | None, NDArray[np.bool_] | None, str | None]:
    """Return `labels`, `is_measured` and `left_out` of a test split."""
    if values.null_count == len(values):
        return None, None, None
    where = _where(task, Split.TEST)
    is_measured = codec.find_measurable(values, where=where)
    if is_measured.all():
        return codec.encode(values, where=where), None, None
    left_out = _say_left_out(values, is_measured, codec)
    if not is_measured.any():
        return None, None, left_out
    known = codec.encode(values.filter(pa.array(is_measured)), where=where)
    labels: Labels = np.zeros((len(values), *known.shape[1:]), known.dtype)
    labels[is_measured] = known
    return labels, is_measured, left_out


def _say_left_out(
    values: pa.ChunkedArray, is_measured: NDArray[np.bool_], codec: LabelCodec
) -> str:
    reasons = [f"{values.null_count} without a label"] if values.null_count else []
    rest = values.filter(pa.array(~is_measured)).drop_null()
    if len(rest):
        is_class = codec.task_type.is_classification
        kind = "a class that no training row has" if is_class else "a label that is not finite"
        reasons.append(f"{len(rest)} with {kind}, such as {rest[0].as_py()!r}")
    return (
        f"{int((~is_measured).sum())} of {len(values)} test rows are predicted but left out of the "
        f"metrics: {' and '.join(reasons)}."
    )
