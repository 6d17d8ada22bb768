"""What trees are grown for: a task, its metric, and the randomness.

Shapes: N rows of a split, C scores of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.baseline.report import MethodScore
from rle.baseline.trivial import trivial_name, trivial_scores
from rle.errors import DataError
from rle.training.metrics import compute
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rle.spec.metric import EvaluationMetric

    Labels = NDArray[np.generic]
    Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Aim:
    """A node task as trees see it."""

    task_type: TaskType
    metric: EvaluationMetric
    num_classes: int
    """Classes of a classification; 0 in a regression."""
    seed: int

    def measure(self, scores: Float32Array, labels: Labels) -> float:
        """The metric as training computes it; see `rle.training.metrics.compute`."""
        given = torch.from_numpy(np.array(scores)), torch.from_numpy(np.array(labels))
        return compute(self.metric, self.task_type, *given)

    def compare(
        self,
        labels: Mapping[Split, Labels],
        methods: Mapping[str, Mapping[Split, Float32Array]],
    ) -> tuple[MethodScore, ...]:
        """Measure methods, and behind them what is reached without a feature.

        Args:
            labels: Of every split; the training labels say what is trivial.
            methods: By name, scores [N, C] of the validation split, and perhaps of the test split.
        """
        measured = next(iter(methods.values()))
        trivial = {split: self._trivial(labels[Split.TRAIN], labels[split]) for split in measured}
        name = trivial_name(self.task_type, self.metric)
        return tuple(
            MethodScore(
                method=method,
                validation=self.measure(scores[Split.VALIDATION], labels[Split.VALIDATION]),
                test=self._measure_test(scores, labels),
            )
            for method, scores in {**methods, name: trivial}.items()
        )

    def _trivial(self, known: Labels, labels: Labels) -> Float32Array:
        return trivial_scores(
            self.task_type,
            self.metric,
            known,
            num_rows=len(labels),
            num_classes=self.num_classes,
        )

    def _measure_test(
        self, scores: Mapping[Split, Float32Array], labels: Mapping[Split, Labels]
    ) -> float | None:
        if Split.TEST not in scores:
            return None
        try:
            return self.measure(scores[Split.TEST], labels[Split.TEST])
        except DataError:  # such as one class only: no reason to lose the rest
            return None
