"""A dataset beside the one a model was trained on: the same tables and task, or what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rle.errors import ValidationError

if TYPE_CHECKING:
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec


def as_trained(dataset: DatasetSpec, trained: DatasetSpec) -> DatasetSpec:
    """Return `dataset` with its tables and their columns in the order the model knows.

    Sources may be others, and so may the connector; labels and the metric do not matter.

    Raises:
        ValidationError: A table, a column, a role or the task is another one; names all of them.
    """
    given = {table.name: table for table in dataset.tables}
    known = {table.name: table for table in trained.tables}
    differences = _task_differences(trained, dataset)
    differences += [f"table {name!r} is gone" for name in known if name not in given]
    differences += [f"table {name!r} is new" for name in given if name not in known]
    for name in known.keys() & given.keys():
        differences += _table_differences(known[name], given[name])
    if differences:
        raise ValidationError(
            f"The model was trained on another dataset: {'; '.join(sorted(differences))}. Declare "
            "tables and task as in training (remove_column, add_column and update_column_dtype "
            "help), or train a new model."
        )
    tables = tuple(table.replace(source=given[table.name].source) for table in trained.tables)
    return dataset.replace(tables=tables)


def _task_differences(old: DatasetSpec, new: DatasetSpec) -> list[str]:
    facts = [
        {
            "task type": spec.task.task_type.value,
            "the entity's key": f"{spec.entities[0][0]}.{spec.entities[0][1]}",
            "current_time": spec.task.current_time,
        }
        for spec in (old, new)
    ]
    return _changes(*facts, owner="the task")


def _table_differences(old: TableSpec, new: TableSpec) -> list[str]:
    dtypes = [{column.name: column.dtype.value for column in table.columns} for table in (old, new)]
    before, after = dtypes
    owner = f"table {old.name!r}"
    differences = [f"column {c!r} of {owner} is gone" for c in before if c not in after]
    differences += [f"column {c!r} of {owner} is new" for c in after if c not in before]
    shared = before.keys() & after.keys()
    differences += [
        f"column {c!r} of {owner} was {before[c]} and is {after[c]}"
        for c in shared
        if before[c] != after[c]
    ]
    return differences + _changes(_roles(old), _roles(new), owner=owner)


def _roles(table: TableSpec) -> dict[str, object]:
    keys = [key.column_name for key in table.candidate_keys]
    links = {key.column_name: key.link_to for key in table.foreign_keys}
    features = [key.column_name for key in table.candidate_keys if key.is_feature]
    features += [key.column_name for key in table.foreign_keys if key.is_feature]
    return {
        "type": table.type,
        "time column": table.time_column,
        # The first key orders rows of the same time; the others have no order.
        "primary key": keys[:1],
        "candidate keys": sorted(keys[1:]),
        "links": dict(sorted(links.items())),
        "key features": sorted(features),
    }


def _changes(old: dict[str, Any], new: dict[str, Any], *, owner: str) -> list[str]:
    return [
        f"{what} of {owner} was {old[what]} and is {new[what]}"
        for what in old
        if old[what] != new[what]
    ]
