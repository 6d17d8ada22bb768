"""What a baseline found, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.spec.metric import EvaluationMetric
from rle.training.state import Measured
from rle.values import TaskType, Value

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

NUM_SHOWN = 20
"""Features that a report names."""


class FeatureShare(Value):
    """One feature and what it was worth."""

    name: str
    """Readable, such as "arrivals.arr_delay mean of last 8"."""
    share: float
    """Its part of what all splits of all trees gained, 0 to 1."""


class MethodScore(Measured):
    """One method's metric."""

    method: str
    """Such as "boosted trees", "most frequent class" or "past visits, newest first"."""
    validation: float
    test: float | None
    """None where the test split has no labels."""


class BaselineReport(Measured):
    """The baseline of one dataset. Equal to its JSON."""

    dataset: str
    """Name of the experiment: "dataset/task_type/task"."""
    task_type: TaskType
    metric: EvaluationMetric
    validation: float
    """The metric of the baseline on the validation split; link tasks: of the best method."""
    test: float | None
    """On the test split; None where it has no labels."""
    methods: tuple[MethodScore, ...]
    """Everything that was measured, the baseline first, then what needs no learning."""
    num_rows: dict[str, int]
    """Rows by split, those of unknown entities apart."""
    num_features: int = 0
    """Features that the trees may use."""
    num_candidates: int = 0
    """Features that were looked at."""
    num_rounds: tuple[int, ...] = ()
    """Trees, or rounds of one tree per class; one number per model."""
    features: tuple[FeatureShare, ...] = ()
    """The most important ones, best first, at most twenty."""
    seconds: float
    """Wall time."""

    def render(self) -> Group:
        """Return the report as something rich can print."""
        from rich.console import Group

        return Group(self._scores(), *([self._features()] if self.features else []), self._facts())

    def __str__(self) -> str:
        from rle.runs.progress import as_text

        return as_text(self.render())

    def _scores(self) -> Table:
        from rich.table import Table

        name = self.metric.name
        if self.metric.eval_at_k is not None:
            name += f" at {self.metric.eval_at_k}"
        better = "lower" if self.metric.direction == "min" else "higher"
        out = Table("method", "validation", "test", title=f"Baseline: {name}, {better} is better")
        for column in out.columns[1:]:
            column.justify = "right"
        for score in self.methods:
            test = "" if score.test is None else f"{score.test:.4f}"
            out.add_row(score.method, f"{score.validation:.4f}", test)
        return out

    def _features(self) -> Table:
        from rich.table import Table

        out = Table("feature", "share of gain", title="Most important features")
        out.columns[0].overflow = "fold"
        out.columns[1].justify = "right"
        for feature in self.features:
            out.add_row(feature.name, f"{feature.share:.1%}")
        return out

    def _facts(self) -> str:
        rows = ", ".join(f"{n:,} {split}" for split, n in self.num_rows.items())
        facts = f"{rows} rows"
        if self.num_features:
            facts += f"; {self.num_features} of {self.num_candidates} features"
        return f"{facts}; {self.seconds:.0f} s"


def verdict(metric: EvaluationMetric, *, model: float, baseline: float) -> str:
    """Say in one sentence which of the two is better on the validation split, and by how much."""
    figures = f"{metric.name} {model:.4f} against {baseline:.4f} on the validation split"
    gap = abs(model - baseline)
    if metric.is_better(model, baseline):
        return f"The GNN beats the baseline by {gap:.4f}: {figures}."
    if metric.is_better(baseline, model):
        return (
            f"The baseline beats the GNN by {gap:.4f}: {figures}. LightGBM on automatic "
            "aggregates is the better model here; stack=True would combine both."
        )
    return f"The GNN and the baseline are level: {figures}."
