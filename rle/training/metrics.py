"""Evaluation metrics of node tasks, exact: no binning of scores, ties counted as ties.

Every metric is computed in float64 over the whole split at once. Scores are probabilities for
classification and values for regression, as `Objective.scores` gives them.
"""

# Shapes: N rows of a split, C classes.
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rle.errors import DataError, TrainingError, UnknownNameError
from rle.spec.metric import METRICS
from rle.values import TaskType

if TYPE_CHECKING:
    from torch import Tensor

    from rle.spec.metric import EvaluationMetric


def compute(metric: EvaluationMetric, task_type: TaskType, scores: Tensor, labels: Tensor) -> float:
    """Measure `scores` against `labels`.

    Args:
        metric: Which metric; its name must belong to `task_type`.
        task_type: A node task type.
        scores: [N], [N, 1] or (classification) [N, C]; probabilities or values.
        labels: [N] 0/1 (binary), int64 [N] (multiclass), 0/1 [N, C] (multilabel), [N] (regression).

    Raises:
        UnknownNameError: The task type has no such metric.
        DataError: The metric is undefined for these labels, such as roc_auc with one class.
        TrainingError: A score is NaN or infinite: the model has diverged.
    """
    # Two seconds of importing that only the rank that measures has to spend.
    from rle.training.metric_functions import FUNCTIONS

    check_labels(metric, task_type, labels)
    scores, labels = scores.detach().cpu().double(), labels.detach().cpu()
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).sum())
        raise TrainingError(
            f"{bad} of {scores.numel()} scores are NaN or infinite, so {metric.name} cannot be "
            f"computed: the model has diverged. Lower TrainerConfig.lr."
        )
    if task_type is TaskType.BINARY_CLASSIFICATION:
        scores, labels = _positive_class(scores), labels.reshape(-1).long()
    elif task_type is TaskType.REGRESSION:
        scores, labels = scores.reshape(-1), labels.reshape(-1).double()
    else:
        labels = labels.long()
    return float(FUNCTIONS[task_type][metric.name](scores, labels))


def check_labels(metric: EvaluationMetric, task_type: TaskType, labels: Tensor) -> tuple[str, ...]:
    """Say before training whether `metric` is defined for these labels.

    Returns:
        Remarks for the user: labels of a multilabel task that cannot count, and the like.

    Raises:
        UnknownNameError: The task type has no such metric.
        DataError: The metric is undefined for these labels.
    """
    name = metric.name
    known = () if task_type.is_link else METRICS[task_type]
    if name not in known:
        raise UnknownNameError(f"metric of task type '{task_type.value}'", name, known)
    labels = labels.detach().cpu()
    if labels.shape[0] == 0:
        raise DataError(f"{name} is undefined for a split without rows.")
    if task_type is TaskType.BINARY_CLASSIFICATION:
        _check_binary(name, labels.reshape(-1))
    elif task_type is TaskType.REGRESSION:
        _check_regression(name, labels.reshape(-1).double())
    elif task_type is TaskType.MULTILABEL_CLASSIFICATION:
        return _check_multilabel(name, labels)
    return ()


def _check_binary(name: str, labels: Tensor) -> None:
    num_rows, num_positive = labels.shape[0], int((labels == 1).sum())
    if name == "roc_auc" and num_positive in (0, num_rows):
        raise DataError(
            f"roc_auc is undefined: all {num_rows} labels of the split are "
            f"{int(num_positive > 0)}. "
            f"Use a split that has both classes, or the metric 'accuracy'."
        )
    if name in {"average_precision", "f1", "recall"} and num_positive == 0:
        raise DataError(
            f"{name} is undefined: none of the {num_rows} labels of the split is positive. "
            f"Use a split that has both classes, or the metric 'accuracy'."
        )


def _check_regression(name: str, labels: Tensor) -> None:
    if name == "r2" and (labels.shape[0] < 2 or bool((labels == labels[0]).all())):
        raise DataError(
            f"r2 is undefined: the {labels.shape[0]} labels of the split do not vary. "
            f"Use the metric 'mae' or 'rmse'."
        )
    if name == "mape" and bool((labels == 0).any()):
        raise DataError(
            f"mape is undefined: {int((labels == 0).sum())} labels of the split are 0, and it "
            f"divides by the label. Use the metric 'mae' or 'rmse'."
        )


def _check_multilabel(name: str, labels: Tensor) -> tuple[str, ...]:
    if "precision" in name:
        return ()
    kept = countable_labels(name, labels)
    if name.endswith("micro"):
        usable = bool((labels == 1).any()) and ("auprc" in name or bool((labels == 0).any()))
        left_out = 0
    else:
        usable, left_out = bool(kept.any()), int((~kept).sum())
    if not usable:
        raise DataError(
            f"{name} is undefined: no label of the split occurs both with and without. "
            f"Use a split that has both, or the metric 'multilabel_precision_micro'."
        )
    if left_out:
        remark = (
            f"{name} is the mean over {int(kept.sum())} of {kept.numel()} labels; the other "
            f"{left_out} are the same in every row of the split and cannot be measured."
        )
        return (remark,)
    return ()


def countable_labels(name: str, labels: Tensor) -> Tensor:
    """Bool [C]: which labels of a multilabel task can be measured on their own."""
    some = (labels == 1).any(dim=0)
    return some if "auprc" in name else some & (labels == 0).any(dim=0)


def _positive_class(scores: Tensor) -> Tensor:
    """The probability of class 1, [N], of binary scores [N], [N, 1] or [N, 2]."""
    if scores.ndim == 2 and scores.shape[1] == 2:
        return scores[:, 1]
    return scores.reshape(-1)
