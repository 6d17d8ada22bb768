from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rle.errors import DataError
from rle.ingest.labels import LabelCodec
from rle.values import TaskType

BINARY, MULTI = TaskType.BINARY_CLASSIFICATION, TaskType.MULTICLASS_CLASSIFICATION
MANY, NUMBER = TaskType.MULTILABEL_CLASSIFICATION, TaskType.REGRESSION


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([True, False]),
        pa.array([1, 0], pa.int8()),
        pa.array(["yes", "no"]),
        pa.array([1.5, 0.5]),
        pa.array([Decimal("2.50"), Decimal("-1.00")], pa.decimal128(5, 2)),
        pa.array([dt.date(2021, 1, 1), dt.date(2020, 1, 1)]),
    ],
)
def test_binary_labels_come_back_in_their_own_type(labels: pa.Array) -> None:
    codec = LabelCodec.from_json(LabelCodec.fit(BINARY, labels).to_json())
    targets = codec.encode(labels)
    assert targets.dtype == np.float32
    assert targets.tolist() == [1.0, 0.0]
    decoded = codec.decode(targets[:, None])
    assert decoded.type == labels.type
    assert decoded.equals(labels)


def test_multiclass_labels_are_codes_of_sorted_classes() -> None:
    labels = pa.chunked_array([["c", "a"], ["b", "a"]])
    codec = LabelCodec.fit(MULTI, labels)
    assert codec.classes == ("a", "b", "c")
    targets = codec.encode(labels)
    assert targets.dtype == np.int64
    assert targets.tolist() == [2, 0, 1, 0]
    assert codec.decode(np.eye(3)[targets]).to_pylist() == labels.to_pylist()


def test_multilabel_rows_are_flags_per_class() -> None:
    labels = pa.array([["b", "a"], [], ["c"]])
    codec = LabelCodec.fit(MANY, labels)
    targets = codec.encode(labels)
    assert targets.dtype == np.float32
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert codec.decode(targets).to_pylist() == [["a", "b"], [], ["c"]]


def test_regression_keeps_the_scale_and_learns_it() -> None:
    codec = LabelCodec.fit(NUMBER, pa.array([1, 3]))
    assert (codec.mean, codec.std) == (2.0, 1.0)
    assert codec.encode(pa.array([5, 7])).tolist() == [5.0, 7.0]
    assert codec.decode(np.array([[0.5]], np.float32)).to_pylist() == [0.5]
    assert LabelCodec.fit(NUMBER, pa.array([4.0, 4.0])).std == 1.0


@pytest.mark.parametrize("task_type", [BINARY, MULTI, MANY, NUMBER])
def test_no_rows_decode_to_no_labels(task_type: TaskType) -> None:
    values: dict[TaskType, list[Any]] = {
        BINARY: [0, 1],
        MULTI: [0, 1, 2],
        MANY: [[0], [1]],
        NUMBER: [0, 1],
    }
    codec = LabelCodec.fit(task_type, pa.array(values[task_type]))
    width = len(codec.classes) if task_type in (MULTI, MANY) else 1
    assert len(codec.decode(np.zeros((0, width), np.float32))) == 0


@pytest.mark.parametrize(
    ("task_type", "labels", "match"),
    [
        (BINARY, pa.array([1, 1]), "one class only, 1"),
        (BINARY, pa.array([0, 1, 2]), "3 classes.*MULTICLASS"),
        (BINARY, pa.array([0, 1, None]), "1 NULL"),
        (BINARY, pa.array([0.0, np.nan]), "NaN"),
        (BINARY, pa.array([["a"], ["b"]]), "one class per row"),
        (MULTI, pa.array([0, 1]), "two classes.*BINARY"),
        (MULTI, pa.array([], pa.int64()), "no rows"),
        (MANY, pa.array(["a"]), "list of classes"),
        (MANY, pa.array([["a", None]]), "1 NULL"),
        (MANY, pa.array([[]], pa.list_(pa.string())), "empty lists only"),
        (NUMBER, pa.array(["a"]), "needs numbers"),
        (NUMBER, pa.array([True]), "needs numbers"),
        (NUMBER, pa.array([1.0, np.inf]), "holds inf in 1 rows"),
        (NUMBER, pa.array([1.0, None]), "1 NULL"),
    ],
)
def test_labels_outside_the_task_type_are_refused(
    task_type: TaskType, labels: pa.Array, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        LabelCodec.fit(task_type, labels, where="task.label")


@pytest.mark.parametrize("labels", [pa.array([0, 2]), pa.array(["0", "1"])])
def test_a_label_that_training_never_saw_is_refused(labels: pa.Array) -> None:
    with pytest.raises(DataError, match="training"):
        LabelCodec.fit(BINARY, pa.array([0, 1])).encode(labels)


@pytest.mark.parametrize(
    ("task_type", "train", "values", "expected"),
    [
        (TaskType.BINARY_CLASSIFICATION, [0, 1], [0, None, 2, 1], [1, 0, 0, 1]),
        (TaskType.BINARY_CLASSIFICATION, [0.0, 1.0], [0.0, None, math.nan, 1.0], [1, 0, 0, 1]),
        (TaskType.MULTICLASS_CLASSIFICATION, ["a", "b", "c"], ["c", None, "d"], [1, 0, 0]),
        (
            TaskType.MULTILABEL_CLASSIFICATION,
            [["a"], ["b"]],
            [["a", "b"], [], None, ["a", "x"], [None], ["b"]],
            [1, 1, 0, 0, 0, 1],
        ),
        (TaskType.REGRESSION, [1.0, 2.0], [9.0, None, math.nan, math.inf, -3.0], [1, 0, 0, 0, 1]),
    ],
)
def test_what_cannot_be_measured_is_found(task_type, train, values, expected):
    codec = LabelCodec.fit(task_type, pa.array(train))
    labels = pa.array(values, pa.array(train).type)
    found = codec.find_measurable(labels)
    assert found.tolist() == [bool(e) for e in expected]
    codec.encode(labels.filter(pa.array(found)))  # and what is found can be encoded
    chunked = pa.chunked_array([labels.slice(0, 1), labels.slice(1)])
    assert codec.find_measurable(chunked).tolist() == found.tolist()


def test_a_new_class_is_named_with_its_rows_and_the_way_out():
    codec = LabelCodec.fit(TaskType.MULTICLASS_CLASSIFICATION, pa.array(["a", "b", "c"]))
    with pytest.raises(DataError) as caught:
        codec.encode(pa.array(["a", "x", "y", "y"]), where="task.label (validation)")
    text = str(caught.value)
    assert "'task.label (validation)' holds 'y' (2 times), 'x' (1 times) in its 4 rows" in text
    assert "Add training rows of it, or leave these rows out" in text


def test_percentiles_of_a_regression_are_kept():
    codec = LabelCodec.fit(TaskType.REGRESSION, pa.array(list(range(101))))
    assert codec.percentiles == (2.0, 98.0)
    assert LabelCodec.from_json(codec.to_json()) == codec
    assert LabelCodec.fit(TaskType.BINARY_CLASSIFICATION, pa.array([0, 1])).percentiles is None
