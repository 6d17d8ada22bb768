"""GNN-RLE: temporal graph neural networks on relational databases, distributed by Ray."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from rle.version import VERSION

if TYPE_CHECKING:
    from rle.connectors.duckdb import DuckDBConnector
    from rle.connectors.local import LocalConnector
    from rle.connectors.snowflake.connector import (
        SnowflakeConnector,
        SnowflakeConnectorDirectAccess,
    )
    from rle.connectors.snowflake.settings import SnowflakeSettings
    from rle.errors import (
        ConnectionError,
        InternalError,
        JobError,
        JobFailedError,
        ValidationError,
    )
    from rle.sdk.dataset import Dataset
    from rle.sdk.handler import JobHandler
    from rle.sdk.manager import JobManager
    from rle.sdk.models import ModelManager
    from rle.sdk.monitor import JobMonitor
    from rle.sdk.provider import Provider
    from rle.sdk.trainer import Trainer
    from rle.spec.config import TrainerConfig
    from rle.spec.diagram import DatasetDiagram
    from rle.spec.experiment import ExperimentConfig
    from rle.spec.gnn_table import GNNTable
    from rle.spec.metric import EvaluationMetric
    from rle.spec.output import OutputConfig
    from rle.spec.table import CandidateKey, ForeignKey
    from rle.spec.task_handle import LinkTask, NodeTask, Task
    from rle.values import ColumnDType, TaskType

__version__ = VERSION

__all__ = [
    "CandidateKey",
    "ColumnDType",
    "ConnectionError",
    "Dataset",
    "DatasetDiagram",
    "DuckDBConnector",
    "EvaluationMetric",
    "ExperimentConfig",
    "ForeignKey",
    "GNNTable",
    "InternalError",
    "JobError",
    "JobFailedError",
    "JobHandler",
    "JobManager",
    "JobMonitor",
    "LinkTask",
    "LocalConnector",
    "ModelManager",
    "NodeTask",
    "OutputConfig",
    "Provider",
    "SnowflakeConnector",
    "SnowflakeConnectorDirectAccess",
    "SnowflakeSettings",
    "Task",
    "TaskType",
    "Trainer",
    "TrainerConfig",
    "ValidationError",
    "__version__",
]

# Where each name lives: loaded when it is asked for, so that `import rle` costs next to nothing.
_HOMES = {
    "CandidateKey": "rle.spec.table",
    "ColumnDType": "rle.values",
    "ConnectionError": "rle.errors",
    "Dataset": "rle.sdk.dataset",
    "DatasetDiagram": "rle.spec.diagram",
    "DuckDBConnector": "rle.connectors.duckdb",
    "EvaluationMetric": "rle.spec.metric",
    "ExperimentConfig": "rle.spec.experiment",
    "ForeignKey": "rle.spec.table",
    "GNNTable": "rle.spec.gnn_table",
    "InternalError": "rle.errors",
    "JobError": "rle.errors",
    "JobFailedError": "rle.errors",
    "JobHandler": "rle.sdk.handler",
    "JobManager": "rle.sdk.manager",
    "JobMonitor": "rle.sdk.monitor",
    "LinkTask": "rle.spec.task_handle",
    "LocalConnector": "rle.connectors.local",
    "ModelManager": "rle.sdk.models",
    "NodeTask": "rle.spec.task_handle",
    "OutputConfig": "rle.spec.output",
    "Provider": "rle.sdk.provider",
    "SnowflakeConnector": "rle.connectors.snowflake.connector",
    "SnowflakeConnectorDirectAccess": "rle.connectors.snowflake.connector",
    "SnowflakeSettings": "rle.connectors.snowflake.settings",
    "Task": "rle.spec.task_handle",
    "TaskType": "rle.values",
    "Trainer": "rle.sdk.trainer",
    "TrainerConfig": "rle.spec.config",
    "ValidationError": "rle.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'rle' has no attribute {name!r}")
    value: object = pkgutil.resolve_name(f"{_HOMES[name]}:{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
