"""The model and the baseline together: a blend of both, and trees that correct it.

The model has learnt from the training rows, so that what it says of them is too good to learn from.
Everything here is learnt from validation rows alone.

1. *Blend.* Both speak on the same raw scale (log odds, log probabilities, values). Of a few fixed
   weights the one that is best on the validation split is taken; all or nothing among them. One
   number out of five is chosen, as the model's best epoch was on the same rows.
2. *Correct.* Trees begin with the blend, and read its parts, the model's vectors and the features
   of the baseline. They learn from the first half of the validation rows in time, stop by the next
   quarter, and count only if they beat the blend on the last quarter, which they never saw. Then
   they learn once more from all validation rows, for as many rounds as were best.

Shapes: N rows, F features, C scores of a row, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rle.baseline.boost import Boosted, Rows, as_scores, train
from rle.errors import DataError
from rle.spec.metric import EvaluationMetric
from rle.training.state import Measured
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rle.baseline.aim import Aim

    Float32Array = NDArray[np.float32]
    Labels = NDArray[np.generic]

Choice = Literal["model", "baseline", "stack"]
WEIGHTS = (1.0, 0.0, 0.5, 0.25, 0.75)
"""Parts of the model that are tried, the simpler first: of equal ones the first is taken."""
SHARES = (0.5, 0.75)
"""Where the validation rows are cut, as shares of them."""
MIN_GAIN = 1e-3
"""Part of the blend's metric that trees on top must gain to be worth keeping."""
MIN_ROWS = 200
"""Validation rows below which nothing is stacked."""
MAX_ROUNDS = 300
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_data_in_leaf": 40,
    "lambda_l2": 10.0,
    "feature_fraction": 0.3,
}
"""Careful trees: there are few rows to learn from."""
NEVER = 1e-7
"""Probabilities are kept this far from 0 and 1."""


class StackReport(Measured):
    """Which of model, baseline and their stack is kept, and why."""

    metric: EvaluationMetric
    model: float
    """The metric of the model alone on all validation rows."""
    baseline: float
    """Of the baseline alone on the same rows."""
    blend: float
    """Of the best blend of both on the same rows; all or nothing is a blend too."""
    weight: float
    """The model's part in the blend, 0 to 1."""
    num_rows: tuple[int, int, int]
    """Validation rows that trees learnt from, stopped by, and were judged on."""
    last_blend: float
    """The metric of the blend on the rows that trees were judged on."""
    last_corrected: float
    """Of the blend with trees on top on the same rows."""
    num_rounds: tuple[int, ...] = ()
    """Rounds of these trees, one number per model; empty where they did not beat the blend."""

    @property
    def chosen(self) -> Choice:
        """What predictions of the saved model are made with."""
        if self.num_rounds or 0 < self.weight < 1:
            return "stack"
        return "model" if self.weight else "baseline"

    def __str__(self) -> str:
        kept = {
            "model": "The GNN alone is kept",
            "baseline": "The baseline alone is kept, so that LightGBM predicts",
            "stack": f"A stack is kept: {self.weight:.0%} GNN, {1 - self.weight:.0%} baseline"
            + (", corrected by trees" if self.num_rounds else ""),
        }
        return (
            f"{kept[self.chosen]}. {self.metric.name} on the validation split: GNN "
            f"{self.model:.4f}, baseline {self.baseline:.4f}, blend {self.blend:.4f}; on its last "
            f"{self.num_rows[2]} rows: blend {self.last_blend:.4f}, with trees on top "
            f"{self.last_corrected:.4f}."
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of some rows."""

    features: Float32Array
    """float32 [N, F], of the baseline's plan."""
    baseline: Float32Array
    """float32 [N, C], scores of the baseline."""
    model: Float32Array
    """float32 [N, C], scores of the model."""
    embeddings: Float32Array
    """float32 [N, D], the vectors that the model's scores are made of."""

    def columns(self, task_type: TaskType) -> Float32Array:
        """Float32 [N, F + 2 C + D]: all of it side by side, scores on their raw scale."""
        parts = (
            self.features,
            as_raw(self.baseline, task_type),
            as_raw(self.model, task_type),
            self.embeddings,
        )
        return np.concatenate(parts, axis=1).astype(np.float32)

    def blend(self, task_type: TaskType, weight: float) -> Float32Array:
        """Float32 [N, C]: the weighted mean of both on their raw scale."""
        model, baseline = as_raw(self.model, task_type), as_raw(self.baseline, task_type)
        return (weight * model + (1 - weight) * baseline).astype(np.float32)


def as_raw(scores: Float32Array, task_type: TaskType) -> NDArray[np.float64]:
    """Turn scores [N, C] into log odds or log probabilities; values of a regression stay."""
    wide = np.asarray(scores, np.float64)
    if task_type is TaskType.REGRESSION:
        return wide
    kept = np.clip(wide, NEVER, 1 - NEVER)
    logs = np.log(kept)
    return logs if task_type is TaskType.MULTICLASS_CLASSIFICATION else logs - np.log1p(-kept)


def predict(
    evidence: Evidence, task_type: TaskType, *, weight: float, trees: Boosted | None
) -> Float32Array:
    """Scores of a stack, float32 [N, C]."""
    if trees is None and weight in (0.0, 1.0):
        return evidence.model if weight else evidence.baseline
    start = evidence.blend(task_type, weight)
    if trees is None:
        return as_scores(start, task_type)
    return trees.predict(evidence.columns(task_type), start)


def fit_stack(
    aim: Aim,
    evidence: Evidence,
    labels: Labels,
    times: NDArray[np.int64],
    *,
    on_round: Callable[[int, int], None] | None = None,
) -> tuple[StackReport, Boosted | None]:
    """Learn from validation rows how to join model and baseline.

    Args:
        aim: The task.
        evidence: Of the validation rows.
        labels: Of them, encoded.
        times: int64 [N], nanoseconds.
        on_round: Called with rounds done and rounds at most.

    Returns:
        What it is worth, and the trees on top; None where they do not count.

    Raises:
        DataError: There are too few rows, or the metric is undefined on the last of them.
    """
    if len(labels) < MIN_ROWS:
        raise DataError(
            f"{len(labels)} validation rows are too few to learn a stack from; it takes {MIN_ROWS}."
        )

    def blended(weight: float, rows: Any = slice(None)) -> float:
        scores = predict(evidence, aim.task_type, weight=weight, trees=None)
        return aim.measure(scores[rows], labels[rows])

    values = {weight: blended(weight) for weight in WEIGHTS}
    weight = _best(aim, values)
    part = cut_by_time(times, seed=aim.seed)
    columns, start = evidence.columns(aim.task_type), evidence.blend(aim.task_type, weight)

    def rows(chosen: NDArray[np.bool_]) -> Rows:
        return Rows(columns[chosen], labels[chosen], start[chosen])

    def grow(fitted: Rows, chosen: Rows | None, rounds: int | tuple[int, ...]) -> Boosted:
        options: dict[str, Any] = {"categories": (), "settings": SETTINGS, "on_round": on_round}
        return train(aim, fitted, chosen, max_rounds=rounds, **options)

    trees = grow(rows(part == 0), rows(part == 1), MAX_ROUNDS)
    last = part == 2
    before = blended(weight, last)
    after = aim.measure(trees.predict(columns[last], start[last]), labels[last])
    counts = aim.metric.is_better(after, before) and abs(after - before) > MIN_GAIN * abs(before)
    first, second, third = np.bincount(part, minlength=3).tolist()
    report = StackReport(
        metric=aim.metric,
        model=blended(1.0),
        baseline=blended(0.0),
        blend=values[weight],
        weight=weight,
        num_rows=(first, second, third),
        last_blend=before,
        last_corrected=after,
        num_rounds=trees.num_rounds if counts else (),
    )
    return report, grow(rows(part >= 0), None, trees.num_rounds) if counts else None


def cut_by_time(times: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Int64 [N]: 0 for the first half of the rows in time, 1 for the next quarter, 2 for the last.

    Rows of one moment stay together. Where there are fewer than three moments, as in a task without
    time, rows are dealt out at random.
    """
    moments, place, count = np.unique(times, return_inverse=True, return_counts=True)
    if moments.size < len(SHARES) + 1:
        order = np.random.default_rng(seed).permutation(times.size)
        return np.searchsorted(SHARES, (order + 0.5) / times.size).astype(np.int64)
    until = np.cumsum(count)[:-1] / times.size
    first = min(int(np.abs(until - SHARES[0]).argmin()), moments.size - 3)
    second = first + 1 + int(np.abs(until[first + 1 :] - SHARES[1]).argmin())
    return ((place > first).astype(np.int64) + (place > second)).astype(np.int64)


def _best(aim: Aim, values: dict[float, float]) -> float:
    """The weight whose value is best; of equal ones the first."""
    best = next(iter(values))
    for weight, value in values.items():
        if aim.metric.is_better(value, values[best]):
            best = weight
    return best
