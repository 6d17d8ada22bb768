"""How unevenly classes occur in training, what that does to a metric, and weights against it."""

# Shapes: N rows, C classes.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.errors import UnknownNameError
from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.ingest.labels import LabelCodec
    from rle.spec.config import TrainerConfig

LARGE_SHARE = 0.9
"""A class with this share of the rows makes a metric of hits meaningless."""
SMALL_SHARE = 0.1
"""A class is rare below this part of its share were all classes equally frequent."""

_OF_HITS = {
    TaskType.BINARY_CLASSIFICATION: ("accuracy",),
    TaskType.MULTICLASS_CLASSIFICATION: ("accuracy", "micro_f1"),
}
_OF_HALVES = {
    TaskType.BINARY_CLASSIFICATION: ("f1", "precision", "recall"),
    TaskType.MULTILABEL_CLASSIFICATION: (
        "multilabel_precision_micro",
        "multilabel_precision_macro",
    ),
}
_BETTER = {
    TaskType.BINARY_CLASSIFICATION: "average_precision",
    TaskType.MULTICLASS_CLASSIFICATION: "macro_f1",
    TaskType.MULTILABEL_CLASSIFICATION: "multilabel_auprc_macro",
}


def count_classes(codec: LabelCodec, targets: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return int64 [C], how many rows have each class.

    Args:
        codec: Of a classification task.
        targets: What it encoded: [N] class positions, or [N, C] of 0 and 1.
    """
    if codec.task_type is TaskType.MULTILABEL_CLASSIFICATION:
        return np.asarray(targets.sum(axis=0), np.int64)
    return np.bincount(targets.astype(np.int64), minlength=len(codec.classes))


def balance_warnings(
    config: TrainerConfig, codec: LabelCodec, targets: NDArray[np.generic], *, metric: str
) -> tuple[str, ...]:
    """Say how uneven the classes of the training rows are, where that misleads or hampers.

    Args:
        config: Whether classes are weighted already.
        codec: Of the task; nothing is said for a regression.
        targets: [N] or [N, C], the encoded training labels.
        metric: Name of the evaluation metric.
    """
    if not codec.task_type.is_classification:
        return ()
    counts, num_rows = count_classes(codec, targets), targets.shape[0]
    shares = counts / num_rows
    rare, common = int(shares.argmin()), int(shares.argmax())
    is_rare = shares[rare] < SMALL_SHARE / max(2, len(codec.classes))
    is_common = shares[common] > LARGE_SHARE
    if not is_rare and not (is_common and codec.task_type in _OF_HITS):
        return ()
    names = codec.class_names
    said = (
        f"the classes of the {num_rows:,} training rows are uneven: {names[rare]!r} is the label "
        f"of {counts[rare]:,} ({shares[rare]:.2%}), {names[common]!r} of {counts[common]:,} "
        f"({shares[common]:.2%})"
    )
    better = _BETTER[codec.task_type]
    if metric in _OF_HITS.get(codec.task_type, ()):
        said += (
            f"; {metric} is misleading here, always saying {names[common]!r} has "
            f"{shares[common]:.3f}: measure {better}"
        )
    elif metric in _OF_HALVES.get(codec.task_type, ()):
        said += (
            f"; {metric} counts probabilities above a half, which a rare class seldom reaches: "
            f"measure {better}"
        )
    if config.class_weights is None:
        said += "; TrainerConfig.class_weights='balanced' lets rare classes count more"
    return (said,)


def check_class_weights(config: TrainerConfig, codec: LabelCodec) -> None:
    """Raise UnknownNameError where a weight is for a class that no training row has."""
    wanted = config.class_weights
    for name in wanted if isinstance(wanted, dict) else ():
        if name not in codec.class_names:
            raise UnknownNameError("class (TrainerConfig.class_weights)", name, codec.class_names)


def find_class_weights(
    config: TrainerConfig, codec: LabelCodec, targets: NDArray[np.generic]
) -> NDArray[np.float32] | None:
    """Return float32 [C], the weight of each class in the training loss; None for all alike.

    Balanced weights are N / (C * rows of the class), so that every class counts the same and a row
    counts 1 on average; multilabel, rows without the label / rows with it.

    Args:
        config: What was asked for.
        codec: Of the task.
        targets: [N] or [N, C], the encoded labels of the rows that are trained on.
    """
    wanted = config.class_weights
    if wanted is None:
        return None
    if isinstance(wanted, dict):
        return np.array([wanted.get(name, 1.0) for name in codec.class_names], np.float32)
    counts, num_rows = count_classes(codec, targets), targets.shape[0]
    there = np.maximum(counts, 1)  # a class may be left with unknown entities only
    if codec.task_type is TaskType.MULTILABEL_CLASSIFICATION:
        return np.asarray(np.maximum(num_rows - counts, 1) / there, np.float32)
    return np.asarray(num_rows / (len(counts) * there), np.float32)
