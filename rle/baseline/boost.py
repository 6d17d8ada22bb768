"""Gradient boosted trees: the only place that knows LightGBM.

Shapes: N rows, F features, C scores of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rle.errors import DataError, MissingModelError
from rle.spec.metric import EvaluationMetric
from rle.training.metrics import check_labels
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.baseline.aim import Aim

    Float32Array = NDArray[np.float32]

MAX_ROUNDS = 1000
PATIENCE = 40
"""Rounds without improvement on the validation split after which training stops."""
UNMEASURED_ROUNDS = 100
"""Rounds where nothing can be measured on the validation split, such as a label it never has."""
LARGE = 200_000
"""Training rows times outputs from which larger steps are taken."""
TREES: dict[str, Any] = {
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
}
"""What a tree looks like; chosen once on two tasks, the same for all."""
SAME_EVERYWHERE: dict[str, Any] = {
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
    "metric": "None",
}
LOSSES = {"mae": "regression_l1", "mape": "mape", "rmse": "regression", "r2": "regression"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Features and labels of one split."""

    features: Float32Array
    """float32 [N, F], NaN where there is nothing to say; may be a mapped file."""
    labels: NDArray[np.generic]
    """As `LabelCodec.encode` returns them."""
    start: Float32Array | None = None
    """float32 [N, C], raw scores that training begins with: log odds, or values."""


@dataclass(frozen=True, slots=True)
class Boosted:
    """Trained trees: one model, or one per label of a multilabel task."""

    task_type: TaskType
    boosters: tuple[Any, ...]

    @property
    def num_rounds(self) -> tuple[int, ...]:
        """Rounds of each model."""
        return tuple(int(b.current_iteration()) for b in self.boosters)

    def gains(self) -> NDArray[np.float64]:
        """Float64 [F]: each feature's share of what all splits gained."""
        total = np.zeros(self.boosters[0].num_feature())
        for booster in self.boosters:
            gain = np.asarray(booster.feature_importance("gain"), np.float64)
            total += gain / max(gain.sum(), 1e-30)
        return np.asarray(total / max(total.sum(), 1e-30))

    def predict(self, features: Float32Array, start: Float32Array | None = None) -> Float32Array:
        """Return float32 [N, C]: probabilities, or values, as `Objective.scores` has them.

        Args:
            features: float32 [N, F].
            start: float32 [N, C], as in training; None where it had none.
        """
        raw = [np.asarray(b.predict(features, raw_score=True)) for b in self.boosters]
        scores = np.stack(raw, axis=1) if len(raw) > 1 else raw[0].reshape(len(features), -1)
        if start is not None:
            scores = scores + start
        return as_scores(scores, self.task_type)

    def save(self, folder: Path) -> None:
        """Write LightGBM's own text, one file per model; the folder is made where missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, booster in enumerate(self.boosters):
            booster.save_model(folder / f"trees_{number}.txt")

    @classmethod
    def load(cls, folder: Path, *, task_type: TaskType, num_models: int) -> Boosted:
        """Read what `save` wrote. Text is parsed, never run.

        Raises:
            MissingModelError: LightGBM is not installed.
            DataError: A file is missing or damaged.
        """
        lightgbm = require_lightgbm()
        files = [folder / f"trees_{number}.txt" for number in range(num_models)]
        try:
            texts = [file.read_text(encoding="utf-8") for file in files]
            boosters = tuple(lightgbm.Booster(model_str=text) for text in texts)
        except (OSError, lightgbm.basic.LightGBMError) as error:
            raise DataError(f"The trees in {folder} cannot be read: {error}") from error
        return cls(task_type, boosters)


def require_lightgbm() -> Any:
    """Return the module lightgbm.

    Raises:
        MissingModelError: It is not installed; says how to get it.
    """
    try:
        return import_module("lightgbm")
    except ModuleNotFoundError as error:
        raise MissingModelError(
            "The baseline needs LightGBM, which is not installed. Install it with: "
            "pip install 'gnn-rle[baseline]'."
        ) from error


def as_scores(raw: NDArray[np.floating[Any]], task_type: TaskType) -> Float32Array:
    """Turn raw scores [N, C] into probabilities; values of a regression stay."""
    raw = np.asarray(raw, np.float64)
    if task_type is TaskType.MULTICLASS_CLASSIFICATION:
        shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        raw = shifted / shifted.sum(axis=1, keepdims=True)
    elif task_type is not TaskType.REGRESSION:
        raw = 1.0 / (1.0 + np.exp(-np.clip(raw, -500.0, 500.0)))
    return raw.astype(np.float32)


def train(
    aim: Aim,
    fitted: Rows,
    chosen: Rows | None,
    *,
    categories: Sequence[int],
    max_rounds: int | Sequence[int] = MAX_ROUNDS,
    settings: dict[str, Any] | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> Boosted:
    """Grow trees on one set of rows and stop where the metric is best on another.

    Args:
        aim: Its metric says which loss is minimised in a regression, and when to stop.
        fitted: What the trees learn from.
        chosen: What the number of rounds is chosen on; None for all of `max_rounds`.
        categories: Positions of features that are ranks of categories.
        max_rounds: Rounds at most; a number per model where they are not to be the same.
        settings: LightGBM parameters beside or in place of the usual ones.
        on_round: Called with rounds done and rounds at most, over all models.
    """
    goals = _goals(aim)
    parameters = (
        SAME_EVERYWHERE
        | TREES
        | {"learning_rate": _step_size(fitted, goals[0].num_outputs), "seed": aim.seed}
        | {"objective": goals[0].loss, "num_class": goals[0].num_outputs}
        | (settings or {})
    )
    # Models of several labels share the same rows: only what they learn is exchanged.
    data = _dataset(goals[0].rows(fitted), parameters, categories)
    looked_at = None
    if chosen is not None:
        looked_at = _dataset(goals[0].rows(chosen), parameters, categories, like=data)
    boosters = []
    limits = [max_rounds] * len(goals) if isinstance(max_rounds, int) else list(max_rounds)
    for number, (goal, limit) in enumerate(zip(goals, limits, strict=True)):
        _give(data, goal.rows(fitted))
        told = _part_of(on_round, number, len(goals))
        if chosen is None or looked_at is None:
            boosters.append(_grow(parameters, data, limit, told))
        elif not goal.can_measure(goal.rows(chosen).labels):
            boosters.append(_grow(parameters, data, min(limit, UNMEASURED_ROUNDS), told))
        else:
            _give(looked_at, goal.rows(chosen))
            judge = _judge(goal, goal.rows(chosen).labels)
            boosters.append(_grow(parameters, data, limit, told, looked_at, judge))
    return Boosted(aim.task_type, tuple(boosters))


@dataclass(frozen=True, slots=True)
class _Goal:
    """What one model is trained for."""

    loss: str
    aim: Aim
    num_outputs: int = 1
    label: int | None = None
    """Which label of a multilabel task."""

    def rows(self, rows: Rows) -> Rows:
        """The rows with the labels and starting scores of this model."""
        if self.label is None:
            return rows
        start = None if rows.start is None else rows.start[:, self.label : self.label + 1]
        return Rows(rows.features, rows.labels[:, self.label].copy(), start)

    def can_measure(self, labels: NDArray[np.generic]) -> bool:
        """Whether the metric is defined for these labels."""
        try:
            check_labels(self.aim.metric, self.aim.task_type, torch.from_numpy(np.array(labels)))
        except DataError:
            return False
        return True


def _goals(aim: Aim) -> tuple[_Goal, ...]:
    name = aim.metric.name
    if aim.task_type is TaskType.REGRESSION:
        return (_Goal(LOSSES[name], aim),)
    if aim.task_type is TaskType.MULTICLASS_CLASSIFICATION:
        return (_Goal("multiclass", aim, num_outputs=aim.num_classes),)
    if aim.task_type is TaskType.BINARY_CLASSIFICATION:
        return (_Goal("binary", aim),)
    own = EvaluationMetric(name="roc_auc" if "auroc" in name else "average_precision")
    single = replace(aim, task_type=TaskType.BINARY_CLASSIFICATION, metric=own)
    return tuple(_Goal("binary", single, label=label) for label in range(aim.num_classes))


def _step_size(fitted: Rows, num_outputs: int) -> float:
    return 0.1 if fitted.features.shape[0] * num_outputs >= LARGE else 0.05


def _part_of(
    on_round: Callable[[int, int], None] | None, number: int, of: int
) -> Callable[[int, int], None]:
    """Count the rounds of one model of several."""

    def told(done: int, rounds: int) -> None:
        if on_round is not None:
            on_round(number * rounds + done, of * rounds)

    return told


def _grow(
    parameters: dict[str, Any],
    data: Any,
    rounds: int,
    on_round: Callable[[int, int], None],
    looked_at: Any = None,
    judge: Callable[[Any, Any], tuple[str, float, bool]] | None = None,
) -> Any:
    lightgbm = require_lightgbm()
    callbacks: list[Any] = [lambda env: on_round(env.iteration + 1, rounds)]
    if looked_at is not None:
        callbacks.append(lightgbm.early_stopping(PATIENCE, verbose=False))
    booster = lightgbm.train(
        parameters,
        data,
        rounds,
        valid_sets=[] if looked_at is None else [looked_at],
        feval=judge,
        callbacks=callbacks,
    )
    best = rounds if looked_at is None else booster.best_iteration
    on_round(rounds, rounds)
    # Written and read again, so that what is used now is to the bit what is loaded later.
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best))


def _dataset(
    rows: Rows, parameters: dict[str, Any], categories: Sequence[int], *, like: Any = None
) -> Any:
    return require_lightgbm().Dataset(
        rows.features,
        label=np.asarray(rows.labels, np.float32),
        reference=like,
        params=parameters,
        categorical_feature=list(categories),
    )


def _give(data: Any, rows: Rows) -> None:
    """Exchange labels and starting scores of a dataset."""
    data.construct()
    data.set_label(np.asarray(rows.labels, np.float32))
    if rows.start is not None:
        # LightGBM wants the scores of several classes one class after another.
        data.set_init_score(rows.start.reshape(-1, order="F").astype(np.float64))


def _judge(
    goal: _Goal, labels: NDArray[np.generic]
) -> Callable[[Any, Any], tuple[str, float, bool]]:
    higher = goal.aim.metric.direction == "max"
    worst = -np.inf if higher else np.inf

    def judge(raw: Any, _: Any) -> tuple[str, float, bool]:
        scores = np.asarray(raw).reshape(len(labels), -1)
        value = goal.aim.measure(scores, labels)
        return goal.aim.metric.name, value if np.isfinite(value) else worst, higher

    return judge
