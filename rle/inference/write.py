"""Predictions of a split from start to end: read rows, score them, write tables, measure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pydantic
import torch

from rle.errors import DataError
from rle.graph.task import read_split
from rle.inference.columns import EmbeddingColumns, KeyColumns, PredictionColumns
from rle.inference.export import export
from rle.inference.predict import score_rows
from rle.runs.events import ArtifactEvent, WarningEvent
from rle.runs.stage import StageProgress
from rle.sampling.loader import BatchLoader
from rle.spec.metric import METRICS, EvaluationMetric
from rle.spec.task import NodeTaskSpec
from rle.training.metrics import compute
from rle.training.node_job import make_sampler
from rle.values import Split, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from rle.graph.snapshot import Snapshot
    from rle.graph.task import SplitRows
    from rle.inference.export import OutputPlan
    from rle.inference.predict import ScoreBlock
    from rle.ingest.labels import LabelCodec
    from rle.model.relational import RelationalModel
    from rle.runs.events import AnyEvent
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


class PredictionResult(Value):
    """What a prediction left behind."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    num_rows: int
    """Rows of the prediction table, one per row of the test table."""
    num_unknown: int
    """Rows whose entity is not in the graph; their prediction is NULL."""
    export_paths: dict[str, str | dict[str, str]]
    """"predictions": table name, and "embeddings": {entity column: table name}."""
    test_metrics: dict[str, float]
    """Every metric of the task type that is defined for the test labels; empty without labels."""


def write_predictions(
    model: RelationalModel,
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    *,
    plan: OutputPlan,
    batch_size: int,
    device: torch.device,
    on_event: Callable[[AnyEvent], None],
) -> PredictionResult:
    """Predict the test split and write the tables of `plan`, all whole or none at all.

    Args:
        model: Trained; bound to `snapshot` here.
        snapshot: Of the tables as they are now.
        dataset: Its task's test table is predicted.
        config: The model's own: neighbours are sampled as in training.
        plan: Where to.
        batch_size: Rows per step; changes speed and memory, never a prediction.
        device: Where the model runs.
        on_event: Told of progress and of the tables.

    Raises:
        OutputExistsError: A table came into being since the plan was made.
        DataError: The test table is empty, or its rows contradict the task.
    """
    assert isinstance(dataset.task, NodeTaskSpec)
    codec = model.spec.labels
    split = read_split(dataset.connector, dataset, Split.TEST, snapshot, codec)
    if split.num_unknown:
        message = (
            f"{split.num_unknown} of {split.rows.size} test rows have an entity that is not in the "
            f"graph, such as {split.example_unknown!r}; their prediction is NULL."
        )
        on_event(WarningEvent(message=message))
    model.bind(snapshot)
    sampler = make_sampler(snapshot, dataset, config)
    loader = BatchLoader(
        snapshot,
        split,
        sampler,
        batch_size=batch_size,
        shuffle=False,
        threads=config.sampler_workers,
    )
    blocks = score_rows(
        model.to(device),
        loader,
        num_rows=split.rows.size,
        device=device,
        with_embeddings=bool(plan.embeddings),
        on_step=StageProgress("predict", on_event),
    )
    keys = KeyColumns.of(dataset.task, split)
    tables: list[EmbeddingColumns | PredictionColumns] = [PredictionColumns(keys, codec)]
    if plan.embeddings:  # the order of `plan.tables`
        tables.insert(0, EmbeddingColumns(keys, model.spec.channels))
    scores: list[np.ndarray] = []
    with contextlib.closing(loader):
        written = export(plan, [t.schema for t in tables], _rows(blocks, tables, scores))
    for table in plan.tables:
        on_event(ArtifactEvent(name=_kind(plan, table), location=table))
    return PredictionResult(
        num_rows=written[-1],
        num_unknown=split.num_unknown,
        export_paths={"predictions": plan.predictions, "embeddings": dict(plan.embeddings)},
        test_metrics=_measure(split, codec, scores, dataset.task.metric, on_event),
    )


def _rows(
    blocks: Iterator[ScoreBlock],
    tables: list[EmbeddingColumns | PredictionColumns],
    scores: list[np.ndarray],
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """One batch per table and block; the scores of known rows are kept for the metrics."""
    for block in blocks:
        scores.append(block.scores[block.is_known])
        for index, table in enumerate(tables):
            yield index, table.batch(block)


def _kind(plan: OutputPlan, table: str) -> str:
    return "predictions" if table == plan.predictions else "embeddings"


def _measure(
    split: SplitRows,
    codec: LabelCodec,
    scores: list[np.ndarray],
    metric: EvaluationMetric,
    on_event: Callable[[AnyEvent], None],
) -> dict[str, float]:
    if split.labels is None or split.num_unknown == split.rows.size:
        return {}
    found = torch.from_numpy(np.concatenate(scores))
    labels = torch.from_numpy(split.labels[split.rows >= 0])
    metrics = {}
    for name in METRICS[codec.task_type]:
        try:
            metrics[name] = compute(EvaluationMetric(name=name), codec.task_type, found, labels)
        except DataError as error:  # the tables are written; a metric that is undefined is no loss
            if name == metric.name:
                on_event(WarningEvent(message=f"{name} of the test split: {error}"))
    return metrics
