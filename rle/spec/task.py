"""What is predicted, for whom, as of when. Frozen, equal to its JSON."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from rle.errors import ValidationError
from rle.spec.metric import EvaluationMetric
from rle.values import ColumnDType, Split, TaskType, Value


class _TaskSpec(Value):
    """What node and link tasks share."""

    name: str
    """Last part of the experiment's name; may not hold "/"."""
    task_type: TaskType
    sources: dict[Split, str]
    """Names of the task tables. Train and validation come together; only "test" means inference."""
    time_column: str | None = None
    """Column of the task tables: the moment of the prediction. None where no table has a time."""
    current_time: bool = True
    """Whether rows of exactly that moment are visible (<=) or only earlier ones (<)."""
    metric: EvaluationMetric

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_experiment_part("task", self.name)
        check_splits(self.name, set(self.sources))
        self.metric.check(self.task_type)
        check_roles(self.name, self.roles())
        return self

    def roles(self) -> dict[str, str | None]:
        """Return the column behind each role; None where it has none."""
        return {"time column": self.time_column}


class NodeTaskSpec(_TaskSpec):
    """A value, a class or a list of classes is predicted per entity and moment."""

    entity_table: str
    """Name of the node table whose rows are predicted for."""
    entity_column: str
    """Column of the task tables that holds the entity's key."""
    entity_key: str | None = None
    """Candidate key of the entity table that `entity_column` refers to. None: the first."""
    entity_dtype: ColumnDType | None = None
    """Dtype of `entity_column`, compared with the key's. None: not known, not compared."""
    target_column: str
    """Column of the task tables that holds the label."""

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        check_family(self.name, self.task_type, is_link=False)
        return self

    def roles(self) -> dict[str, str | None]:
        """Return the column behind each role; None where it has none."""
        return {
            "entity column": self.entity_column,
            "label column": self.target_column,
            "time column": self.time_column,
        }


class LinkTaskSpec(_TaskSpec):
    """A ranked list of target entities is predicted per source entity and moment."""

    source_entity_table: str
    """Name of the node table whose rows are predicted for."""
    source_entity_column: str
    """Column of the task tables that holds the source's key."""
    source_entity_key: str | None = None
    """Candidate key of the source table. None: the first."""
    source_entity_dtype: ColumnDType | None = None
    """Dtype of `source_entity_column`. None: not known, not compared."""
    target_entity_table: str
    """Name of the node table whose rows are ranked."""
    target_entity_column: str
    """Column of the task tables that holds the target's key, or a list of them."""
    target_entity_key: str | None = None
    """Candidate key of the target table. None: the first."""
    target_entity_dtype: ColumnDType | None = None
    """Dtype of one target. None: not known, not compared."""

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        check_family(self.name, self.task_type, is_link=True)
        return self

    def roles(self) -> dict[str, str | None]:
        """Return the column behind each role; None where it has none."""
        return {
            "source entity column": self.source_entity_column,
            "target entity column": self.target_entity_column,
            "time column": self.time_column,
        }


def target_column(task: NodeTaskSpec | LinkTaskSpec) -> str:
    """Return the column of the task tables that holds what is to be predicted."""
    return task.target_column if isinstance(task, NodeTaskSpec) else task.target_entity_column


def check_experiment_part(what: str, name: str) -> None:
    """Raise ValidationError where a name cannot be a part of an experiment's name."""
    if not name.strip() or "/" in name:
        raise ValidationError(
            f"The {what}'s name {name!r} must not be empty or hold '/': the experiment is called "
            "dataset/task_type/task."
        )


def check_splits(task: str, splits: set[Split]) -> None:
    """Raise ValidationError unless there is train with validation, or test, or all three."""
    if not splits:
        raise ValidationError(
            f"Task {task!r} has no tables; give at least 'train' and 'validation', or 'test'."
        )
    if (Split.TRAIN in splits) != (Split.VALIDATION in splits):
        has, lacks = ("train", "validation") if Split.TRAIN in splits else ("validation", "train")
        raise ValidationError(
            f"Task {task!r} has a {has} table but no {lacks} table; they come together."
        )


def check_roles(task: str, roles: dict[str, str | None]) -> None:
    """Raise ValidationError where one column would have two roles."""
    seen: dict[str, str] = {}
    for role, column in roles.items():
        if column is None:
            continue
        if column in seen:
            raise ValidationError(
                f"Task {task!r}: column {column!r} cannot be {seen[column]} and {role} at once."
            )
        seen[column] = role


def check_family(task: str, task_type: TaskType, *, is_link: bool) -> None:
    """Raise ValidationError where a node task has a link type, or the other way round."""
    if task_type.is_link != is_link:
        right = "LinkTask" if task_type.is_link else "NodeTask"
        fitting = ", ".join(t.name for t in TaskType if t.is_link == is_link)
        raise ValidationError(
            f"Task {task!r}: {task_type.name} belongs to {right}. Here use one of: {fitting}."
        )
