"""Every metric against scikit-learn, ties included, and the cases where one is undefined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import DataError, TrainingError, UnknownNameError
from rle.ingest.labels import LabelCodec
from rle.spec.metric import METRICS, EvaluationMetric
from rle.training.metric_functions import FUNCTIONS
from rle.training.metrics import check_labels, compute
from rle.values import TaskType

BINARY, MULTICLASS = TaskType.BINARY_CLASSIFICATION, TaskType.MULTICLASS_CLASSIFICATION
MULTILABEL, REGRESSION = TaskType.MULTILABEL_CLASSIFICATION, TaskType.REGRESSION

REFERENCE = {
    (BINARY, "roc_auc"): sk.roc_auc_score,
    (BINARY, "average_precision"): sk.average_precision_score,
    (BINARY, "accuracy"): lambda y, p: sk.accuracy_score(y, p >= 0.5),
    (BINARY, "f1"): lambda y, p: sk.f1_score(y, p >= 0.5, zero_division=0),
    (BINARY, "precision"): lambda y, p: sk.precision_score(y, p >= 0.5, zero_division=0),
    (BINARY, "recall"): lambda y, p: sk.recall_score(y, p >= 0.5, zero_division=0),
    (MULTICLASS, "macro_f1"): lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    (MULTICLASS, "micro_f1"): lambda y, p: sk.f1_score(y, p.argmax(1), average="micro"),
    (MULTICLASS, "accuracy"): lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    (MULTILABEL, "multilabel_auroc_macro"): lambda y, p: sk.roc_auc_score(y, p, average="macro"),
    (MULTILABEL, "multilabel_auroc_micro"): lambda y, p: sk.roc_auc_score(y, p, average="micro"),
    (MULTILABEL, "multilabel_auprc_macro"): lambda y, p: sk.average_precision_score(
        y, p, average="macro"
    ),
    (MULTILABEL, "multilabel_auprc_micro"): lambda y, p: sk.average_precision_score(
        y, p, average="micro"
    ),
    (MULTILABEL, "multilabel_precision_macro"): lambda y, p: sk.precision_score(
        y, p >= 0.5, average="macro", zero_division=0
    ),
    (MULTILABEL, "multilabel_precision_micro"): lambda y, p: sk.precision_score(
        y, p >= 0.5, average="micro", zero_division=0
    ),
    (REGRESSION, "rmse"): sk.root_mean_squared_error,
    (REGRESSION, "mae"): sk.mean_absolute_error,
    (REGRESSION, "r2"): sk.r2_score,
    (REGRESSION, "mape"): sk.mean_absolute_percentage_error,
}


def random_split(task_type: TaskType, num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a grid of 21 values, so that most are tied, and labels that hang on them."""
    rng = np.random.default_rng(seed)
    if task_type is REGRESSION:
        labels = rng.normal(size=num_rows).astype(np.float32) * 10 + 50
        return np.round(labels + rng.normal(size=num_rows)).astype(np.float32), labels
    if task_type is MULTICLASS:
        counts = rng.integers(0, 4, (num_rows, 5)) + np.array([0, 0, 1, 0, 0])
        scores = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
        labels = np.where(
            rng.random(num_rows) < 0.5, scores.argmax(1), rng.integers(0, 5, num_rows)
        )
        return scores, labels
    shape = (num_rows,) if task_type is BINARY else (num_rows, 4)
    scores = (rng.integers(0, 21, shape) / 20).astype(np.float32)
    labels = (rng.random(shape) < 0.2 + 0.6 * scores).astype(np.float32)
    labels[0], labels[1] = 0, 1
    return scores, labels


@pytest.mark.parametrize(("task_type", "name"), REFERENCE, ids=lambda x: str(x))
@pytest.mark.parametrize("num_rows", [40, 20_000])
def test_metric_equals_scikit_learn(task_type, name, num_rows):
    scores, labels = random_split(task_type, num_rows, seed=num_rows)
    value = compute(
        EvaluationMetric(name), task_type, torch.from_numpy(scores), torch.from_numpy(labels)
    )
    assert value == pytest.approx(REFERENCE[task_type, name](labels, scores), rel=1e-6, abs=1e-7)


def test_every_metric_of_the_spec_can_be_computed_and_was_compared():
    node_types = [task_type for task_type in TaskType if not task_type.is_link]
    for task_type in node_types:
        assert set(FUNCTIONS[task_type]) == set(METRICS[task_type])
        assert {name for kind, name in REFERENCE if kind is task_type} == set(METRICS[task_type])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=30))
@settings(deadline=None, max_examples=60)
def test_roc_auc_is_the_share_of_ordered_pairs_and_a_tie_is_half(rows):
    scores = np.array([score / 3 for score, _ in rows], np.float32)
    labels = np.array([label for _, label in rows], np.float32)
    positives, negatives = scores[labels == 1], scores[labels == 0]
    metric = EvaluationMetric("roc_auc")
    if not len(positives) or not len(negatives):
        with pytest.raises(DataError, match="roc_auc is undefined"):
            compute(metric, BINARY, torch.from_numpy(scores), torch.from_numpy(labels))
        return
    gaps = positives[:, None] - negatives[None, :]
    expected = np.mean((gaps > 0) + 0.5 * (gaps == 0))
    got = compute(metric, BINARY, torch.from_numpy(scores), torch.from_numpy(labels))
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("task_type", [BINARY, MULTICLASS, MULTILABEL])
def test_a_metric_counts_what_the_prediction_table_says(task_type):
    scores, labels = random_split(task_type, 500, seed=7)
    several = {BINARY: [0, 1], MULTICLASS: [*range(5)], MULTILABEL: [[0, 1, 2, 3]]}
    codec = LabelCodec.fit(task_type, pa.array(several[task_type]))
    said = codec.decode(scores.reshape(500, -1)).to_pylist()
    assert (scores == 0.5).any() or task_type is MULTICLASS
    if task_type is MULTILABEL:
        hits = [labels[i, c] for i, classes in enumerate(said) for c in classes]
        name, expected = "multilabel_precision_micro", np.mean(hits)
    else:
        name, expected = "accuracy", np.mean(np.array(said) == labels)
    found = compute(
        EvaluationMetric(name), task_type, torch.from_numpy(scores), torch.from_numpy(labels)
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_binary_scores_may_be_a_column_or_two_classes():
    scores, labels = (torch.from_numpy(a) for a in random_split(BINARY, 50, seed=3))
    metric = EvaluationMetric("roc_auc")
    flat = compute(metric, BINARY, scores, labels)
    assert compute(metric, BINARY, scores[:, None], labels) == flat
    assert compute(metric, BINARY, torch.stack([1 - scores, scores], 1), labels) == flat


def test_macro_f1_leaves_out_a_class_that_neither_occurs_nor_is_predicted():
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    labels = torch.tensor([0, 1, 1])
    expected = sk.f1_score(labels, scores.argmax(1), average="macro")
    assert compute(EvaluationMetric("macro_f1"), MULTICLASS, scores, labels) == pytest.approx(
        expected
    )


def test_multilabel_macro_is_over_the_labels_that_vary_and_says_so():
    scores, labels = (torch.from_numpy(a) for a in random_split(MULTILABEL, 60, seed=4))
    labels[:, 2] = 0
    metric = EvaluationMetric("multilabel_auroc_macro")
    kept = [0, 1, 3]
    expected = sk.roc_auc_score(labels[:, kept], scores[:, kept], average="macro")
    assert compute(metric, MULTILABEL, scores, labels) == pytest.approx(expected)
    (remark,) = check_labels(metric, MULTILABEL, labels)
    assert "3 of 4 labels" in remark


@pytest.mark.parametrize(
    ("task_type", "name", "labels", "message"),
    [
        (BINARY, "roc_auc", [1.0, 1.0], "all 2 labels of the split are 1"),
        (BINARY, "average_precision", [0.0, 0.0], "none of the 2 labels"),
        (BINARY, "f1", [0.0], "none of the 1 labels"),
        (BINARY, "accuracy", [], "a split without rows"),
        (REGRESSION, "r2", [3.0, 3.0], "do not vary"),
        (REGRESSION, "mape", [0.0, 3.0], "1 labels of the split are 0"),
        (MULTILABEL, "multilabel_auroc_macro", [[1.0, 0.0]], "undefined"),
        (MULTILABEL, "multilabel_auprc_micro", [[0.0, 0.0]], "undefined"),
    ],
)
def test_an_undefined_metric_is_an_error_that_says_why(task_type, name, labels, message):
    labels = torch.tensor(labels)
    with pytest.raises(DataError, match=message):
        compute(EvaluationMetric(name), task_type, torch.zeros(labels.shape), labels)


def test_a_metric_of_another_task_type_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="no metric of task type 'regression'"):
        compute(EvaluationMetric("roc_auc"), REGRESSION, torch.zeros(2), torch.zeros(2))


def test_scores_that_are_not_finite_are_a_training_error():
    scores, labels = torch.tensor([0.1, float("nan")]), torch.tensor([0.0, 1.0])
    with pytest.raises(TrainingError, match="1 of 2 scores"):
        compute(EvaluationMetric("roc_auc"), BINARY, scores, labels)
