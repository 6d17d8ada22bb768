"""The answer to a link task: a ranked list of destinations per test row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.graph.link_task import read_link_split
from rle.inference.answer import Answer, tell_unknown
from rle.inference.columns import EMBEDDING, EmbeddingColumns, KeyColumns, free_names
from rle.inference.items import ItemColumns, ListColumns
from rle.inference.rankings import in_order
from rle.runs.events import WarningEvent
from rle.runs.stage import StageProgress
from rle.training.link_evaluate import LinkRanker, targets_of
from rle.training.link_metrics import LinkMeter
from rle.training.link_rows import target_remarks
from rle.training.ranks import Ranks
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.graph.link_task import LinkSplitRows
    from rle.graph.snapshot import Snapshot
    from rle.inference.answer import Question
    from rle.inference.rankings import RankedRows
    from rle.model.link import LinkModel
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec

ROWS_PER_BATCH = 16_384


def answer_links(
    model: LinkModel,
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    question: Question,
) -> Answer:
    """Predict the test split of a link task; see `rle.inference.write.write_predictions`."""
    split = read_link_split(
        dataset.connector, dataset, Split.TEST, snapshot, with_targets=question.with_labels
    )
    tell_unknown(split, question)
    for remark in target_remarks(split):
        question.on_event(WarningEvent(message=remark))
    k = dataset.task.metric.eval_at_k or model.spec.k
    ranker = LinkRanker(
        model,
        snapshot,
        dataset,
        config,
        split,
        k=k,
        batch_size=question.batch_size,
        ranks=Ranks(device=question.device),
        on_step=StageProgress("predict", question.on_event),
    )
    moments = ranker.remark()
    if moments is not None:
        question.on_event(WarningEvent(message=moments))
    tables = _Tables(dataset, snapshot, split, question, width=model.spec.width)
    meter = LinkMeter(k)
    return Answer(
        schemas=tables.schemas,
        rows=_rows(ranker, tables, split, question, meter),
        num_unknown=split.num_unknown,
        measure=meter.compute,
    )


def _rows(
    ranker: LinkRanker,
    tables: _Tables,
    split: LinkSplitRows,
    question: Question,
    meter: LinkMeter,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of all tables; what is ranked is also measured where there are targets."""
    num_empty = 0
    for block in in_order(
        ranker.rank(with_embeddings=question.with_embeddings),
        is_known=split.rows >= 0,
        k=meter.k,
        width=tables.width if question.with_embeddings else None,
    ):
        known = np.flatnonzero(block.is_known)
        num_empty += int((block.targets[known, 0] < 0).sum())
        if split.targets is not None:
            meter.add(block.targets[known], *targets_of(split, known + block.first))
        yield from tables.batches(block)
    if tables.targets is not None:
        yield from ((1, batch) for batch in tables.targets.batches(ranker))
    if num_empty:
        message = _say_empty(num_empty, split, is_repeated=ranker.is_repeated)
        question.on_event(WarningEvent(message=message))


class _Tables:
    """The tables of an answer, in the order of the plan: sources, targets, predictions."""

    def __init__(
        self,
        dataset: DatasetSpec,
        snapshot: Snapshot,
        split: LinkSplitRows,
        question: Question,
        *,
        width: int,
    ) -> None:
        table, key, _, _ = dataset.entities[1]
        keys, destinations = KeyColumns.of(dataset, split), snapshot.tables[table].keys(key)
        make = ItemColumns if question.flatten_output else ListColumns
        self.width = width
        self.predictions: ItemColumns | ListColumns = make(keys, destinations)
        self.schemas: tuple[pa.Schema, ...] = (self.predictions.schema,)
        self.sources: EmbeddingColumns | None = None
        self.targets: _DestinationColumns | None = None
        if question.with_embeddings:
            self.sources = EmbeddingColumns(keys, width)
            self.targets = _DestinationColumns(dataset, split, destinations, width)
            self.schemas = (self.sources.schema, self.targets.schema, *self.schemas)

    def batches(self, block: RankedRows) -> Iterator[tuple[int, pa.RecordBatch]]:
        """What a block of test rows adds to the tables that have a row per test row."""
        if self.sources is not None:
            yield 0, self.sources.batch(block)
        yield len(self.schemas) - 1, self.predictions.batch(block)


def _say_empty(num_empty: int, split: LinkSplitRows, *, is_repeated: bool) -> str:
    why = (
        "have met no destination before"
        if is_repeated
        else "are dated before the first destination"
    )
    return f"{num_empty} of {split.rows.size} test rows {why}; their list is empty."


class _DestinationColumns:
    """Makes the batches of the table of destinations' embeddings, as of the latest test row."""

    def __init__(
        self, dataset: DatasetSpec, split: LinkSplitRows, destinations: pa.Array, width: int
    ) -> None:
        self._destinations = destinations
        fields = [pa.field(dataset.entities[1][2], destinations.type)]
        self._time: pa.Scalar | None = None
        if dataset.task.time_column is not None and split.task_times is not None:
            fields.append(pa.field(dataset.task.time_column, split.task_times.type))
            self._time = split.task_times[int(split.times.argmax())]
        (name,) = free_names([field.name for field in fields], [EMBEDDING])
        self.schema = pa.schema([*fields, pa.field(name, pa.list_(pa.float32(), width))])

    def batches(self, ranker: LinkRanker) -> Iterator[pa.RecordBatch]:
        """Yield one row per destination that is there at the latest test row's time."""
        vectors = ranker.latest_destinations()[1].cpu().numpy()
        for first in range(0, vectors.shape[0], ROWS_PER_BATCH):
            part = vectors[first : first + ROWS_PER_BATCH]
            columns = [self._destinations.slice(first, part.shape[0])]
            if self._time is not None:
                columns.append(pa.repeat(self._time, part.shape[0]))
            columns.append(
                pa.FixedSizeListArray.from_arrays(
                    pa.array(part.reshape(-1), pa.float32()), part.shape[1]
                )
            )
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
