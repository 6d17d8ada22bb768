"""What an output table's columns are: original keys first, then what the model says.

A prediction table has the task's entity column and time column exactly as they were in the task
table (names, values and types), then PREDICTION in the label's own type (double where whole numbers
are regressed), then for classification one PROBABILITY_<class> per class (float32; for a binary
task both). A multilabel PREDICTION is the list of classes whose probability is at least a half. An
embedding table has the same key columns and EMBEDDING, a vector of float32. Where the entity is not
in the graph, all but the keys are NULL. Ranked lists, and lists made flat, are in
`rle.inference.items`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rle.graph.link_task import LinkSplitRows
    from rle.graph.task import SplitRows
    from rle.inference.predict import ScoreBlock
    from rle.ingest.labels import LabelCodec
    from rle.spec.dataset import DatasetSpec

PREDICTION = "PREDICTION"
PROBABILITY = "PROBABILITY"
EMBEDDING = "EMBEDDING"


class Block(Protocol):
    """What is said about some consecutive rows of a split."""

    @property
    def first(self) -> int:
        """Position of the block's first row in the split."""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """[n]; False where the entity is not in the graph, so that nothing can be said."""

    @property
    def embeddings(self) -> NDArray[np.float32] | None:
        """[n, D]; None where they were not asked for."""


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """The columns that say which row of the task table an output row belongs to."""

    fields: tuple[pa.Field, ...]
    arrays: tuple[pa.Array, ...]
    """Whole columns, in the order of the task table."""

    @classmethod
    def of(cls, dataset: DatasetSpec, split: SplitRows | LinkSplitRows) -> KeyColumns:
        """Take them from a split that was read: the entity, of a link task the source, and time."""
        names, arrays = [dataset.entities[0][2]], [split.keys]
        if dataset.task.time_column is not None and split.task_times is not None:
            names.append(dataset.task.time_column)
            arrays.append(split.task_times)
        fields = (pa.field(n, a.type) for n, a in zip(names, arrays, strict=True))
        return cls(tuple(fields), tuple(arrays))

    def rows(self, block: Block) -> list[pa.Array]:
        """Return the key columns of a block's rows."""
        return [array.slice(block.first, block.is_known.size) for array in self.arrays]


class PredictionColumns:
    """Makes the batches of a prediction table."""

    def __init__(self, keys: KeyColumns, codec: LabelCodec) -> None:
        self._keys, self._codec = keys, codec
        taken = [field.name for field in keys.fields]
        said = [PREDICTION, *(f"{PROBABILITY}_{c}" for c in probability_classes(codec))]
        prediction, *probabilities = free_names(taken, said)
        self.schema = pa.schema(
            [
                *keys.fields,
                pa.field(prediction, _decode(codec, _no_scores(codec)).type),
                *(pa.field(name, pa.float32()) for name in probabilities),
            ]
        )

    def batch(self, block: ScoreBlock) -> pa.RecordBatch:
        """Return the rows of a block."""
        known = _decode(self._codec, block.scores[block.is_known])
        arrays = [*self._keys.rows(block), _spread(known, block.is_known)]
        if self._codec.task_type != TaskType.REGRESSION:
            arrays += [
                pa.array(column, pa.float32(), mask=~block.is_known)
                for column in _probabilities(block.scores, self._codec).T
            ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class EmbeddingColumns:
    """Makes the batches of an embedding table."""

    def __init__(self, keys: KeyColumns, num_channels: int) -> None:
        self._keys, self._num_channels = keys, num_channels
        taken = [field.name for field in keys.fields]
        (name,) = free_names(taken, [EMBEDDING])
        self.schema = pa.schema(
            [*keys.fields, pa.field(name, pa.list_(pa.float32(), num_channels))]
        )

    def batch(self, block: Block) -> pa.RecordBatch:
        """Return the rows of a block, which must hold embeddings."""
        assert block.embeddings is not None
        values = pa.array(block.embeddings.ravel(), pa.float32())
        vectors = pa.FixedSizeListArray.from_arrays(
            values, self._num_channels, mask=pa.array(~block.is_known)
        )
        return pa.RecordBatch.from_arrays([*self._keys.rows(block), vectors], schema=self.schema)


def free_names(taken: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return `wanted`, with "_2", "_3" and so on where a name is used already, in any case.

    Warehouses do not tell columns apart by case, but classes may differ in nothing else.
    """
    used = {name.casefold() for name in taken}
    names = []
    for name in wanted:
        free, count = name, 1
        while free.casefold() in used:
            count += 1
            free = f"{name}_{count}"
        used.add(free.casefold())
        names.append(free)
    return names


def probability_classes(codec: LabelCodec) -> tuple[object, ...]:
    """Return the classes that have a probability of their own; none in regression."""
    return () if codec.task_type == TaskType.REGRESSION else tuple(codec.classes)


def _decode(codec: LabelCodec, scores: NDArray[np.float32]) -> pa.Array:
    """Labels in their own type; those of a regression on whole numbers are doubles."""
    labels = codec.decode(scores)
    single = codec.task_type == TaskType.REGRESSION and codec.class_type in ("float", "halffloat")
    return labels.cast(pa.float32()) if single else labels


def _no_scores(codec: LabelCodec) -> NDArray[np.float32]:
    several = (TaskType.MULTICLASS_CLASSIFICATION, TaskType.MULTILABEL_CLASSIFICATION)
    return np.zeros((0, len(codec.classes) if codec.task_type in several else 1), np.float32)


def _probabilities(scores: NDArray[np.float32], codec: LabelCodec) -> NDArray[np.float32]:
    """One column per class; a binary task's single score is that of the second class."""
    if codec.task_type != TaskType.BINARY_CLASSIFICATION:
        return scores
    return np.concatenate([1 - scores, scores], axis=1)


def _spread(values: pa.Array, is_known: NDArray[np.bool_]) -> pa.Array:
    """Put values at the known rows and NULL at the others."""
    at = np.cumsum(is_known) - 1
    return values.take(pa.array(at, pa.int64(), mask=~is_known))
