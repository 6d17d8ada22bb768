"""What is reached without looking at a single feature.

Shapes: N rows, C scores of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.spec.metric import EvaluationMetric

NAMES = {
    TaskType.REGRESSION: "{} of the training labels",
    TaskType.BINARY_CLASSIFICATION: "share of the second class",
    TaskType.MULTICLASS_CLASSIFICATION: "share of each class",
    TaskType.MULTILABEL_CLASSIFICATION: "share of each label",
}


def trivial_name(task_type: TaskType, metric: EvaluationMetric) -> str:
    """Name of the trivial method, for people."""
    return NAMES[task_type].format("median" if _is_absolute(metric) else "mean")


def trivial_scores(
    task_type: TaskType,
    metric: EvaluationMetric,
    labels: NDArray[np.generic],
    *,
    num_rows: int,
    num_classes: int,
) -> NDArray[np.float32]:
    """Return the same scores for every row, float32 [N, C].

    Args:
        task_type: A node task's.
        metric: A regression's is best met by the median or by the mean.
        labels: Of the training rows, encoded.
        num_rows: N.
        num_classes: Classes of a multiclass task.
    """
    found: Any
    if task_type is TaskType.REGRESSION:
        values = np.asarray(labels, np.float64)
        found = [np.median(values) if _is_absolute(metric) else values.mean()]
    elif task_type is TaskType.MULTICLASS_CLASSIFICATION:
        found = np.bincount(np.asarray(labels, np.int64), minlength=num_classes) / len(labels)
    else:
        found = np.atleast_1d(np.asarray(labels, np.float64).mean(axis=0))
    return np.tile(np.asarray(found, np.float32), (num_rows, 1))


def _is_absolute(metric: EvaluationMetric) -> bool:
    return metric.name in ("mae", "mape")
