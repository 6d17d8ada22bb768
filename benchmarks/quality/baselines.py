"""What others reach on the test splits, measured on the same rows; LightGBM 4.7, one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HISTORY = "LightGBM on hand-made history"
"""An hour of a data scientist's aggregates over earlier rows."""
OWN = "LightGBM on own columns"
"""The columns of the entity's row."""
TRIVIAL = "trivial"
"""Base rate, majority class or training median."""
REPEAT = "past visits, then popular"
VISITS = "past visits by count"
DECAY = "past visits, recent ones first"
USERS = "nearest users"
POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class Baseline:
    """Test values of one task's metric."""

    metric: str
    values: Mapping[str, float]
    """By name; the best comes first."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return self.metric == "mae"

    @property
    def best(self) -> float:
        """The value to beat."""
        return next(iter(self.values.values()))


def _node(metric: str, trivial: float, own_columns: float, history: float) -> Baseline:
    return Baseline(metric, {HISTORY: history, OWN: own_columns, TRIVIAL: trivial})


MAP = "link_prediction_map"
BASELINES = {
    "player-out": _node("roc_auc", 0.500, 0.609, 0.828),
    "player-home-runs": _node("mae", 8.747, 8.075, 5.847),
    "player-playing-time": _node("accuracy", 0.318, 0.331, 0.516),
    "player-positions": _node("multilabel_auroc_macro", 0.500, 0.724, 0.961),
    "player-team": Baseline(
        MAP, {REPEAT: 0.699, DECAY: 0.679, USERS: 0.634, VISITS: 0.606, POPULAR: 0.102}
    ),
    "player-team-any": Baseline(
        MAP, {REPEAT: 0.699, DECAY: 0.679, USERS: 0.634, VISITS: 0.606, POPULAR: 0.102}
    ),
    "player-new-team": Baseline(MAP, {POPULAR: 0.126, USERS: 0.120}),
    "plane-destinations": Baseline(
        MAP, {VISITS: 0.498, REPEAT: 0.483, DECAY: 0.480, USERS: 0.452, POPULAR: 0.166}
    ),
    "flight-late": _node("roc_auc", 0.500, 0.610, 0.739),
    "flight-cancelled": _node("roc_auc", 0.500, 0.709, 0.865),
    "flight-delay": _node("mae", 23.260, 22.915, 20.746),
    "flight-delay-class": _node("accuracy", 0.242, 0.305, 0.358),
}
"""All eleven tasks and one asked differently, the quick ones first. MAP is at 10."""
ANY_TARGET = {"player-team-any": "player-team"}
"""Repeated link tasks as link prediction: every target may be named, not only those met before."""
