"""Evaluation metrics of link tasks, row by row as rankings come in, exact over workers.

Each is the mean over the rows that have a target, as RelBench defines them; k is the length of the
list that is looked at, n the number of the row's targets:

- link_prediction_precision: hits / k, also where there are fewer than k destinations to rank;
- link_prediction_recall: hits / n;
- link_prediction_map: the sum, over the hits, of the precision down to that hit, / min(k, n).

torchmetrics' RetrievalMAP divides by the number of hits found instead of min(k, n), so that a list
with one hit at its top is perfect however many targets it misses: not what is meant here.
"""

# Shapes: n rows of a block, k ranks, M targets.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.errors import DataError, UnknownNameError
from rle.spec.metric import METRICS
from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.spec.metric import EvaluationMetric
    from rle.training.ranks import Ranks

NAMES = METRICS[TaskType.LINK_PREDICTION]
ONE = 2**32
"""What a perfect row counts. Values of rows are rounded to a part in ONE and summed as whole
numbers, so that the sum is the same bit for bit in whatever order, and on whatever worker, rows
come; the rounding is 1e-10 of a row's value, and two thousand million rows fit."""


class LinkMeter:
    """Adds up what rankings are worth.

    Args:
        k: Length of the lists.
        ranks: The workers that share the rows; None where this process sees all of them.
    """

    def __init__(self, k: int, ranks: Ranks | None = None) -> None:
        self.k, self._ranks = k, ranks
        self._sums = np.zeros(len(NAMES) + 1, np.int64)

    def add(
        self, ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.integer]
    ) -> None:
        """Add some rows.

        Args:
            ranked: [n, k] distinct rows of the target table, best first, -1 after the last.
            offsets: int64 [n + 1], where each row's targets begin in `targets`.
            targets: [M] rows of the target table, distinct within a row.
        """
        values = row_values(ranked[:, : self.k], offsets, targets, k=self.k)
        has_targets = np.diff(offsets) > 0
        self._sums[-1] += int(has_targets.sum())
        for i, name in enumerate(NAMES):
            self._sums[i] += np.rint(values[name][has_targets] * ONE).astype(np.int64).sum()

    def compute(self) -> dict[str, float]:
        """Every metric over all rows of all workers, which call this together.

        Raises:
            DataError: No row has a target.
        """
        sums = self._sums
        if self._ranks is not None:
            device = self._ranks.device
            sums = self._ranks.sum_(torch.from_numpy(sums.copy()).to(device)).cpu().numpy()
        num_rows = int(sums[-1])
        if num_rows == 0:
            raise DataError(
                "Link metrics are undefined: no row of the split has a target that is in the "
                "target table."
            )
        return {name: int(sums[i]) / ONE / num_rows for i, name in enumerate(NAMES)}


def row_values(
    ranked: NDArray[np.integer],
    offsets: NDArray[np.int64],
    targets: NDArray[np.integer],
    *,
    k: int,
) -> dict[str, NDArray[np.float64]]:
    """Each metric of each row, float64 [n]; 0 where a row has no target. See `LinkMeter.add`."""
    num_targets = np.diff(offsets)
    is_hit = _is_hit(ranked, offsets, targets)
    hits = np.cumsum(is_hit, axis=1)
    found = is_hit.sum(axis=1)
    precision = hits / np.arange(1, ranked.shape[1] + 1)
    return {
        "link_prediction_map": (precision * is_hit).sum(axis=1)
        / np.maximum(np.minimum(num_targets, k), 1),
        "link_prediction_precision": found / k,
        "link_prediction_recall": found / np.maximum(num_targets, 1),
    }


def check_link_metric(metric: EvaluationMetric, task_type: TaskType, num_with_targets: int) -> None:
    """Say before training whether `metric` can be measured.

    Args:
        metric: The metric.
        task_type: Of the task.
        num_with_targets: Rows of the split that have a target in the target table.

    Raises:
        UnknownNameError: The task type has no such metric.
        DataError: No row has a target.
    """
    if not task_type.is_link or metric.name not in NAMES:
        raise UnknownNameError(
            f"metric of task type '{task_type.value}'", metric.name, METRICS[task_type]
        )
    if num_with_targets == 0:
        raise DataError(
            f"{metric.name} is undefined: no row of the split has a target that is in the target "
            "table."
        )


def _is_hit(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """[n, k]: whether each ranked destination is among the targets of its row."""
    if targets.size == 0 or ranked.size == 0:
        return np.zeros(ranked.shape, bool)
    # One number per (row, destination), so that a single sorted list holds all targets.
    width = int(max(targets.max(), ranked.max())) + 2
    row = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    wanted = np.sort(row * width + targets + 1)
    asked = np.arange(ranked.shape[0])[:, None] * width + ranked + 1
    at = np.minimum(np.searchsorted(wanted, asked), wanted.size - 1)
    is_hit: NDArray[np.bool_] = (wanted[at] == asked) & (ranked >= 0)
    return is_hit
