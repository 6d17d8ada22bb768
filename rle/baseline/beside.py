"""A baseline beside a model: measured on the same splits, told in the same run.

The spine calls `Beside.check` before anything runs, `Beside.measure` once the graph is there, and
`Beside.conclude` when the model is trained and its folder is written.

Shapes: N rows of the validation split, C scores of a row, D channels.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.aim import Aim
from rle.baseline.boost import require_lightgbm
from rle.baseline.features import Features
from rle.baseline.kept import KeptTrees, save_trees
from rle.baseline.link import fit_link_heuristics
from rle.baseline.node import fit_node_baseline, read_splits
from rle.baseline.report import BaselineReport, verdict
from rle.baseline.stack import Evidence, fit_stack
from rle.baseline.wanted import check_wanted
from rle.errors import DataError
from rle.inference.model_folder import load_model
from rle.inference.predict import score_rows
from rle.model.relational import RelationalModel
from rle.runs.events import MetricEvent, ReportEvent, WarningEvent, metric_name
from rle.runs.progress import as_text
from rle.runs.stage import StageProgress
from rle.sampling.loader import BatchLoader
from rle.spec.task import LinkTaskSpec
from rle.training.device import check_device
from rle.training.node_job import make_sampler
from rle.training.threads import torch_threads
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.baseline.node import LabelledRows, NodeBaseline
    from rle.baseline.stack import StackReport
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
    stack: bool = False
    """Whether both are combined, and the best of the three is kept."""

    def check(self) -> None:
        """Raise before anything runs where what is wanted cannot be had.

        Raises:
            ValidationError: An option is neither True nor False, or a link task is to be stacked.
            MissingModelError: LightGBM is not installed.
        """
        check_wanted(self.spec, baseline=self.baseline, stack=self.stack)
        is_link = isinstance(self.spec.task, LinkTaskSpec)
        if (self.baseline or self.stack) and not is_link:
            require_lightgbm()

    def measure(
        self,
        snapshot: Snapshot,
        codec: LabelCodec | None,
        config: TrainerConfig,
        tell: OnEvent,
    ) -> Rival | None:
        """Train and measure the baseline on the graph of a run; None where it is not wanted."""
        if not (self.baseline or self.stack):
            return None
        show = _progress(tell)
        window = config.time_window_ns
        trees = None
        if codec is None:
            report = fit_link_heuristics(self.spec, snapshot, time_window=window, on_progress=show)
        else:
            trees = fit_node_baseline(
                self.spec,
                snapshot,
                codec,
                seed=config.seed,
                time_window=window,
                on_progress=show,
            )
            report = trees.report
        tell(ReportEvent(name="baseline", text=as_text(report.render())))
        for split, value in ((Split.VALIDATION, report.validation), (Split.TEST, report.test)):
            if value is not None:
                name = PREFIX + metric_name(split, report.metric.name)
                tell(MetricEvent(name=name, value=value, step=0))
        return Rival(report, trees)

    def conclude(
        self,
        rival: Rival | None,
        folder: Path,
        snapshot: Snapshot,
        *,
        validation: float,
        tell: OnEvent,
    ) -> StackReport | None:
        """Say which of the two is better; stack them where that is wanted.

        Args:
            rival: What `measure` returned.
            folder: The model's; trees that win are put into it.
            snapshot: The graph it was trained on.
            validation: The model's metric on the validation split.
            tell: Told of it.

        Returns:
            What the stack was worth; None where it was not wanted or could not be measured.
        """
        if rival is None:
            return None
        report = rival.report
        text = verdict(report.metric, model=validation, baseline=report.validation)
        tell(ReportEvent(name="baseline_verdict", text=text))
        if not self.stack or rival.trees is None:
            return None
        try:
            found = self._stack(rival.trees, folder, snapshot, tell)
        except DataError as error:  # the model is trained: it is no reason to lose it
            tell(WarningEvent(message=f"nothing was stacked, the GNN is kept: {error}"))
            return None
        tell(ReportEvent(name="stack", text=str(found)))
        name = f"stack_{metric_name(Split.VALIDATION, found.metric.name)}"
        tell(MetricEvent(name=name, value=found.blend, step=0))
        return found

    def _stack(
        self, trees: NodeBaseline, folder: Path, snapshot: Snapshot, tell: OnEvent
    ) -> StackReport:
        manifest, model = load_model(folder)
        assert isinstance(model, RelationalModel)
        config, codec = manifest.config, model.spec.labels
        rows = read_splits(self.spec, snapshot, codec)[Split.VALIDATION]
        scores, embeddings = _ask(model, self.spec, snapshot, config, rows, tell)
        features = Features(snapshot, trees.plan)
        blocks = [block for _, block in features.chunks(rows.rows, rows.times)]
        table = np.concatenate(blocks)
        evidence = Evidence(table, trees.boosted.predict(table), scores, embeddings)
        aim = Aim(codec.task_type, self.spec.task.metric, len(codec.classes), config.seed)
        show = _progress(tell)
        report, on_top = fit_stack(
            aim,
            evidence,
            rows.labels,
            rows.times,
            on_round=lambda done, of: show("stack", done, of),
        )
        if report.chosen != "model":
            kept = KeptTrees(
                weight=report.weight,
                task_type=codec.task_type,
                plan=trees.plan,
                num_baseline=len(trees.boosted.boosters),
                num_stack=0 if on_top is None else len(on_top.boosters),
                clamp_min=model.spec.clamp_min,
                clamp_max=model.spec.clamp_max,
            )
            save_trees(folder, kept, trees.boosted, on_top)
        return report


def _ask(
    model: RelationalModel,
    spec: DatasetSpec,
    snapshot: Snapshot,
    config: TrainerConfig,
    rows: LabelledRows,
    tell: OnEvent,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the model says of labelled rows: scores [N, C] and vectors [N, D]."""
    device = check_device(config)
    model.bind(snapshot)
    loader = BatchLoader(
        snapshot,
        rows,
        make_sampler(snapshot, spec, config, lags=model.spec.lags),
        batch_size=config.val_batch_size,
        shuffle=False,
        threads=config.sampler_workers,
    )
    with torch_threads(config), contextlib.closing(loader):
        blocks = list(
            score_rows(
                model.to(device),
                loader,
                num_rows=rows.rows.size,
                device=device,
                with_embeddings=True,
                on_step=StageProgress("score validation", tell),
            )
        )
    vectors = [block.embeddings for block in blocks if block.embeddings is not None]
    return np.concatenate([block.scores for block in blocks]), np.concatenate(vectors)


def _progress(tell: OnEvent) -> Callable[[str, int, int], None]:
    """Tell of a stage's steps, not of each of them."""
    stages: dict[str, StageProgress] = {}

    def show(stage: str, done: int, of: int) -> None:
        stages.setdefault(stage, StageProgress(stage, tell))(done, of)

    return show
