"""What can be known to fail in a link task before any long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import DataError, ValidationError
from rle.graph.link_task import check_link_split
from rle.graph.schema import (
    GraphSchema,
    Relation,
    TableLayout,
    relations_of_edge_table,
    relations_of_link,
)
from rle.sampling.history import history_paths
from rle.spec.metric import DEFAULT_EVAL_AT_K
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec
    from rle.spec.task import LinkTaskSpec


def check_links(
    dataset: DatasetSpec, task: LinkTaskSpec, config: TrainerConfig, splits: Sequence[Split]
) -> tuple[str, ...]:
    """Check targets, the table that they are in, and the links between sources and targets.

    Returns:
        What the user should be warned of.

    Raises:
        DataError: A split has no targets or cannot be read, or there is nothing to rank.
        ValidationError: There is one target only, or a setting needs links that are not there.
    """
    for split in splits:
        check_link_split(dataset.connector, task, split)
    _check_met(dataset, task, config)
    unused = f"TrainerConfig.clamp has no effect on a {task.task_type.value} task"
    warnings = (unused,) if config.clamp is not None else ()
    return (*warnings, *_check_targets(dataset, task))


def check_test_links(dataset: DatasetSpec, task: LinkTaskSpec) -> None:
    """Check the test table before a prediction; it needs no targets.

    Raises:
        DataError: It cannot be read, or there is nothing to rank.
        ValidationError: There is one target only.
    """
    check_link_split(dataset.connector, task, Split.TEST)
    _check_targets(dataset, task)


def _check_targets(dataset: DatasetSpec, task: LinkTaskSpec) -> tuple[str, ...]:
    name = task.target_entity_table
    source = dataset.table(name).source
    num_rows = dataset.connector.num_rows(source)
    if num_rows == 0:
        raise DataError(f"Target table {name!r} ({source}) has no rows; there is nothing to rank.")
    if num_rows == 1:
        raise ValidationError(
            f"Target table {name!r} ({source}) has a single row, so every list would be that row; "
            "there is nothing to rank. A link task needs two targets or more; whether a source "
            "meets one target is a binary classification task."
        )
    k = task.metric.eval_at_k or DEFAULT_EVAL_AT_K
    if k <= num_rows:
        return ()
    return (
        f"eval_at_k is {k}, but target table {name!r} has {num_rows} rows; lists end after them",
    )


def _check_met(dataset: DatasetSpec, task: LinkTaskSpec, config: TrainerConfig) -> None:
    source, target = task.source_entity_table, task.target_entity_table
    if history_paths(links_of(dataset), source=source, target=target):
        return
    if task.task_type is TaskType.REPEATED_LINK_PREDICTION:
        raise ValidationError(
            f"Repeated link prediction ranks the {target!r} rows that a {source!r} row has met, "
            f"but no links lead from {source!r} to {target!r}: there is no table with foreign "
            "keys that lead to both. Add that table, or use TaskType.LINK_PREDICTION."
        )
    if config.negative_sampling_strategy == "degree_based":
        raise ValidationError(
            f"TrainerConfig.negative_sampling_strategy is 'degree_based', but no links lead from "
            f"{source!r} to {target!r}, so that nothing says how often a target is met. Use "
            "'random', or add the table that links them."
        )


def links_of(dataset: DatasetSpec) -> GraphSchema:
    """Return the tables and links of a dataset as its graph will have them, without columns."""
    relations: list[Relation] = []
    for table in dataset.tables:
        keys = table.foreign_keys
        if table.type == "edge":
            first, second = keys
            relations += relations_of_edge_table(
                table.name,
                columns=(first.column_name, second.column_name),
                parents=(first.link_table, second.link_table),
            )
            continue
        for key in keys:
            link = f"{table.name}.{key.column_name}"
            relations += relations_of_link(link, child=table.name, parent=key.link_table)
    tables = tuple(
        TableLayout(name=table.name, has_time=table.time_column is not None)
        for table in dataset.node_tables
    )
    return GraphSchema(tables=tables, relations=tuple(relations))
