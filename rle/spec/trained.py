"""A dataset beside the one a model was trained on: the same tables and task, or what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.types as pt

from rle.errors import DatasetMismatchError
from rle.spec.infer import allowed_dtypes
from rle.spec.table import ColumnSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec
    from rle.values import ColumnDType

Diff = dict[str, Any]
"""JSON values; each leaf is {"trained": ..., "given": ...}."""


def as_trained(
    dataset: DatasetSpec, trained: DatasetSpec, *, align_dtypes: bool = False
) -> tuple[DatasetSpec, tuple[str, ...]]:
    """Return `dataset` with its tables and their columns as the model knows them.

    Sources may be others, and so may the connector; labels and the metric do not matter. A column
    that was left out, but is still in the source, is read as in training: one that holds only NULL
    today has no dtype that could be inferred.

    Args:
        dataset: The tables and the task as they are now. The sources' column types are read.
        trained: What the model was trained on.
        align_dtypes: Whether columns of another dtype are read as in training.

    Returns:
        The dataset, and what was changed in it, for people.

    Raises:
        DatasetMismatchError: A table, a column, a role or the task is another one. Carries all
            differences as JSON values.
    """
    given = {table.name: table for table in dataset.tables}
    known = {table.name: table for table in trained.tables}
    changed: dict[str, Any] = {
        name: leaf(_type(known, name), _type(given, name))
        for name in sorted(known.keys() ^ given.keys())
    }
    changes: list[str] = []
    for name in known.keys() & given.keys():
        types = {f.name: f.type for f in dataset.connector.arrow_schema(given[name].source)}
        table, said = _aligned(given[name], known[name], types, align_dtypes=align_dtypes)
        changes += said
        changed |= _under(name, _table_diff(known[name], table))
    diff = _under("task", _task_diff(trained, dataset)) | _under("tables", changed)
    if diff:
        raise DatasetMismatchError(_explained(diff), diff)
    # Theirs, not ours: the model knows columns, keys and links by their order too.
    tables = tuple(table.replace(source=given[table.name].source) for table in trained.tables)
    return dataset.replace(tables=tables), tuple(sorted(changes))


def leaf(trained: object, given: object) -> Diff:
    """Return one difference."""
    return {"trained": trained, "given": given}


def _under(name: str, diff: Diff) -> Diff:
    return {name: diff} if diff else {}


def _type(tables: Mapping[str, TableSpec], name: str) -> str | None:
    return tables[name].type if name in tables else None


def _aligned(
    table: TableSpec, trained: TableSpec, types: Mapping[str, pa.DataType], *, align_dtypes: bool
) -> tuple[TableSpec, list[str]]:
    """Return the table with its columns as in training where they can be, and what was changed."""
    dtypes = {column.name: column.dtype for column in table.columns}
    changes = []
    for name, dtype in ((column.name, column.dtype) for column in trained.columns):
        if name not in types or dtypes.get(name) is dtype or not _can_be(types[name], dtype):
            continue
        where = f"column {name!r} of table {table.name!r}"
        if name not in dtypes:
            changes.append(
                f"{where} is left out, as one is that holds only NULL; it is read as "
                f"{dtype.value}, as in training"
            )
        elif align_dtypes:
            changes.append(f"{where} is {dtypes[name].value}; it is read as {dtype.value}")
        else:
            continue
        dtypes[name] = dtype
    columns = tuple(ColumnSpec(name=name, dtype=dtype) for name, dtype in dtypes.items())
    return table.replace(columns=columns), changes


def _can_be(stored: pa.DataType, dtype: ColumnDType) -> bool:
    return pt.is_null(stored) or dtype in allowed_dtypes(stored)


def _task_diff(trained: DatasetSpec, given: DatasetSpec) -> Diff:
    facts = [
        {
            # Tasks may be alike in all else, and a model of another one would go unnoticed.
            "name": spec.task.name,
            "task_type": spec.task.task_type.value,
            "entity_keys": [f"{table}.{key}" for table, key, *_ in spec.entities],
            "has_time": spec.task.time_column is not None,
            "current_time": spec.task.current_time,
        }
        for spec in (trained, given)
    ]
    return _changes(*facts)


def _table_diff(trained: TableSpec, given: TableSpec) -> Diff:
    dtypes = [{column.name: column.dtype.value for column in t.columns} for t in (trained, given)]
    return _under("columns", _changes(*dtypes)) | _changes(_roles(trained), _roles(given))


def _roles(table: TableSpec) -> Diff:
    keys = [key.column_name for key in table.candidate_keys]
    links = {key.column_name: key.link_to for key in table.foreign_keys}
    features = [key.column_name for key in table.candidate_keys if key.is_feature]
    features += [key.column_name for key in table.foreign_keys if key.is_feature]
    return {
        "type": table.type,
        "time_column": table.time_column,
        # The first key orders rows of the same time; the others have no order.
        "primary_key": keys[0] if keys else None,
        "candidate_keys": sorted(keys[1:]),
        "links": dict(sorted(links.items())),
        "key_features": sorted(features),
    }


def _changes(trained: Mapping[str, Any], given: Mapping[str, Any]) -> Diff:
    names = dict.fromkeys([*trained, *given])
    return {
        name: leaf(trained.get(name), given.get(name))
        for name in names
        if trained.get(name) != given.get(name)
    }


def _explained(diff: Diff) -> str:
    words = [_words(change, what, "the task") for what, change in diff.get("task", {}).items()]
    only_dtypes = not words
    for name, table in diff.get("tables", {}).items():
        owner = f"table {name!r}"
        if "columns" not in table and table.keys() == {"trained", "given"}:
            words.append(f"{owner} is {'gone' if table['given'] is None else 'new'}")
            only_dtypes = False
            continue
        for column, change in table.get("columns", {}).items():
            words.append(_column_words(change, f"column {column!r} of {owner}"))
            only_dtypes = only_dtypes and None not in change.values()
        roles = {what: change for what, change in table.items() if what != "columns"}
        words += [_words(change, what, owner) for what, change in roles.items()]
        only_dtypes = only_dtypes and not roles
    way_out = (
        "Pass align_dtypes=True to read them as in training where their values allow it, or set "
        "the dtypes with update_column_dtype."
        if only_dtypes
        else "Declare tables and task as in training (remove_column, add_column and "
        "update_column_dtype help), or train a new model."
    )
    return f"The model was trained on another dataset: {'; '.join(sorted(words))}. {way_out}"


def _words(change: Diff, what: str, owner: str) -> str:
    return f"{what} of {owner} was {change['trained']} and is {change['given']}"


def _column_words(change: Diff, column: str) -> str:
    if change["given"] is None:
        return f"{column} is gone"
    if change["trained"] is None:
        return f"{column} is new"
    return f"{column} was {change['trained']} and is {change['given']}"
