"""A baseline beside a model: measured on the same splits, told in the same run.

The spine calls `Beside.check` before anything runs, `Beside.measure` once the graph is there, and
`Beside.conclude` when the model is trained and saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.baseline.boost import require_lightgbm
from rle.baseline.link import fit_link_heuristics
from rle.baseline.node import fit_node_baseline
from rle.baseline.report import BaselineReport, verdict
from rle.errors import ValidationError
from rle.runs.events import MetricEvent, ProgressEvent, ReportEvent, metric_name
from rle.runs.progress import as_text
from rle.spec.task import LinkTaskSpec
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.baseline.node import NodeBaseline
    from rle.graph.snapshot import Snapshot
    from rle.ingest.labels import LabelCodec
    from rle.runs.events import AnyEvent
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec

    OnEvent = Callable[[AnyEvent], None]

PREFIX = "baseline_"
"""What the names of a baseline's metrics begin with: "baseline_validation_roc_auc"."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A measured baseline."""

    report: BaselineReport
    trees: NodeBaseline | None
    """None for a link task."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is wanted beside a model of `spec`."""

    spec: DatasetSpec
    baseline: bool
    """Whether the baseline is measured and compared."""

    def check(self) -> None:
        """Raise before anything runs where what is wanted cannot be had.

        Raises:
            ValidationError: An option is neither True nor False.
            MissingModelError: LightGBM is not installed.
        """
        if not isinstance(self.baseline, bool):
            raise ValidationError(f"baseline must be True or False, not {self.baseline!r}.")
        if self.baseline and not isinstance(self.spec.task, LinkTaskSpec):
            require_lightgbm()

    def measure(
        self,
        snapshot: Snapshot,
        codec: LabelCodec | None,
        config: TrainerConfig,
        tell: OnEvent,
    ) -> Rival | None:
        """Train and measure the baseline on the graph of a run; None where it is not wanted."""
        if not self.baseline:
            return None

        def show(stage: str, done: int, of: int) -> None:
            tell(ProgressEvent(stage=stage, step=done, num_steps=of))

        trees = None
        if codec is None:
            report = fit_link_heuristics(
                self.spec, snapshot, time_window=config.time_window_ns, on_progress=show
            )
        else:
            trees = fit_node_baseline(
                self.spec,
                snapshot,
                codec,
                seed=config.seed,
                time_window=config.time_window_ns,
                on_progress=show,
            )
            report = trees.report
        tell(ReportEvent(name="baseline", text=as_text(report.render())))
        for split, value in ((Split.VALIDATION, report.validation), (Split.TEST, report.test)):
            if value is not None:
                name = PREFIX + metric_name(split, report.metric.name)
                tell(MetricEvent(name=name, value=value, step=0))
        return Rival(report, trees)

    def conclude(self, rival: Rival | None, *, validation: float, tell: OnEvent) -> None:
        """Say which of the two is better.

        Args:
            rival: What `measure` returned.
            validation: The model's metric on the validation split.
            tell: Told of it.
        """
        if rival is not None:
            metric = rival.report.metric
            text = verdict(metric, model=validation, baseline=rival.report.validation)
            tell(ReportEvent(name="baseline_verdict", text=text))
