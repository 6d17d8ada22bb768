from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rle.errors import ValidationError
from rle.inference.columns import KeyColumns
from rle.inference.items import ClassColumns, check_flatten_output
from rle.inference.predict import ScoreBlock
from rle.ingest.labels import LabelCodec
from rle.values import TaskType

KEYS = pa.array(["a", "b", "c", "d"])
COLUMNS = KeyColumns((pa.field("rank", KEYS.type),), (KEYS,))


def test_a_flat_multilabel_row_has_every_class_the_most_probable_first():
    codec = LabelCodec.fit(
        TaskType.MULTILABEL_CLASSIFICATION, pa.array([[10, 20], [30]], pa.list_(pa.int16()))
    )
    columns = ClassColumns(COLUMNS, codec)
    is_known = np.array([True, False, True])
    scores = np.array([[0.2, 0.9, 0.2], [np.nan] * 3, [0.1, 0.3, 0.7]], np.float32)
    batch = columns.batch(ScoreBlock(first=1, is_known=is_known, scores=scores, embeddings=None))
    assert batch.schema == columns.schema
    assert batch.schema.names == ["rank", "PREDICTION", "SCORE", "RANK_2"]
    assert batch.schema.field("PREDICTION").type == pa.int16()
    assert batch.column("rank").to_pylist() == ["b"] * 3 + ["c"] + ["d"] * 3
    assert batch.column("PREDICTION").to_pylist() == [20, 10, 30, None, 30, 20, 10]
    assert batch.column("SCORE").to_pylist() == pytest.approx([0.9, 0.2, 0.2, None, 0.7, 0.3, 0.1])
    assert batch.column("RANK_2").to_pylist() == [1, 2, 3, None, 1, 2, 3]


@pytest.mark.parametrize("task_type", TaskType)
def test_only_lists_can_be_flat(task_type):
    if task_type.is_link or task_type is TaskType.MULTILABEL_CLASSIFICATION:
        check_flatten_output(task_type)
        return
    with pytest.raises(ValidationError, match=f"a {task_type.value} task has one prediction"):
        check_flatten_output(task_type)
