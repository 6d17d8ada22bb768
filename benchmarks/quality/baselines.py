"""What others reach on the test splits, measured on the same rows; LightGBM 4.7, one seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Baseline:
    """Test values of one task's metric."""

    metric: str
    trivial: float
    """Base rate, majority class or training median."""
    own_columns: float
    """LightGBM on the columns of the entity's row."""
    history: float
    """LightGBM on an hour of hand-made aggregates over earlier rows."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return self.metric == "mae"


BASELINES = {
    "player-out": Baseline("roc_auc", 0.500, 0.609, 0.828),
    "player-home-runs": Baseline("mae", 8.747, 8.075, 5.847),
    "player-playing-time": Baseline("accuracy", 0.318, 0.331, 0.516),
    "player-positions": Baseline("multilabel_auroc_macro", 0.500, 0.724, 0.961),
    "flight-late": Baseline("roc_auc", 0.500, 0.610, 0.739),
    "flight-cancelled": Baseline("roc_auc", 0.500, 0.709, 0.865),
    "flight-delay": Baseline("mae", 23.260, 22.915, 20.746),
    "flight-delay-class": Baseline("accuracy", 0.242, 0.305, 0.358),
}
"""The eight node tasks, the quick ones first."""
