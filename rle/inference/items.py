"""Ranked items of each row: as lists in one row, or flat, one row per item.

A link prediction has PREDICTION, the list of the best destinations' own keys, and SCORE, the list
of their scores, best first; both are empty where there is nothing to rank, and NULL where the
source is not in the graph. Flat, of link and multilabel tasks, PREDICTION and SCORE are one item
and its score, and RANK counts from 1; a multilabel row has every class with its probability. A test
row without any item has one flat row, in which all three are NULL, so that none is missing.

Shapes: n rows of a block, k ranks, m items in all, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.errors import ValidationError
from rle.inference.columns import PREDICTION, free_names
from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.inference.columns import Block, KeyColumns
    from rle.inference.predict import ScoreBlock
    from rle.inference.rankings import RankedRows
    from rle.ingest.labels import LabelCodec

SCORE = "SCORE"
RANK = "RANK"


def check_flatten_output(task_type: TaskType) -> None:
    """Raise ValidationError where predictions of a task are no lists, so cannot be flat."""
    if not task_type.is_link and task_type is not TaskType.MULTILABEL_CLASSIFICATION:
        raise ValidationError(
            f"flatten_output=True is for tasks that predict lists (multilabel and link tasks); a "
            f"{task_type.value} task has one prediction per row. Leave it out."
        )


class ListColumns:
    """Makes the batches of a link prediction table with lists."""

    def __init__(self, keys: KeyColumns, destinations: pa.Array) -> None:
        """Args: `destinations` [T] are the keys of the target table, in row order."""
        self._keys, self._destinations = keys, destinations
        prediction, score = free_names([f.name for f in keys.fields], [PREDICTION, SCORE])
        self.schema = pa.schema(
            [
                *keys.fields,
                pa.field(prediction, pa.list_(destinations.type)),
                pa.field(score, pa.list_(pa.float32())),
            ]
        )

    def batch(self, block: RankedRows) -> pa.RecordBatch:
        """Return the rows of a block."""
        is_ranked = block.targets >= 0
        offsets = pa.array(np.cumsum([0, *is_ranked.sum(axis=1)]), pa.int32())
        items = self._destinations.take(pa.array(block.targets[is_ranked]))
        scores = pa.array(block.scores[is_ranked], pa.float32())
        unknown = pa.array(~block.is_known)
        lists = [pa.ListArray.from_arrays(offsets, x, mask=unknown) for x in (items, scores)]
        return pa.RecordBatch.from_arrays([*self._keys.rows(block), *lists], schema=self.schema)


class ItemColumns:
    """Makes the batches of a link prediction table with one row per destination."""

    def __init__(self, keys: KeyColumns, destinations: pa.Array) -> None:
        """Args: `destinations` [T] are the keys of the target table, in row order."""
        self._keys, self._destinations = keys, destinations
        self.schema = _flat_schema(keys, destinations.type)

    def batch(self, block: RankedRows) -> pa.RecordBatch:
        """Return the items of a block's rows."""
        is_ranked = block.targets >= 0
        items = self._destinations.take(pa.array(block.targets[is_ranked]))
        count = is_ranked.sum(axis=1)
        return _flat(self._keys, block, count, items, block.scores[is_ranked], self.schema)


class ClassColumns:
    """Makes the batches of a multilabel prediction table with one row per class."""

    def __init__(self, keys: KeyColumns, codec: LabelCodec) -> None:
        # Row c of the identity has class c alone, in the labels' own type.
        self._classes = codec.decode(np.eye(len(codec.classes), dtype=np.float32)).flatten()
        self._keys = keys
        self.schema = _flat_schema(keys, self._classes.type)

    def batch(self, block: ScoreBlock) -> pa.RecordBatch:
        """Return the classes of a block's rows, the most probable first."""
        scores = block.scores[block.is_known]
        order = np.argsort(-scores, axis=1, kind="stable")
        best = np.take_along_axis(scores, order, axis=1)
        count = block.is_known * len(self._classes)
        items = self._classes.take(pa.array(order.reshape(-1)))
        return _flat(self._keys, block, count, items, best.reshape(-1), self.schema)


def _flat_schema(keys: KeyColumns, item_type: pa.DataType) -> pa.Schema:
    names = free_names([f.name for f in keys.fields], [PREDICTION, SCORE, RANK])
    types = (item_type, pa.float32(), pa.int32())
    return pa.schema([*keys.fields, *map(pa.field, names, types)])


def _flat(
    keys: KeyColumns,
    block: Block,
    count: NDArray[np.integer],
    items: pa.Array,
    scores: NDArray[np.float32],
    schema: pa.Schema,
) -> pa.RecordBatch:
    """One row per item; one of NULLs for a row whose count is 0.

    Args:
        keys: Repeated for each item.
        block: Whose rows these are.
        count: [n], items of each row.
        items: [m], row by row, best first.
        scores: float32 [m].
        schema: Of the result.
    """
    lines = np.maximum(count, 1)
    row = np.repeat(np.arange(lines.size), lines)
    rank = np.arange(row.size) - np.repeat(np.cumsum(lines) - lines, lines)
    is_item = rank < count[row]
    at = pa.array(np.cumsum(is_item) - 1, mask=~is_item)
    repeated = [array.take(pa.array(row)) for array in keys.rows(block)]
    ranks = pa.array((rank + 1).astype(np.int32), mask=~is_item)
    columns = [*repeated, items.take(at), pa.array(scores, pa.float32()).take(at), ranks]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
