"""The fake shop as a user would declare it: tables, links, times and one of its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.sdk.dataset import Dataset
from rle.spec.gnn_table import GNNTable
from rle.spec.table import ForeignKey
from rle.spec.task_handle import NodeTask
from rle.testing.shop import FACTS
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.duckdb import DuckDBConnector

TASK_TYPES = {
    "churn": TaskType.BINARY_CLASSIFICATION,
    "channel": TaskType.MULTICLASS_CLASSIFICATION,
    "departments": TaskType.MULTILABEL_CLASSIFICATION,
    "spend": TaskType.REGRESSION,
}


def shop_table(connector: DuckDBConnector, name: str) -> GNNTable:
    """Declare one table of the shop."""
    facts = FACTS[name]
    return GNNTable(
        connector=connector,
        name=name,
        source=f"{connector.stem}.main.{name}",
        primary_key=facts.key,
        foreign_keys=[ForeignKey(column, link) for column, link in facts.foreign_keys.items()],
        time_column=facts.time_column,
        type=facts.type,
        column_dtypes=facts.dtypes,
    )


def shop_task(
    connector: DuckDBConnector,
    task: str = "churn",
    *,
    current_time: bool = True,
    splits: Sequence[str] = ("train", "validation", "test"),
) -> NodeTask:
    """Declare one of the shop's tasks over some of its splits."""
    return NodeTask(
        connector=connector,
        name=task,
        task_data_source={split: f"{connector.stem}.main.{task}_{split}" for split in splits},
        source_entity_column="customer_id",
        source_entity_table="customers",
        target_column="label",
        task_type=TASK_TYPES[task],
        time_column="timestamp",
        current_time=current_time,
    )


def shop_dataset(
    connector: DuckDBConnector,
    task: str = "churn",
    *,
    current_time: bool = True,
    tables: Sequence[str] = tuple(FACTS),
    splits: Sequence[str] = ("train", "validation", "test"),
) -> Dataset:
    """Declare the shop with one of its tasks.

    Args:
        connector: Of a file that `Shop.write_duckdb` wrote.
        task: "churn", "channel", "departments" or "spend".
        current_time: Whether rows of exactly the prediction's time are visible.
        tables: Which tables take part; "articles" brings text, so it needs a text embedder.
            Links to tables that do not take part are left out, columns and all.
        splits: Which task tables take part.
    """
    chosen = [shop_table(connector, name) for name in tables]
    for table in chosen:
        for key in table.foreign_keys:
            if key.link_table not in tables:
                table.remove_column(key.column_name)
    return Dataset(
        connector=connector,
        dataset_name="shop",
        tables=chosen,
        task_description=shop_task(connector, task, current_time=current_time, splits=splits),
    )
