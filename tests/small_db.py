"""A database of a few rows that a test can spoil in one place, and the public objects around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from rle import (
    Dataset,
    DuckDBConnector,
    ForeignKey,
    GNNTable,
    NodeTask,
    OutputConfig,
    TaskType,
    TrainerConfig,
)

if TYPE_CHECKING:
    from pathlib import Path

ROWS = """
CREATE TABLE customers AS SELECT
    i AS customer_id, 20 + i % 50 AS age, CAST(i % 7 AS DOUBLE) AS score,
    TIMESTAMP '2020-01-01' + INTERVAL (i) HOUR AS joined_at
  FROM range(60) r(i);
CREATE TABLE orders AS SELECT
    i AS order_id, i % 60 AS customer_id, CAST(i % 13 AS DOUBLE) AS amount,
    CASE WHEN i % 3 = 0 THEN 'web' ELSE 'store' END AS channel,
    TIMESTAMP '2021-01-01' + INTERVAL (i) HOUR AS ordered_at
  FROM range(600) r(i);
CREATE TABLE churn_train AS SELECT
    i AS customer_id, TIMESTAMP '2021-01-20' AS at, i % 2 AS label FROM range(60) r(i);
CREATE TABLE churn_validation AS SELECT
    i AS customer_id, TIMESTAMP '2021-01-24' AS at, i % 2 AS label FROM range(60) r(i);
CREATE TABLE churn_test AS SELECT
    i AS customer_id, TIMESTAMP '2021-01-26' AS at, i % 2 AS label FROM range(60) r(i);
"""


@dataclass(frozen=True, slots=True)
class SmallDatabase:
    """60 customers, 600 orders and a churn task in a DuckDB file."""

    path: Path

    @classmethod
    def create(cls, folder: Path, *changes: str) -> SmallDatabase:
        """Write the file, then run the statements of `changes` on it."""
        path = folder / "small.duckdb"
        with duckdb.connect(str(path)) as connection:
            for statement in (ROWS, *changes):
                connection.execute(statement)
        return cls(path)

    @property
    def connector(self) -> DuckDBConnector:
        return DuckDBConnector(database=str(self.path))

    def customers(self, **changes: Any) -> GNNTable:
        given = {
            "connector": self.connector,
            "name": "customers",
            "source": "small.main.customers",
            "primary_key": "customer_id",
            "time_column": "joined_at",
        }
        return GNNTable(**given | changes)

    def orders(self, **changes: Any) -> GNNTable:
        given = {
            "connector": self.connector,
            "name": "orders",
            "source": "small.main.orders",
            "primary_key": "order_id",
            "foreign_keys": [ForeignKey("customer_id", "customers.customer_id")],
            "time_column": "ordered_at",
        }
        return GNNTable(**given | changes)

    def task(self, **changes: Any) -> NodeTask:
        given = {
            "connector": self.connector,
            "name": "churn",
            "task_data_source": {
                split: f"small.main.churn_{split}" for split in ("train", "validation", "test")
            },
            "source_entity_column": "customer_id",
            "source_entity_table": "customers",
            "target_column": "label",
            "task_type": TaskType.BINARY_CLASSIFICATION,
            "time_column": "at",
        }
        return NodeTask(**given | changes)

    def dataset(self, *tables: GNNTable, task: NodeTask | None = None) -> Dataset:
        return Dataset(
            connector=self.connector,
            dataset_name="small",
            tables=tables or (self.customers(), self.orders()),
            task_description=task or self.task(),
        )

    def config(self, **changes: Any) -> TrainerConfig:
        given = {
            "connector": self.connector,
            "device": "cpu",
            "n_epochs": 1,
            "fanouts": [4, 2],
            "channels": 8,
            "train_batch_size": 32,
            "num_workers": 0,
        }
        return TrainerConfig(**given | changes)

    @property
    def output(self) -> OutputConfig:
        return OutputConfig.warehouse(database_name="small", schema_name="main")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.execute(statement).fetchall()
