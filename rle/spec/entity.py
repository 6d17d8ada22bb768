"""How the arguments of a task are read: entities, targets, types and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rle.errors import UnknownNameError, ValidationError
from rle.spec.gnn_table import GNNTable
from rle.spec.table import ForeignKey, check_name
from rle.values import Split, TaskType


@dataclass(frozen=True, slots=True)
class Entity:
    """A column of the task tables that refers to the rows of a table."""

    column_name: str
    table: str
    key: str | None
    """Candidate key that is meant; None: the table's primary key."""

    def __str__(self) -> str:
        return f"{self.column_name} -> {self.table}.{self.key or 'primary key'}"


def read_entity(role: str, column: str | ForeignKey | None, table: str | GNNTable | None) -> Entity:
    """Read the two ways of naming an entity: column with table, or a ForeignKey alone.

    Args:
        role: "source_entity" or "target_entity", for messages.
        column: Column of the task tables, or a ForeignKey.
        table: The entity's table; must be left out beside a ForeignKey.
    """
    if isinstance(column, ForeignKey):
        if table is not None:
            raise ValidationError(
                f"{role}_column is a ForeignKey, which names the table; leave {role}_table out."
            )
        return Entity(column.column_name, column.link_table, column.link_column)
    if column is None or table is None:
        raise ValidationError(
            f"A task needs {role}_column and {role}_table, or a ForeignKey as {role}_column."
        )
    name = table.name if isinstance(table, GNNTable) else table
    check_name(name)
    return Entity(column, name, None)


def read_target(target_column: str | None, label_column: str | None) -> str:
    """Return the label's column, under whichever of its two names it was given."""
    if target_column is not None and label_column is not None:
        raise ValidationError("label_column is another word for target_column; give one of them.")
    column = target_column if target_column is not None else label_column
    if column is None:
        raise ValidationError("NodeTask needs target_column, the column that holds the label.")
    return column


def read_task_type(task: str, task_type: TaskType | str | None) -> TaskType:
    """Return the member that a name or a member stands for; did-you-mean where there is none."""
    if task_type is None:
        raise ValidationError(f"Task {task!r} needs task_type, such as TaskType.REGRESSION.")
    try:
        return TaskType(str(task_type).lower())
    except ValueError:
        raise UnknownNameError("task type", str(task_type), [t.value for t in TaskType]) from None


def read_sources(sources: Mapping[str, str]) -> dict[Split, str]:
    """Return table name by split, in the order train, validation, test."""
    if not isinstance(sources, Mapping):
        raise ValidationError(
            "task_data_source must say which table is which split, such as {'train': ..., "
            f"'validation': ..., 'test': ...}}, not {sources!r}."
        )
    found: dict[Split, str] = {}
    for split, source in sources.items():
        if split not in set(Split):
            raise UnknownNameError("split", str(split), [s.value for s in Split])
        if source is not None:
            found[Split(split)] = source
    return {split: found[split] for split in Split if split in found}
