"""Draws how a training went: the losses and the validation metric over epochs, as a PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rle.runs.events import TRAINING_LOSS, VALIDATION_LOSS, MetricEvent, metric_name
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

    from rle.runs.events import AnyEvent
    from rle.spec.metric import EvaluationMetric

COLORS = {TRAINING_LOSS: "#7a8ba3", VALIDATION_LOSS: "#d1495b", "metric": "#1b6ca8"}


def draw_curve(
    events: Iterable[AnyEvent], path: Path, *, metric: EvaluationMetric, title: str
) -> Path:
    """Draw the losses above and the validation metric below, its best value marked.

    Args:
        events: A run's events; metrics other than these three are skipped.
        path: The PNG to write. Its folder must exist.
        metric: Which metric, and whether lower is better.
        title: Printed on top.

    Returns:
        `path`.
    """
    name = metric_name(Split.VALIDATION, metric.name)
    lines: dict[str, list[tuple[float, float]]] = {TRAINING_LOSS: [], VALIDATION_LOSS: [], name: []}
    for event in events:
        if isinstance(event, MetricEvent) and event.name in lines:
            at = event.epoch if event.epoch is not None else event.step
            lines[event.name].append((at, event.value))
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for loss in (TRAINING_LOSS, VALIDATION_LOSS):
        _line(above, lines[loss], color=COLORS[loss], label=loss.replace("_", " "))
    _line(below, lines[name], color=COLORS["metric"], label=name.replace("_", " "))
    _mark_best(below, lines[name], lower_is_better=metric.direction == "min")
    figure.suptitle(title)
    above.set_ylabel("loss")
    below.set_ylabel(metric.name)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.margins(y=0.12)  # room for the best value
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=120, format="png")
    return path


def _line(axes: Axes, points: list[tuple[float, float]], *, color: str, label: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        # Dots too: a single validation would otherwise be invisible.
        axes.plot(x, y, color=color, label=label, marker="o", markersize=3, linewidth=1.5)


def _mark_best(axes: Axes, points: list[tuple[float, float]], *, lower_is_better: bool) -> None:
    finite = [(x, y) for x, y in points if y == y]
    if not finite:
        return
    pick = min if lower_is_better else max
    x, y = pick(finite, key=lambda point: point[1])
    axes.plot([x], [y], marker="o", markersize=8, fillstyle="none", color=COLORS["metric"])
    axes.annotate(f"{y:.4f}", (x, y), textcoords="offset points", xytext=(8, 8))
