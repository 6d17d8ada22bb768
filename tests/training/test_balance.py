from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import UnknownNameError
from rle.ingest.labels import LabelCodec
from rle.spec.config import TrainerConfig
from rle.training.balance import (
    balance_warnings,
    check_class_weights,
    count_classes,
    find_class_weights,
)
from rle.values import TaskType

BINARY, MULTI = TaskType.BINARY_CLASSIFICATION, TaskType.MULTICLASS_CLASSIFICATION
LABELS = TaskType.MULTILABEL_CLASSIFICATION


def config(class_weights: object = None) -> TrainerConfig:
    connector = DuckDBConnector(database="shop.duckdb")
    return TrainerConfig(connector=connector, device="cpu", n_epochs=1, class_weights=class_weights)


def fit(task_type: TaskType, values: list[object]) -> tuple[LabelCodec, np.ndarray]:
    labels = pa.array(values)
    codec = LabelCodec.fit(task_type, labels)
    return codec, codec.encode(labels)


def warn(task_type: TaskType, values: list[object], metric: str, weights: object = None) -> str:
    codec, targets = fit(task_type, values)
    found = balance_warnings(config(weights), codec, targets, metric=metric)
    return found[0] if found else ""


def test_even_classes_and_regressions_are_passed_over():
    assert warn(BINARY, [0, 1] * 50, "accuracy") == ""
    assert warn(BINARY, [0] * 80 + [1] * 20, "accuracy") == ""
    assert warn(MULTI, list(range(50)) * 4, "accuracy") == ""
    assert warn(LABELS, [["a"], ["b"], ["a", "b"]], "multilabel_precision_micro") == ""
    assert warn(TaskType.REGRESSION, [0.0] * 99 + [1.0], "mae") == ""


def test_a_rare_class_is_named_with_its_share_and_a_metric_that_sees_it():
    said = warn(BINARY, ["no"] * 97 + ["yes"] * 3, "accuracy")
    assert "100 training rows" in said
    assert "'yes' is the label of 3 (3.00%)" in said
    assert "always saying 'no' has 0.970: measure average_precision" in said
    assert "class_weights='balanced'" in said


def test_a_metric_that_sees_rare_classes_is_not_called_misleading():
    said = warn(BINARY, [0] * 97 + [1] * 3, "roc_auc")
    assert "3.00%" in said
    assert "misleading" not in said
    assert "measure" not in said


@pytest.mark.parametrize("metric", ["f1", "precision", "recall"])
def test_metrics_of_a_half_are_told_apart(metric: str):
    assert "seldom reaches: measure average_precision" in warn(BINARY, [0] * 97 + [1] * 3, metric)


def test_weights_that_are_there_are_not_recommended():
    assert "class_weights" not in warn(BINARY, [0] * 97 + [1] * 3, "roc_auc", "balanced")


def test_several_classes_and_labels_are_compared_with_an_even_share():
    many = ["a"] * 500 + ["b"] * 480 + ["c"] * 20
    assert "measure macro_f1" in warn(MULTI, many, "micro_f1")
    lists = [["a"]] * 990 + [["a", "b"]] * 10
    assert "measure multilabel_auprc_macro" in warn(LABELS, lists, "multilabel_precision_macro")


def test_balanced_weights_give_every_class_the_same_part_of_the_loss():
    codec, targets = fit(MULTI, ["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    weights = find_class_weights(config("balanced"), codec, targets)
    assert weights.dtype == np.float32
    assert weights * count_classes(codec, targets) == pytest.approx([100 / 3] * 3)
    assert weights[targets].mean() == pytest.approx(1.0)


def test_balanced_labels_weigh_what_is_there_against_what_is_not():
    codec, targets = fit(LABELS, [["a"], ["a", "b"], ["a"], []])
    assert find_class_weights(config("balanced"), codec, targets) == pytest.approx([1 / 3, 3.0])


def test_a_class_of_unknown_entities_only_has_a_finite_weight():
    codec, targets = fit(BINARY, [0, 0, 1])
    assert np.isfinite(find_class_weights(config("balanced"), codec, targets[:2])).all()


@pytest.mark.parametrize(
    ("values", "given", "weights"),
    [
        ([0, 0, 1], {1: 5}, [1, 5]),
        ([0, 0, 1], {"1": 5.5, "0": 2}, [2, 5.5]),
        ([False, True], {True: 3}, [1, 3]),
        (["no", "yes"], {"no": 0.5}, [0.5, 1]),
        ([0.0, 2.5], {2.5: 7}, [1, 7]),
    ],
)
def test_weights_are_given_by_the_class_as_text(values, given, weights):
    codec, targets = fit(BINARY, values)
    check_class_weights(config(given), codec)
    assert find_class_weights(config(given), codec, targets).tolist() == weights


def test_a_weight_for_a_class_that_is_not_there_suggests_the_nearest():
    codec, _ = fit(MULTI, ["store", "web", "phone"])
    with pytest.raises(UnknownNameError, match="Did you mean 'store'"):
        check_class_weights(config({"Stores": 2.0}), codec)
    with pytest.raises(UnknownNameError, match="Known: 'phone', 'store', 'web'"):
        check_class_weights(config({"9": 2.0}), codec)


def test_no_weights_are_none():
    codec, targets = fit(BINARY, [0, 1])
    assert find_class_weights(config(), codec, targets) is None
