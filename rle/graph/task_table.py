"""Task tables as they are: which columns they have, what they hold, as of when each row is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.errors import DataError, UnknownNameError
from rle.ingest.convert import to_moments
from rle.ingest.nulls import NULL_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.connectors.base import Connector
    from rle.spec.task import LinkTaskSpec, NodeTaskSpec
    from rle.values import Split

    TaskSpec = NodeTaskSpec | LinkTaskSpec

END_OF_TIME = NULL_TIME - 1
"""Time of a prediction without a time: after every row, but before rows whose time is NULL."""


def check_times(connector: Connector, task: TaskSpec, split: Split) -> tuple[int, int] | None:
    """Return the first and last time of a split, nanoseconds; None without a time. Needs no graph.

    Raises:
        DataError: A time is NULL or out of range.
    """
    if task.time_column is None:
        return None
    times, _ = times_of(read_columns(connector, task, split, [task.time_column]), task, split)
    return int(times.min()), int(times.max())


def read_columns(
    connector: Connector, task: TaskSpec, split: Split, columns: list[str]
) -> pa.Table:
    """Read some columns of a split's table, in the order of its rows.

    Raises:
        UnknownNameError: The split has no table, or the table lacks a column.
        DataError: The table is empty.
    """
    source = source_of(task, split)
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


def source_of(task: TaskSpec, split: Split) -> str:
    """Return the name of a split's table; UnknownNameError where it has none."""
    if split not in task.sources:
        raise UnknownNameError(
            f"split of task {task.name!r}", split.value, [s.value for s in task.sources]
        )
    return task.sources[split]


def has_column(connector: Connector, task: TaskSpec, split: Split, column: str) -> bool:
    """Whether a split's table has a column."""
    return column in connector.arrow_schema(source_of(task, split)).names


def times_of(
    table: pa.Table, task: TaskSpec, split: Split
) -> tuple[NDArray[np.int64], pa.Array | None]:
    """Return the moment of each row of a split, and the time column as it is in the table.

    Args:
        table: What `read_columns` returned; holds the time column if the task has one.
        task: Whose table it is.
        split: Which of its tables.

    Returns:
        int64 [N] nanoseconds since 1970 UTC, END_OF_TIME where the task has no time column; and
        the column, or None.

    Raises:
        DataError: A time is NULL or out of range.
    """
    if task.time_column is None:
        return np.full(table.num_rows, END_OF_TIME, np.int64), None
    values = table.column(task.time_column).combine_chunks()
    where = f"{task.name}.{task.time_column} ({split.value})"
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
    return found.ns, values
