"""The rows of a split of a link task, found in the graph: which source, as of when, which targets.

Targets come as a list per row, or exploded: one row per pair. Exploded rows are grouped by source
and time, so that both ways give the same split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.errors import DataError, ValidationError
from rle.graph.task_table import check_times, has_column, read_columns, times_of
from rle.ingest.convert import as_lists
from rle.ingest.keys import key_kind, plain_keys
from rle.spec.infer import is_json_lists, is_list
from rle.spec.task import LinkTaskSpec
from rle.values import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.connectors.base import Connector
    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore
    from rle.spec.dataset import DatasetSpec

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LinkSplitRows:
    """One split of a link task. N rows in the order of its table, M targets in all.

    Where the table is exploded, a row is a group of its rows with one source and time, in the
    order in which the groups first come.
    """

    split: Split
    rows: NDArray[np.int32]
    """int32 [N], row in the source table; -1 where the source is unknown or NULL."""
    times: NDArray[np.int64]
    """int64 [N], nanoseconds since 1970 UTC; END_OF_TIME where the task has no time column."""
    offsets: NDArray[np.int64] | None
    """int64 [N + 1], where each row's targets begin; None where there are no targets at all."""
    targets: NDArray[np.int32] | None
    """int32 [M], rows of the target table, ascending and distinct within a row; None likewise."""
    keys: pa.Array
    """[N], the source column as it is in the table."""
    task_times: pa.Array | None
    """[N], the time column as it is in the table."""
    num_unknown: int = 0
    """Rows whose source is not in the graph. Nothing can be predicted for them."""
    example_unknown: str | None = None
    """The key of one of them."""
    num_unknown_targets: int = 0
    """Targets that are not in the graph, NULLs among them. They are left out."""
    example_unknown_target: str | None = None
    """The key of one of them."""
    num_duplicate_targets: int = 0
    """Targets that their row names more than once; each counts once."""
    num_empty: int = 0
    """Rows whose list of targets is empty or NULL."""


def check_link_split(connector: Connector, task: LinkTaskSpec, split: Split) -> None:
    """Raise where a split cannot be read, or has nothing to learn from; needs no graph.

    Raises:
        UnknownNameError: The split has no table, or the table lacks a column.
        DataError: The table is empty, a time is NULL or out of range, targets are no keys, or a
            split that needs targets has none.
    """
    read_columns(connector, task, split, [task.source_entity_column])
    check_times(connector, task, split)
    column = task.target_entity_column
    if split is Split.TEST and not has_column(connector, task, split, column):
        return
    values = read_columns(connector, task, split, [column]).column(0).combine_chunks()
    where = _where(task, split)
    found, _ = _flat(values, where=where)
    if len(found) > found.null_count:
        key_kind(found.type, where=where)
    elif split is not Split.TEST:
        raise DataError(f"Column {where!r} holds no target in any of its {len(values)} rows.")


def read_link_split(
    connector: Connector,
    spec: DatasetSpec,
    split: Split,
    snapshot: Snapshot,
    *,
    with_targets: bool,
) -> LinkSplitRows:
    """Read a task table and find its sources and targets in the graph.

    Args:
        connector: Where the task tables are.
        spec: The dataset; its task must be a link task.
        split: Which of the task's tables.
        snapshot: The graph of the dataset.
        with_targets: Whether to look targets up. A test table without the target column, or with
            NULLs only in it, has none either way.

    Raises:
        UnknownNameError: The split has no table, or the table lacks a column.
        DataError: The table is empty, a time is NULL or out of range, keys and column are of
            different kinds, or no target of a training or validation table is in the graph.
    """
    task = spec.task
    if not isinstance(task, LinkTaskSpec):
        raise ValidationError(f"Task {task.name!r} is a node task; read_link_split reads links.")
    (source_table, source_key, source, _), (target_table, target_key, target, _) = spec.entities
    has_targets = split is not Split.TEST or has_column(connector, task, split, target)
    wanted = [source, *([task.time_column] if task.time_column else [])]
    table = read_columns(connector, task, split, wanted + [target] * has_targets)
    times, task_times = times_of(table, task, split)
    keys = table.column(source).combine_chunks()
    column = table.column(target).combine_chunks() if has_targets else None
    owner: Int64Array | None = None
    if column is not None and not _is_list(column):
        first, owner = _groups(keys, times, where=f"{task.name}.{source} ({split.value})")
        times, keys = times[first], keys.take(pa.array(first))
        task_times = None if task_times is None else task_times.take(pa.array(first))
    rows = snapshot.tables[source_table].rows_of(source_key, keys)
    unknown = np.flatnonzero(rows < 0)
    found = LinkSplitRows(
        split=split,
        rows=rows,
        times=times,
        offsets=None,
        targets=None,
        keys=keys,
        task_times=task_times,
        num_unknown=int(unknown.size),
        example_unknown=_shown(keys[int(unknown[0])]) if unknown.size else None,
    )
    if column is None or not with_targets:
        return found
    store = snapshot.tables[target_table]
    return _with_targets(found, column, owner, store, target_key, where=_where(task, split))


def _with_targets(
    split: LinkSplitRows,
    column: pa.Array,
    owner: Int64Array | None,
    store: TableStore,
    key: str,
    *,
    where: str,
) -> LinkSplitRows:
    """Look the targets up. `owner`, int64 [M], is the row of each exploded pair, None for lists."""
    values, lengths = _flat(column, where=where)
    num_rows, num_empty = split.rows.size, 0
    if owner is None:
        owner = np.repeat(np.arange(num_rows), lengths)
        num_empty = int((lengths == 0).sum())
    if split.split is Split.TEST and values.null_count == len(values):
        return split
    rows = _rows_of(values, store, key, where=where)
    is_known = rows >= 0
    unknown = np.flatnonzero(~is_known)
    example = _shown(values[int(unknown[0])]) if unknown.size else None
    if not is_known.any() and split.split is not Split.TEST:
        raise DataError(
            f"Column {where!r} holds no target that is in table {store.name!r}"
            + (f"; {example} is not, for example." if unknown.size else ": every list is empty.")
        )
    pairs = np.unique(owner[is_known] * store.num_rows + rows[is_known])
    offsets = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(pairs // store.num_rows, minlength=num_rows), out=offsets[1:])
    return replace(
        split,
        offsets=offsets,
        targets=(pairs % store.num_rows).astype(np.int32),
        num_unknown_targets=int(unknown.size),
        example_unknown_target=example,
        num_duplicate_targets=int(is_known.sum()) - pairs.size,
        num_empty=num_empty,
    )


def _rows_of(values: pa.Array, store: TableStore, key: str, *, where: str) -> Int32Array:
    if values.null_count == len(values):  # of no type that could be compared
        return np.full(len(values), -1, np.int32)
    kind, wanted = key_kind(values.type, where=where), store.key_indexes[key].kind
    if (kind == "text") != (wanted == "text"):
        raise DataError(
            f"Column {where!r} holds {values.type}, but the key it refers to, "
            f"'{store.name}.{key}', is {wanted}; 7 never equals '7'. Cast one of them."
        )
    return store.rows_of(key, values)


def _groups(keys: pa.Array, times: Int64Array, *, where: str) -> tuple[Int64Array, Int64Array]:
    """Group rows by key and time, groups in the order in which they first come.

    Returns:
        int64 [groups], the first row of each group, and int64 [N], the group of each row.
    """
    codes = pc.dictionary_encode(plain_keys(keys, where=where), null_encoding="encode").indices
    moments, moment = np.unique(times, return_inverse=True)
    pairs = np.asarray(codes).astype(np.int64) * moments.size + moment
    _, first, group = np.unique(pairs, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(order.size)
    return first[order], number[group]


def _is_list(values: pa.Array) -> bool:
    """Whether a column holds lists; text holds them where all of it looks like JSON lists."""
    dtype = values.type
    return is_list(dtype) or is_json_lists(values) or bool(pt.is_null(dtype))


def _flat(values: pa.Array, *, where: str) -> tuple[pa.Array, Int64Array]:
    """Return all targets after each other, [M], and how many each row of the table has, [N]."""
    if not _is_list(values):
        return values, np.ones(len(values), np.int64)
    lists = as_lists(values, where=where)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lists.flatten(), lengths.astype(np.int64)


def _shown(value: pa.Scalar) -> str:
    return str(value.as_py()) if value.is_valid else "NULL"


def _where(task: LinkTaskSpec, split: Split) -> str:
    return f"{task.name}.{task.target_entity_column} ({split.value})"
