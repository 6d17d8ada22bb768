"""The formula of every node metric: torchmetrics where it has one.

Apart from `metrics`, because importing torchmetrics takes seconds that only one rank must spend.
"""

# Shapes: N rows of a split, C classes.
from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
import torchmetrics.functional as tm

from rle.training.metrics import countable_labels
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

THRESHOLD = math.nextafter(0.5, 0.0)
"""A class is predicted where its probability is above this: from 0.5 on, as `LabelCodec.decode` has
it, so that a metric says of the prediction table what one finds in it."""


def _per_class(name: str, one: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The mean of `one` over the labels of a multilabel task that can be measured."""

    def macro(scores: Tensor, labels: Tensor) -> Tensor:
        kept = torch.nonzero(countable_labels(name, labels)).reshape(-1).tolist()
        return torch.stack([one(scores[:, c], labels[:, c]).double() for c in kept]).mean()

    return macro


def _flat(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The metric over all (row, label) pairs of a multilabel task as one list."""
    return lambda scores, labels: one(scores.reshape(-1), labels.reshape(-1))


def _auroc(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.binary_auroc(scores, labels, thresholds=None)


def _average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.binary_average_precision(scores, labels, thresholds=None)


def _precision_micro(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.binary_precision(scores, labels, threshold=THRESHOLD)


def _precision_macro(scores: Tensor, labels: Tensor) -> Tensor:
    columns = range(labels.shape[1])
    each = [_precision_micro(scores[:, c], labels[:, c]).double() for c in columns]
    return torch.stack(each).mean()


def _macro_f1(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.multiclass_f1_score(scores, labels, scores.shape[1], average="macro")


def _micro_f1(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.multiclass_f1_score(scores, labels, scores.shape[1], average="micro")


def _multiclass_accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.classification.multiclass_accuracy(scores, labels, scores.shape[1], average="micro")


def _rmse(scores: Tensor, labels: Tensor) -> Tensor:
    return tm.mean_squared_error(scores, labels, squared=False)


FUNCTIONS: Mapping[TaskType, Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    TaskType.BINARY_CLASSIFICATION: {
        "roc_auc": _auroc,
        "average_precision": _average_precision,
        "accuracy": partial(tm.classification.binary_accuracy, threshold=THRESHOLD),
        "f1": partial(tm.classification.binary_f1_score, threshold=THRESHOLD),
        "precision": partial(tm.classification.binary_precision, threshold=THRESHOLD),
        "recall": partial(tm.classification.binary_recall, threshold=THRESHOLD),
    },
    TaskType.MULTICLASS_CLASSIFICATION: {
        "macro_f1": _macro_f1,
        "micro_f1": _micro_f1,
        "accuracy": _multiclass_accuracy,
    },
    TaskType.MULTILABEL_CLASSIFICATION: {
        "multilabel_auroc_macro": _per_class("multilabel_auroc_macro", _auroc),
        "multilabel_auroc_micro": _flat(_auroc),
        "multilabel_auprc_macro": _per_class("multilabel_auprc_macro", _average_precision),
        "multilabel_auprc_micro": _flat(_average_precision),
        "multilabel_precision_macro": _precision_macro,
        "multilabel_precision_micro": _flat(_precision_micro),
    },
    TaskType.REGRESSION: {
        "rmse": _rmse,
        "mae": tm.mean_absolute_error,
        "r2": tm.r2_score,
        "mape": tm.mean_absolute_percentage_error,
    },
}
"""For each node task type, its metrics: (scores, labels) -> scalar."""
