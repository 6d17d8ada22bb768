"""NodeTask and LinkTask: the handles with which a user says what to predict."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from rle.errors import FixedRoleError, ValidationError
from rle.spec.entity import read_entity, read_sources, read_target, read_task_type
from rle.spec.metric import EvaluationMetric
from rle.spec.show import show_rows
from rle.spec.task import (
    LinkTaskSpec,
    NodeTaskSpec,
    check_experiment_part,
    check_family,
    check_roles,
    check_splits,
)
from rle.spec.task_tables import TaskTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rle.connectors.base import Connector
    from rle.spec.gnn_table import GNNTable
    from rle.spec.table import ForeignKey
    from rle.values import TaskType


class Task:
    """What node and link tasks share; make a `NodeTask` or a `LinkTask`."""

    is_link = False

    def __init__(
        self,
        connector: Connector,
        name: str,
        task_data_source: Mapping[str, str],
        task_type: TaskType | str | None,
        time_column: str | None,
        evaluation_metric: EvaluationMetric | None,
        *,
        current_time: bool,
    ) -> None:
        check_experiment_part("task", name)
        self.connector = connector
        self._name = name
        self._task_type = read_task_type(name, task_type)
        check_family(name, self._task_type, is_link=self.is_link)
        self._metric = EvaluationMetric.default_for(self._task_type)
        if evaluation_metric is not None:
            self.set_evaluation_metric(evaluation_metric)
        sources = read_sources(task_data_source)
        check_splits(name, set(sources))
        self._tables = TaskTables(connector, name, sources)
        self._current_time = bool(current_time)
        self._time_column: str | None = None
        self._first_time_column = time_column

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return self._name

    @property
    def task_type(self) -> TaskType:
        """What is predicted."""
        return self._task_type

    @property
    def evaluation_metric(self) -> EvaluationMetric:
        """What is measured; the task type's default unless set."""
        return self._metric

    @property
    def time_column(self) -> str | None:
        """Column of the task tables: the moment of the prediction."""
        return self._time_column

    @property
    def current_time(self) -> bool:
        """Whether rows of exactly that moment are visible."""
        return self._current_time

    @property
    def task_data_source(self) -> Mapping[str, str]:
        """Names of the task tables by split; read-only."""
        return MappingProxyType({s.value: name for s, name in self._tables.sources.items()})

    @property
    def spec(self) -> NodeTaskSpec | LinkTaskSpec:
        """The task as frozen data."""
        raise TypeError("Task is only the base; make a NodeTask or a LinkTask.")

    def set_evaluation_metric(self, evaluation_metric: EvaluationMetric) -> None:
        """Measure something else; it must fit the task type."""
        if not isinstance(evaluation_metric, EvaluationMetric):
            raise ValidationError(
                "evaluation_metric must be an EvaluationMetric, such as "
                f"EvaluationMetric(name={self._metric.name!r}), not {evaluation_metric!r}."
            )
        evaluation_metric.check(self._task_type)
        self._metric = evaluation_metric

    def set_time_column(self, col_name: str) -> None:
        """Say which column of the task tables is the moment of the prediction."""
        self._tables.check_time(col_name)
        check_roles(self._name, self._roles() | {"time column": col_name})
        self._time_column = col_name

    def unset_time_column(self, col_name: str) -> None:
        """Take the role of time column from a column."""
        if col_name != self._time_column:
            raise ValidationError(
                f"Column {col_name!r} is not the time column of task {self._name!r}; "
                f"that is {self._time_column!r}."
            )
        self._time_column = None

    def remove_column(self, col_name: str) -> None:
        """Take a column out of the task, and with it the role of time column.

        Columns without a role are never read; it only leaves what `show_task` lists.

        Raises:
            FixedRoleError: It is an entity's or the label's column. An AttributeError too.
            UnknownNameError: The task has no such column; suggests the nearest.
        """
        role = {column: role for role, column in self._roles().items()}.get(col_name)
        if role is not None and role != "time column":
            raise FixedRoleError(
                f"Column {col_name!r} is the {role} of task {self._name!r} and cannot be removed; "
                "make another task."
            )
        self._tables.remove(col_name)
        if role is not None:
            self._time_column = None

    def show_task(self) -> None:
        """Print type, metric, sources and the columns with their roles."""
        metric = self._metric.name + (f" @ {k}" if (k := self._metric.eval_at_k) else "")
        bound = "<=" if self._current_time else "<"
        facts = [
            ("type", self._task_type.value),
            ("metric", f"{metric} ({self._metric.direction})"),
            ("visible rows", f"time {bound} {self._time_column}" if self._time_column else "all"),
        ]
        facts += [(f"{split.value} table", name) for split, name in self._tables.sources.items()]
        facts += self._links()
        show_rows(f"Task {self._name}", ("what", "value"), facts)
        roles = {column: role for role, column in self._roles().items() if column}
        columns = [
            (name, str(dtype), roles.get(name, "")) for name, dtype in self._tables.types.items()
        ]
        show_rows(f"Columns of task {self._name}", ("column", "format", "role"), columns)

    def _take_time(self) -> None:
        if self._first_time_column is not None:
            self.set_time_column(self._first_time_column)

    def _roles(self) -> dict[str, str | None]:
        return {"time column": self._time_column}

    def _links(self) -> list[tuple[str, str]]:
        return []

    def __repr__(self) -> str:
        links = ", ".join(value for _, value in self._links())
        return f"<{type(self).__name__} {self._name} ({self._task_type.value}): {links}>"


class NodeTask(Task):
    """Predicts a value, a class or a list of classes per entity and moment.

    Args:
        connector: Where the task tables are.
        name: Name of the task; may not hold "/".
        task_data_source: Names of the task tables by "train", "validation" and "test". Train and
            validation come together; "test" alone is for inference, and may lack the label.
        source_entity_column: Column of the task tables that holds the entity's key; or a
            ForeignKey, which names table and key too.
        source_entity_table: Name of the entity's GNNTable, or the GNNTable. Its primary key is
            meant.
        target_column: Column of the task tables that holds the label.
        task_type: One of the four node types.
        time_column: Column of the task tables: the moment of the prediction.
        evaluation_metric: What is measured. None: the task type's default.
        current_time: Whether rows of exactly that moment are visible (<=) or earlier ones (<).
        label_column: Another word for target_column.

    Raises:
        UnknownNameError: A table or column is not there; suggests the nearest.
        ValidationError: The type is a link type, a column's type does not fit, a split is empty.
    """

    def __init__(
        self,
        connector: Connector,
        name: str,
        task_data_source: Mapping[str, str],
        source_entity_column: str | ForeignKey,
        source_entity_table: str | GNNTable | None = None,
        target_column: str | None = None,
        task_type: TaskType | str | None = None,
        time_column: str | None = None,
        evaluation_metric: EvaluationMetric | None = None,
        current_time: bool = True,
        *,
        label_column: str | None = None,
    ) -> None:
        super().__init__(
            connector,
            name,
            task_data_source,
            task_type,
            time_column,
            evaluation_metric,
            current_time=current_time,
        )
        self._entity = read_entity("source_entity", source_entity_column, source_entity_table)
        self._target_column = read_target(target_column, label_column)
        check_roles(name, self._roles() | {"time column": time_column})
        self._entity_dtype = self._tables.check_entity(self._entity.column_name, may_be_list=False)
        self._tables.check_label(self._target_column, self._task_type)
        self._take_time()

    @property
    def source_entity_column(self) -> str:
        """Column of the task tables that holds the entity's key."""
        return self._entity.column_name

    @property
    def source_entity_table(self) -> str:
        """Name of the entity's table."""
        return self._entity.table

    @property
    def target_column(self) -> str:
        """Column of the task tables that holds the label."""
        return self._target_column

    @property
    def spec(self) -> NodeTaskSpec:
        """The task as frozen data."""
        return NodeTaskSpec(
            name=self._name,
            task_type=self._task_type,
            sources=self._tables.sources,
            entity_table=self._entity.table,
            entity_column=self._entity.column_name,
            entity_key=self._entity.key,
            entity_dtype=self._entity_dtype,
            target_column=self._target_column,
            time_column=self._time_column,
            current_time=self._current_time,
            metric=self._metric,
        )

    def _roles(self) -> dict[str, str | None]:
        return {
            "entity column": self._entity.column_name,
            "label column": self._target_column,
            "time column": self._time_column,
        }

    def _links(self) -> list[tuple[str, str]]:
        return [("entity", str(self._entity))]


class LinkTask(Task):
    """Ranks the entities of one table for each entity of another, per moment.

    Args:
        connector: Where the task tables are.
        name: Name of the task; may not hold "/".
        task_data_source: Names of the task tables by "train", "validation" and "test".
        source_entity_column: Column of the task tables that holds the source's key; or a
            ForeignKey, which names table and key too.
        source_entity_table: Name of the source's GNNTable, or the GNNTable.
        target_entity_column: Column that holds the target's key, or a list of keys; or a
            ForeignKey.
        target_entity_table: Name of the target's GNNTable, or the GNNTable.
        task_type: LINK_PREDICTION or REPEATED_LINK_PREDICTION.
        evaluation_metric: What is measured. None: link_prediction_map at 12.
        time_column: Column of the task tables: the moment of the prediction.
        current_time: Whether rows of exactly that moment are visible (<=) or earlier ones (<).

    Raises:
        UnknownNameError: A table or column is not there; suggests the nearest.
        ValidationError: The type is a node type, a column's type does not fit, a split is empty.
    """

    is_link = True

    def __init__(
        self,
        connector: Connector,
        name: str,
        task_data_source: Mapping[str, str],
        source_entity_column: str | ForeignKey,
        source_entity_table: str | GNNTable | None = None,
        target_entity_column: str | ForeignKey | None = None,
        target_entity_table: str | GNNTable | None = None,
        task_type: TaskType | str | None = None,
        evaluation_metric: EvaluationMetric | None = None,
        time_column: str | None = None,
        current_time: bool = True,
    ) -> None:
        super().__init__(
            connector,
            name,
            task_data_source,
            task_type,
            time_column,
            evaluation_metric,
            current_time=current_time,
        )
        self._source = read_entity("source_entity", source_entity_column, source_entity_table)
        self._target = read_entity("target_entity", target_entity_column, target_entity_table)
        check_roles(name, self._roles() | {"time column": time_column})
        self._source_dtype = self._tables.check_entity(self._source.column_name, may_be_list=False)
        self._target_dtype = self._tables.check_entity(self._target.column_name, may_be_list=True)
        self._take_time()

    @property
    def source_entity_column(self) -> str:
        """Column of the task tables that holds the source's key."""
        return self._source.column_name

    @property
    def source_entity_table(self) -> str:
        """Name of the source's table."""
        return self._source.table

    @property
    def target_entity_column(self) -> str:
        """Column of the task tables that holds the target's key, or a list of them."""
        return self._target.column_name

    @property
    def target_entity_table(self) -> str:
        """Name of the target's table."""
        return self._target.table

    @property
    def spec(self) -> LinkTaskSpec:
        """The task as frozen data."""
        return LinkTaskSpec(
            name=self._name,
            task_type=self._task_type,
            sources=self._tables.sources,
            source_entity_table=self._source.table,
            source_entity_column=self._source.column_name,
            source_entity_key=self._source.key,
            source_entity_dtype=self._source_dtype,
            target_entity_table=self._target.table,
            target_entity_column=self._target.column_name,
            target_entity_key=self._target.key,
            target_entity_dtype=self._target_dtype,
            time_column=self._time_column,
            current_time=self._current_time,
            metric=self._metric,
        )

    def _roles(self) -> dict[str, str | None]:
        return {
            "source entity column": self._source.column_name,
            "target entity column": self._target.column_name,
            "time column": self._time_column,
        }

    def _links(self) -> list[tuple[str, str]]:
        return [("source entity", str(self._source)), ("target entity", str(self._target))]
