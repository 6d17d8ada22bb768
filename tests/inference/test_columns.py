from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rle.inference.columns import EmbeddingColumns, KeyColumns, PredictionColumns, free_names
from rle.inference.predict import ScoreBlock
from rle.ingest.labels import LabelCodec
from rle.values import TaskType

KEYS = pa.array(["a", "b", None, "d"], pa.large_string())
TIMES = pa.array([1, 2, 3, 4], pa.timestamp("us"))
COLUMNS = KeyColumns(
    (pa.field("who", KEYS.type), pa.field("when", TIMES.type)),
    (KEYS, TIMES),
)
IS_KNOWN = np.array([True, False, True])


def block(*scores, embeddings=None):
    """Rows 1 to 3 of the split, the middle one unknown."""
    rows = np.full((3, len(scores[0])), np.nan, np.float32)
    rows[IS_KNOWN] = scores
    return ScoreBlock(first=1, is_known=IS_KNOWN, scores=rows, embeddings=embeddings)


def written(task_type, labels, *scores):
    codec = LabelCodec.fit(task_type, labels)
    columns = PredictionColumns(COLUMNS, codec)
    batch = columns.batch(block(*scores))
    assert batch.schema == columns.schema
    return batch


def test_keys_and_times_come_back_as_they_were():
    batch = written(TaskType.REGRESSION, pa.array([1.0, 2.0]), [1.5], [2.5])
    assert batch.column("who").equals(KEYS.slice(1, 3))
    assert batch.column("when").equals(TIMES.slice(1, 3))


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (pa.array([0, 1], pa.int8()), pa.int8()),
        (pa.array([False, True]), pa.bool_()),
        (pa.array(["no", "yes"]), pa.string()),
    ],
)
def test_a_binary_prediction_has_the_labels_type_and_two_probabilities(labels, dtype):
    batch = written(TaskType.BINARY_CLASSIFICATION, labels, [0.25], [0.75])
    assert batch.schema.field("PREDICTION").type == dtype
    assert batch.column("PREDICTION").to_pylist() == [labels[0].as_py(), None, labels[1].as_py()]
    second = f"PROBABILITY_{labels[1].as_py()}"
    assert batch.column(f"PROBABILITY_{labels[0].as_py()}").to_pylist() == [0.75, None, 0.25]
    assert batch.column(second).to_pylist() == [0.25, None, 0.75]


def test_a_multiclass_prediction_is_the_most_probable_class():
    labels = pa.array(["x", "y", "z"])
    batch = written(TaskType.MULTICLASS_CLASSIFICATION, labels, [0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
    assert batch.column("PREDICTION").to_pylist() == ["y", None, "x"]
    assert batch.column("PROBABILITY_z").to_pylist() == pytest.approx([0.3, None, 0.2])


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_multilabel_prediction_is_a_list_even_with_one_class(num_classes):
    classes = [10, 20, 30][:num_classes]
    labels = pa.array([[c] for c in classes], pa.list_(pa.int32()))
    batch = written(
        TaskType.MULTILABEL_CLASSIFICATION,
        labels,
        [0.9, 0.1, 0.8][:num_classes],
        [0.1] * num_classes,
    )
    assert batch.schema.field("PREDICTION").type == pa.list_(pa.int32())
    first = [c for c in classes if c != 20]
    assert batch.column("PREDICTION").to_pylist() == [first, None, []]
    assert batch.schema.names[3:] == [f"PROBABILITY_{c}" for c in classes]


@pytest.mark.parametrize(
    ("dtype", "written_as"),
    [(pa.float32(), pa.float32()), (pa.float64(), pa.float64()), (pa.int16(), pa.float64())],
)
def test_a_regression_keeps_floats_and_does_not_round_to_whole_numbers(dtype, written_as):
    batch = written(TaskType.REGRESSION, pa.array([1, 2], dtype), [1.5], [2.5])
    assert batch.schema.names == ["who", "when", "PREDICTION"]
    assert batch.schema.field("PREDICTION").type == written_as
    assert batch.column("PREDICTION").to_pylist() == [1.5, None, 2.5]


def test_embeddings_are_vectors_and_null_where_unknown():
    vectors = np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32)
    columns = EmbeddingColumns(COLUMNS, 2)
    batch = columns.batch(block([0.1], [0.2], embeddings=vectors))
    assert batch.schema == columns.schema
    assert batch.schema.field("EMBEDDING").type == pa.list_(pa.float32(), 2)
    assert batch.column("EMBEDDING").to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_no_two_columns_share_a_name_in_any_case():
    assert free_names(["prediction"], ["PREDICTION", "P_a", "P_A", "P_a"]) == [
        "PREDICTION_2",
        "P_a",
        "P_A_2",
        "P_a_3",
    ]
