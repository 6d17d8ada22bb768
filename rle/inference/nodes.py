"""The answer to a node task: one prediction per test row."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.errors import DataError
from rle.graph.task import read_split
from rle.inference.answer import Answer, tell_unknown
from rle.inference.columns import EmbeddingColumns, KeyColumns, PredictionColumns
from rle.inference.items import ClassColumns
from rle.inference.predict import score_rows
from rle.runs.events import WarningEvent
from rle.runs.stage import StageProgress
from rle.sampling.loader import BatchLoader
from rle.spec.metric import METRICS, EvaluationMetric
from rle.training.metrics import compute
from rle.training.node_job import make_sampler
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.graph.task import SplitRows
    from rle.inference.answer import Question, Rescorer
    from rle.inference.predict import ScoreBlock
    from rle.ingest.labels import LabelCodec
    from rle.model.relational import RelationalModel
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


def answer_nodes(
    model: RelationalModel,
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    question: Question,
) -> Answer:
    """Predict the test split of a node task; see `rle.inference.write.write_predictions`."""
    codec = model.spec.labels
    split = read_split(
        dataset.connector, dataset, Split.TEST, snapshot, codec if question.with_labels else None
    )
    tell_unknown(split, question)
    if split.left_out is not None:
        question.on_event(WarningEvent(message=split.left_out))
    loader = BatchLoader(
        snapshot,
        split,
        make_sampler(snapshot, dataset, config, lags=model.spec.lags),
        batch_size=question.batch_size,
        shuffle=False,
        threads=config.sampler_workers,
    )
    blocks = score_rows(
        model,
        loader,
        num_rows=split.rows.size,
        device=question.device,
        with_embeddings=question.with_embeddings
        or (question.rescorer is not None and question.rescorer.needs_embeddings),
        on_step=StageProgress("predict", question.on_event),
    )
    if question.rescorer is not None:
        blocks = _rescored(blocks, split, question.rescorer)
    keys = KeyColumns.of(dataset, split)
    make = ClassColumns if question.flatten_output else PredictionColumns
    tables: list[ClassColumns | EmbeddingColumns | PredictionColumns] = [make(keys, codec)]
    if question.with_embeddings:  # the prediction table is the last
        tables.insert(0, EmbeddingColumns(keys, model.spec.channels))
    scores: list[NDArray[np.float32]] = []
    return Answer(
        schemas=tuple(table.schema for table in tables),
        rows=_rows(loader, blocks, tables, scores),
        num_unknown=split.num_unknown,
        measure=lambda: _measure(split, codec, scores, dataset.task.metric),
    )


def _rescored(
    blocks: Iterator[ScoreBlock], split: SplitRows, rescorer: Rescorer
) -> Iterator[ScoreBlock]:
    """The blocks with the scores that count."""
    for block in blocks:
        at = block.first + np.flatnonzero(block.is_known)
        scores = block.scores.copy()
        vectors = None if block.embeddings is None else block.embeddings[block.is_known]
        scores[block.is_known] = rescorer.rescore(
            split.rows[at], split.times[at], scores[block.is_known], vectors
        )
        yield replace(block, scores=scores)


def _rows(
    loader: BatchLoader,
    blocks: Iterator[ScoreBlock],
    tables: list[ClassColumns | EmbeddingColumns | PredictionColumns],
    scores: list[NDArray[np.float32]],
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """One batch per table and block; the scores of known rows are kept for the metrics."""
    with contextlib.closing(loader):
        for block in blocks:
            scores.append(block.scores[block.is_known])
            for index, table in enumerate(tables):
                yield index, table.batch(block)


def _measure(
    split: SplitRows,
    codec: LabelCodec,
    scores: list[NDArray[np.float32]],
    metric: EvaluationMetric,
) -> dict[str, float]:
    """Every metric that is defined for the labels; an error where that of the task is not."""
    is_known = split.rows >= 0
    is_measured = is_known if split.is_measured is None else is_known & split.is_measured
    if split.labels is None or not is_measured.any():
        raise DataError("No test row has both a label and an entity that is in the graph.")
    found = torch.from_numpy(np.concatenate(scores)[is_measured[is_known]])
    labels = torch.from_numpy(split.labels[is_measured])
    metrics = {metric.name: compute(metric, codec.task_type, found, labels)}
    for name in METRICS[codec.task_type]:
        with contextlib.suppress(DataError):
            metrics[name] = compute(EvaluationMetric(name=name), codec.task_type, found, labels)
    return metrics
