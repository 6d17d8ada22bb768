"""Tables and a task that fit together. Frozen, equal to its JSON, checked when built."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import model_validator

from rle.connectors.registry import AnyConnector
from rle.errors import UnknownNameError, ValidationError
from rle.spec.table import ForeignKey, TableSpec
from rle.spec.task import LinkTaskSpec, NodeTaskSpec, check_experiment_part
from rle.values import ColumnDType, Split, Value

if TYPE_CHECKING:
    from collections.abc import Sequence


class DatasetSpec(Value):
    """Everything a run needs to know about the data. What holds across tables is checked here."""

    name: str
    """First part of the experiment's name; may not hold "/"."""
    connector: AnyConnector
    """Where the tables are read from."""
    tables: tuple[TableSpec, ...]
    task: NodeTaskSpec | LinkTaskSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_experiment_part("dataset", self.name)
        names = [table.name for table in self.tables]
        if not names:
            raise ValidationError(f"Dataset {self.name!r} has no tables.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValidationError(f"Dataset {self.name!r} has two tables named {twice[0]!r}.")
        for table in self.tables:
            for key in table.foreign_keys:
                self._check_link(table, key)
        self._check_entities()
        self._check_connected()
        self._check_time()
        return self

    @property
    def experiment_name(self) -> str:
        """Name under which runs are tracked: "dataset/task_type/task"."""
        return f"{self.name}/{self.task.task_type.value}/{self.task.name}"

    @cached_property
    def _by_name(self) -> dict[str, TableSpec]:
        return {table.name: table for table in self.tables}

    def table(self, name: str) -> TableSpec:
        """Return the table of this name; UnknownNameError where there is none."""
        if name not in self._by_name:
            raise UnknownNameError("table", name, self._by_name)
        return self._by_name[name]

    @property
    def node_tables(self) -> tuple[TableSpec, ...]:
        """Tables whose rows are nodes."""
        return tuple(table for table in self.tables if table.type == "node")

    @property
    def entities(self) -> tuple[tuple[str, str, str, ColumnDType | None], ...]:
        """Table, key, column of the task tables and its dtype, per entity of the task.

        One for a node task; source, then target, for a link task.
        """
        task = self.task
        if isinstance(task, NodeTaskSpec):
            given = [(task.entity_table, task.entity_key, task.entity_column, task.entity_dtype)]
        else:
            given = [
                (
                    task.source_entity_table,
                    task.source_entity_key,
                    task.source_entity_column,
                    task.source_entity_dtype,
                ),
                (
                    task.target_entity_table,
                    task.target_entity_key,
                    task.target_entity_column,
                    task.target_entity_dtype,
                ),
            ]
        return tuple(
            (table, key or self._first_key(table), column, dtype)
            for table, key, column, dtype in given
        )

    def _first_key(self, table: str) -> str:
        keys = self.table(table).key_columns
        if self.table(table).type == "edge":
            raise ValidationError(
                f"Task {self.task.name!r} is about edge table {table!r}, whose rows are edges, "
                "not nodes."
            )
        if not keys:
            raise ValidationError(
                f"Table {table!r} has no primary key, so task {self.task.name!r} cannot refer to "
                "its rows. Set one with set_primary_key."
            )
        return keys[0]

    def _check_link(self, table: TableSpec, key: ForeignKey) -> None:
        link = f"foreign key {key.column_name!r} of table {table.name!r}"
        owner = f"F{link[1:]}"
        target_name, column = key.target
        if target_name not in self._by_name:
            raise UnknownNameError(f"table, which {link} links to,", target_name, self._by_name)
        target = self._by_name[target_name]
        if target.type == "edge":
            raise ValidationError(
                f"{owner} links to edge table {target_name!r}, whose rows are edges, not nodes."
            )
        if column not in {c.name for c in target.columns}:
            raise UnknownNameError(
                f"column of table {target_name!r}, which {link} links to,",
                column,
                [c.name for c in target.columns],
            )
        if column not in target.key_columns:
            raise ValidationError(
                f"{owner} links to column {column!r} of table {target_name!r}, which is not one "
                f"of its keys {list(target.key_columns)}. Declare it as primary or candidate key."
            )
        check_same_dtype(
            f"{table.name}.{key.column_name}",
            table.dtype_of(key.column_name),
            f"{target_name}.{column}",
            target.dtype_of(column),
        )

    def _check_entities(self) -> None:
        for table_name, key, column, dtype in self.entities:
            table = self.table(table_name)
            if key not in table.key_columns:
                raise UnknownNameError(f"key of table {table_name!r}", key, table.key_columns)
            if dtype is not None:
                check_same_dtype(
                    f"{self.task.name}.{column}",
                    dtype,
                    f"{table_name}.{key}",
                    table.dtype_of(key),
                    way_out="Cast the column in a view of the task's tables.",
                )

    def _check_connected(self) -> None:
        groups = connected_groups(self.tables)
        if len(groups) < 2:
            return
        entity = self.entities[0][0]
        apart = sorted(name for group in groups if entity not in group for name in group)
        raise ValidationError(
            f"Dataset {self.name!r} is not connected: no links lead from table {entity!r} to "
            f"{', '.join(map(repr, apart))}. Add the missing foreign keys or leave the tables out."
        )

    def _check_time(self) -> None:
        timed = [table.name for table in self.tables if table.time_column is not None]
        if timed and self.task.time_column is None:
            raise ValidationError(
                f"Tables {timed} have a time column but task {self.task.name!r} has none, so what "
                "a prediction may see is not defined. Set the task's time_column."
            )
        if not timed and self.task.time_column is not None:
            raise ValidationError(
                f"Task {self.task.name!r} has time column {self.task.time_column!r} but no table "
                "has one. Set a table's time column, or unset the task's."
            )


class HasSpec(Protocol):
    """A dataset as users hold it: `rle.Dataset`."""

    @property
    def spec(self) -> DatasetSpec:
        """What crosses processes and files."""


def spec_of(dataset: DatasetSpec | HasSpec) -> DatasetSpec:
    """Return the spec of what a user passed as a dataset; ValidationError where it is none."""
    spec = dataset if isinstance(dataset, DatasetSpec) else getattr(dataset, "spec", None)
    if not isinstance(spec, DatasetSpec):
        raise ValidationError(f"dataset must be an rle.Dataset, not {type(dataset).__name__}.")
    return spec


def require_splits(dataset: DatasetSpec, *, needed: Sequence[Split]) -> NodeTaskSpec | LinkTaskSpec:
    """Return the task; raise ValidationError where it lacks a split."""
    task = dataset.task
    missing = [split.value for split in needed if split not in task.sources]
    if missing:
        raise ValidationError(
            f"Task {task.name!r} has no {' and no '.join(missing)} table; add it to "
            "task_data_source."
        )
    return task


def check_same_dtype(
    child: str,
    given: ColumnDType,
    parent: str,
    wanted: ColumnDType,
    *,
    way_out: str = "Give both the same dtype with update_column_dtype or column_dtypes.",
) -> None:
    """Raise ValidationError naming both columns where values could never be equal."""
    if given is not wanted:
        raise ValidationError(
            f"Column {child!r} is {given.value} but the key it refers to, {parent!r}, is "
            f"{wanted.value}; their values can never be equal. {way_out}"
        )


def connected_groups(tables: tuple[TableSpec, ...]) -> list[set[str]]:
    """Return the names of the node tables, grouped by whether links lead between them.

    Edge tables are no vertices: each joins the two tables it links to. A link to a table that is
    not there joins nothing.
    """
    group = {table.name: {table.name} for table in tables if table.type == "node"}
    for table in tables:
        ends = [key.link_table for key in table.foreign_keys if key.link_table in group]
        if table.type == "node":
            ends.append(table.name)
        merged = set().union(*(group[end] for end in ends))
        group.update(dict.fromkeys(merged, merged))
    unique = {id(members): members for members in group.values()}
    return list(unique.values())
