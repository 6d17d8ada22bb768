"""Which metrics exist, for which task, and which way is better."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rle.errors import UnknownNameError, ValidationError
from rle.values import TaskType, Value

METRICS: dict[TaskType, tuple[str, ...]] = {
    TaskType.BINARY_CLASSIFICATION: (
        "roc_auc",
        "average_precision",
        "accuracy",
        "f1",
        "precision",
        "recall",
    ),
    TaskType.MULTICLASS_CLASSIFICATION: ("macro_f1", "micro_f1", "accuracy"),
    TaskType.MULTILABEL_CLASSIFICATION: (
        "multilabel_auroc_macro",
        "multilabel_auroc_micro",
        "multilabel_auprc_macro",
        "multilabel_auprc_micro",
        "multilabel_precision_macro",
        "multilabel_precision_micro",
    ),
    TaskType.REGRESSION: ("rmse", "mae", "r2", "mape"),
    TaskType.LINK_PREDICTION: (
        "link_prediction_map",
        "link_prediction_precision",
        "link_prediction_recall",
    ),
    TaskType.REPEATED_LINK_PREDICTION: (
        "link_prediction_map",
        "link_prediction_precision",
        "link_prediction_recall",
    ),
}
"""Metrics of each task type; the first is its default."""

LOWER_IS_BETTER = frozenset({"rmse", "mae", "mape"})
DEFAULT_EVAL_AT_K = 12
"""Length of the ranked list that link metrics look at where none is given."""

_ALL = sorted({name for names in METRICS.values() for name in names})


class EvaluationMetric(Value):
    """What is measured on validation and test rows, and chooses the best checkpoint."""

    name: str
    """One of the names in `METRICS`, in any case."""
    eval_at_k: Annotated[int, Field(ge=1)] | None = None
    """Length of the ranked list, for link metrics only. None: 12."""

    def __init__(self, name: Any = None, eval_at_k: Any = None, **data: Any) -> None:
        given = {"name": name, "eval_at_k": eval_at_k}
        super().__init__(**{k: v for k, v in given.items() if v is not None}, **data)

    @model_validator(mode="before")
    @classmethod
    def _default_k(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        name = data["name"].lower()
        if name.startswith("link_") and data.get("eval_at_k") is None:
            data = data | {"eval_at_k": DEFAULT_EVAL_AT_K}
        return data | {"name": name}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name not in _ALL:
            raise UnknownNameError("evaluation metric", self.name, _ALL)
        if self.eval_at_k is not None and not self.name.startswith("link_"):
            raise ValidationError(
                f"eval_at_k is for link metrics; {self.name!r} does not rank, so leave it out."
            )
        return self

    @classmethod
    def default_for(cls, task_type: TaskType) -> EvaluationMetric:
        """Return the metric a task of this type has unless it is given another."""
        return cls(name=METRICS[task_type][0])

    def check(self, task_type: TaskType) -> None:
        """Raise ValidationError where this metric does not fit the task type."""
        if self.name not in METRICS[task_type]:
            raise ValidationError(
                f"Metric {self.name!r} does not fit a {task_type.value} task. "
                f"Use one of: {', '.join(METRICS[task_type])}."
            )

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether lower ("min") or higher ("max") values are better."""
        return "min" if self.name in LOWER_IS_BETTER else "max"

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` beats `than`. NaN never does; anything else beats NaN."""
        if than != than:
            return value == value
        return value < than if self.direction == "min" else value > than
