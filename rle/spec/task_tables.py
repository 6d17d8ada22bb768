"""The tables of a task: read as metadata, checked against the roles that their columns get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.types as pt

from rle.errors import DataError, UnknownNameError, ValidationError
from rle.spec.infer import (
    SAMPLE_ROWS,
    dtype_of_type,
    is_json_lists,
    is_list,
    json_item_type,
    key_dtype,
)
from rle.values import ColumnDType, Split, TaskType

if TYPE_CHECKING:
    import pyarrow as pa

    from rle.connectors.base import Connector


class TaskTables:
    """Schemas of the splits. Needs one or two looks at each table; keeps no row.

    Args:
        connector: Where the tables are.
        task: Name of the task, for messages.
        sources: Table name by split.

    Raises:
        UnknownNameError: A table is not there; suggests the nearest.
        DataError: A table has no rows.
    """

    def __init__(self, connector: Connector, task: str, sources: dict[Split, str]) -> None:
        self.task, self.sources, self._connector = task, sources, connector
        self._schemas: dict[Split, dict[str, pa.DataType]] = {}
        for split, source in sources.items():
            schema = connector.arrow_schema(source)
            self._schemas[split] = {field.name: field.type for field in schema}
            if connector.num_rows(source) == 0:
                raise DataError(f"The {split.value} table of task {task!r} ({source}) has no rows.")

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Arrow type by column, of the train table, or of the test table where it is alone."""
        return next(iter(self._schemas.values()))

    def remove(self, column: str) -> None:
        """Forget a column of all splits; UnknownNameError where the first has none such."""
        if column not in self.types:
            raise UnknownNameError(f"column of task {self.task!r}", column, self.types)
        for schema in self._schemas.values():
            schema.pop(column, None)

    def check_entity(self, column: str, *, may_be_list: bool) -> ColumnDType | None:
        """Check that a column of all splits can hold keys; return their dtype.

        None comes back where nothing tells: only a test table is there and lacks the targets, or
        all of them are empty lists in JSON.

        Args:
            column: Name of the column.
            may_be_list: Whether a row may hold a list of keys.
        """
        types = self._types_of(column, "entity column", optional_in_test=may_be_list)
        dtypes: dict[Split, ColumnDType] = {}
        for split, dtype in types.items():
            values = self._item_type(split, column, dtype) if may_be_list else dtype
            if may_be_list and pt.is_null(values):
                continue
            found = key_dtype(values)
            if found is None:
                raise ValidationError(
                    f"Entity column {column!r} of the {split.value} table of task {self.task!r} "
                    f"must hold integers, floats or strings, not {dtype}."
                )
            dtypes[split] = found
        self._check_same(column, "entity column", dtypes)
        return next(iter(dtypes.values()), None)

    def check_label(self, column: str, task_type: TaskType) -> None:
        """Check that the label is there, except in test, and of a type that fits the task."""
        types = self._types_of(column, "label column", optional_in_test=True)
        for split, dtype in types.items():
            wanted = _label_problem(dtype, task_type)
            if wanted is not None:
                raise ValidationError(
                    f"Label column {column!r} of the {split.value} table of task {self.task!r} "
                    f"must hold {wanted} for {task_type.value}, not {dtype}."
                )
        kinds = {split: _label_kind(dtype) for split, dtype in types.items()}
        self._check_same(column, "label column", kinds)

    def check_time(self, column: str) -> None:
        """Check that a column of all splits holds dates or timestamps."""
        for split, dtype in self._types_of(column, "time column").items():
            if dtype_of_type(dtype) is not ColumnDType.datetime_t:
                raise ValidationError(
                    f"Time column {column!r} of the {split.value} table of task {self.task!r} "
                    f"must be datetime, not {dtype}."
                )

    def _item_type(self, split: Split, column: str, dtype: pa.DataType) -> pa.DataType:
        """Return the type of one key where a row holds a list of them, also as JSON text."""
        if is_list(dtype):
            return dtype.value_type
        if not (pt.is_string(dtype) or pt.is_large_string(dtype)):
            return dtype
        source = self.sources[split]
        rows = self._connector.sample(source, columns=[column], max_rows=SAMPLE_ROWS).column(0)
        return json_item_type(rows) if is_json_lists(rows) else dtype

    def _types_of(
        self, column: str, role: str, *, optional_in_test: bool = False
    ) -> dict[Split, pa.DataType]:
        found = {}
        for split, schema in self._schemas.items():
            if column in schema:
                found[split] = schema[column]
            elif not (optional_in_test and split is Split.TEST):
                raise UnknownNameError(
                    f"{role} in the {split.value} table of task {self.task!r} "
                    f"({self.sources[split]})",
                    column,
                    schema,
                )
        return found

    def _check_same(self, column: str, role: str, kinds: dict[Split, ColumnDType]) -> None:
        first = next(iter(kinds), None)
        for split, kind in kinds.items():
            if first is not None and kind is not kinds[first]:
                raise ValidationError(
                    f"{role.capitalize()} {column!r} of task {self.task!r} is "
                    f"{kinds[first].value} in the {first.value} table but {kind.value} in the "
                    f"{split.value} table."
                )


def _label_problem(dtype: pa.DataType, task_type: TaskType) -> str | None:
    """Return what the label should hold where this type does not fit, else None."""
    if task_type is TaskType.REGRESSION:
        is_number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
        return None if is_number else "numbers"
    if task_type is TaskType.MULTILABEL_CLASSIFICATION:
        return None if is_list(dtype) else "lists of classes"
    return "one class per row" if pt.is_nested(dtype) or pt.is_null(dtype) else None


def _label_kind(dtype: pa.DataType) -> ColumnDType:
    """Return what tells apart labels that could never be equal; numbers are all alike."""
    values = dtype.value_type if is_list(dtype) else dtype
    if pt.is_floating(values) or pt.is_decimal(values):
        return ColumnDType.integer_t
    return dtype_of_type(values) or ColumnDType.category_t
