"""Tiny databases as Parquet files and their specs, for tests that build snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from rle.connectors.local import LocalConnector
from rle.graph.build import build_snapshot
from rle.spec.dataset import DatasetSpec
from rle.spec.metric import EvaluationMetric
from rle.spec.table import CandidateKey, ColumnSpec, ForeignKey, TableSpec
from rle.spec.task import NodeTaskSpec
from rle.values import ColumnDType, Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rle.graph.snapshot import Snapshot


def table_spec(
    folder: Path,
    name: str,
    table: pa.Table,
    *,
    keys: tuple[str, ...] = (),
    links: Mapping[str, str] | None = None,
    time: str | None = None,
    dtypes: Mapping[str, str] | None = None,
    is_edge: bool = False,
    group_rows: int = 1000,
) -> TableSpec:
    """Write a table as Parquet and describe it; dtypes not given follow from the Arrow type."""
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=group_rows)
    given = dict(dtypes or {})
    return TableSpec(
        name=name,
        source=str(path),
        type="edge" if is_edge else "node",
        columns=tuple(
            ColumnSpec(name=f.name, dtype=given.get(f.name) or _dtype(f.type)) for f in table.schema
        ),
        candidate_keys=tuple(CandidateKey(key) for key in keys),
        foreign_keys=tuple(ForeignKey(column, to) for column, to in (links or {}).items()),
        time_column=time,
    )


def dataset(folder: Path, *tables: TableSpec, entity: str | None = None) -> DatasetSpec:
    """A dataset over these tables whose task is about the first one, or about `entity`."""
    about = next(t for t in tables if entity in (None, t.name))
    has_time = any(t.time_column for t in tables)
    return DatasetSpec(
        name="tiny",
        connector=LocalConnector(connector_type="parquet", url=str(folder)),
        tables=tables,
        task=NodeTaskSpec(
            name="task",
            task_type=TaskType.BINARY_CLASSIFICATION,
            sources={split: str(folder / f"task_{split.value}.parquet") for split in Split},
            entity_table=about.name,
            entity_column="entity",
            target_column="label",
            time_column="t" if has_time else None,
            metric=EvaluationMetric("accuracy"),
        ),
    )


def build(
    spec: DatasetSpec,
    folder: Path,
    *,
    text_embedder: str = "glove-6b-50d",
    inherit_links: bool = True,
) -> Snapshot:
    """Build in this process."""
    return build_snapshot(
        spec,
        folder=folder / "snapshots",
        text_embedder=text_embedder,
        num_workers=0,
        on_progress=lambda stage, done, total: None,
        inherit_links=inherit_links,
    )


def _dtype(arrow: pa.DataType) -> ColumnDType:
    if pa.types.is_temporal(arrow):
        return ColumnDType.datetime_t
    if pa.types.is_string(arrow):
        return ColumnDType.text_t
    return ColumnDType.float_t if pa.types.is_floating(arrow) else ColumnDType.integer_t
