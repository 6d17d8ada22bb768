"""Dataset: the handle that joins tables and a task, and checks that they fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rle.connectors.names import parse
from rle.errors import DataError, ValidationError
from rle.spec.dataset import DatasetSpec
from rle.spec.diagram import draw_dataset
from rle.spec.gnn_table import GNNTable
from rle.spec.show import say
from rle.spec.task_handle import LinkTask, NodeTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.base import Connector
    from rle.spec.diagram import DatasetDiagram


class Dataset:
    """Tables and a task that fit together. All checks that need no row happen here.

    Args:
        connector: Where all tables are.
        dataset_name: First part of the experiment's name; may not hold "/".
        tables: The tables of the graph.
        task_description: What to predict.

    Raises:
        ValidationError: A table is not valid; a link or the task's entity leads nowhere, to a
            column that is no key, or to one of another dtype; tables are not connected; only one
            of task and tables knows time.
        DataError: The task's entity table has no rows.
    """

    def __init__(
        self,
        connector: Connector,
        dataset_name: str,
        tables: Sequence[GNNTable],
        task_description: NodeTask | LinkTask,
    ) -> None:
        if not isinstance(task_description, NodeTask | LinkTask):
            raise ValidationError(
                "task_description must be a NodeTask or a LinkTask, not "
                f"{type(task_description).__name__}."
            )
        for table in tables:
            if not isinstance(table, GNNTable):
                raise ValidationError(
                    f"tables must be GNNTable objects, not {type(table).__name__}."
                )
        self.connector = connector
        self._name, self._tables, self._task = dataset_name, tuple(tables), task_description
        self._check_connectors()
        for table in self._tables:
            table.validate_table()
        self._check_entities()
        self._report_labels()

    @property
    def name(self) -> str:
        """First part of the experiment's name."""
        return self._name

    @property
    def tables(self) -> tuple[GNNTable, ...]:
        """The tables of the graph."""
        return self._tables

    @property
    def task(self) -> NodeTask | LinkTask:
        """What to predict."""
        return self._task

    @property
    def spec(self) -> DatasetSpec:
        """The dataset as frozen data, as its tables and task are now; checked again."""
        return DatasetSpec(
            name=self._name,
            connector=self.connector,
            tables=tuple(table.spec for table in self._tables),
            task=self._task.spec,
        )

    @property
    def experiment_name(self) -> str:
        """Name under which runs are tracked: "dataset/task_type/task"."""
        return self.spec.experiment_name

    @property
    def metadata_dict(self) -> dict[str, Any]:
        """The dataset as JSON values; stored with each model that is trained on it."""
        spec = self.spec
        return {"experiment_name": spec.experiment_name} | spec.model_dump(mode="json")

    def print_data_config(self) -> None:
        """Print `metadata_dict` as indented JSON."""
        say(json.dumps(self.metadata_dict, indent=2, ensure_ascii=False))

    def visualize_dataset(self, show_dtypes: bool = False) -> DatasetDiagram:
        """Return tables, links and task as a diagram.

        Args:
            show_dtypes: Whether all columns are listed with their dtypes, or only keys and time.
        """
        return draw_dataset(self.spec, show_dtypes=show_dtypes)

    def __repr__(self) -> str:
        names = ", ".join(table.name for table in self._tables)
        return f"<Dataset {self.experiment_name}: {names}>"

    def _check_entities(self) -> None:
        entities = {name for name, *_ in self.spec.entities}
        for table in self._tables:
            if table.name in entities and not table.has_rows:
                raise DataError(
                    f"Table {table.name!r} ({table.source}) has no rows, so there is nothing to "
                    "predict for. Other tables may be empty, the entity's may not."
                )

    def _report_labels(self) -> None:
        """Say which tables of the graph hold the answers; a user may know why."""
        # The rows of a link task may be those of a table that the graph has by right.
        label = self._task.target_column if isinstance(self._task, NodeTask) else None
        for table in self._tables:
            if label in table.columns and reads_task_table(table, self._task):
                say(
                    f"Table {table.name!r} is a table of the task, {table.source}, with its label "
                    f"{label!r}: a prediction may see the answer. Leave the table out of the "
                    f"graph, or the column: remove_column({label!r})."
                )

    def _check_connectors(self) -> None:
        for owner in (*self._tables, self._task):
            if owner.connector != self.connector:
                raise ValidationError(
                    f"{owner!r} was made with another connector than the dataset's; a dataset is "
                    "read from one place."
                )


def reads_task_table(table: GNNTable, task: NodeTask | LinkTask) -> bool:
    """Whether a table of the graph is read from what the task's rows are read from."""
    return _folded(table.source) in {_folded(s) for s in task.task_data_source.values()}


def _folded(source: str) -> tuple[str, ...]:
    try:
        return tuple(part.casefold() for part in parse(source, example="DB.SCHEMA.TABLE"))
    except ValidationError:  # the path of a file
        return (source,)
