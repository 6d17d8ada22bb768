"""The baseline of a node task: read, screen, compute, train, measure.

Shapes: N rows of a split, F features, C scores of a row.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.boost import Boosted, Rows, measure, require_lightgbm, train
from rle.baseline.features import Features
from rle.baseline.plan import FeaturePlan, plan_features
from rle.baseline.report import NUM_SHOWN, BaselineReport, FeatureShare, MethodScore
from rle.baseline.trivial import trivial_name, trivial_scores
from rle.errors import InternalError
from rle.graph.task import read_split
from rle.training.node_job import known_rows
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.graph.task import SplitRows
    from rle.ingest.labels import LabelCodec
    from rle.spec.dataset import DatasetSpec
    from rle.spec.metric import EvaluationMetric

    OnProgress = Callable[[str, int, int], None]
    Float32Array = NDArray[np.float32]

METHOD = "LightGBM on automatic aggregates"
MAX_FEATURES = 300
"""Features that the trees may use."""
SCREEN_ROWS = 10_000
"""Training rows on which features are screened."""
SCREEN_ROUNDS = 60
"""Rounds of the screening, over all models together."""
SCREEN = {"feature_fraction": 0.3, "max_bin": 63, "learning_rate": 0.1, "num_leaves": 15}


@dataclass(frozen=True, slots=True)
class NodeBaseline:
    """A trained baseline, and what it says of the rows it was measured on."""

    plan: FeaturePlan
    boosted: Boosted
    scores: Mapping[Split, Float32Array]
    """float32 [N, C] of the known rows of each split but the training split."""
    report: BaselineReport


def fit_node_baseline(
    spec: DatasetSpec,
    snapshot: Snapshot,
    codec: LabelCodec,
    *,
    seed: int,
    time_window: int | None = None,
    on_progress: OnProgress,
) -> NodeBaseline:
    """Train the baseline of a node task.

    Args:
        spec: With training and validation tables; the test table is measured if it has labels.
        snapshot: The graph of its tables.
        codec: How labels are encoded; fitted on the training split.
        seed: Of the draws of rows and features.
        time_window: Nanoseconds before a seed's time beyond which rows are not visible.
        on_progress: Called with a stage, steps done and steps in all.

    Raises:
        MissingModelError: LightGBM is not installed.
        DataError: A split is empty, or its labels do not fit the task.
    """
    require_lightgbm()
    started = time.monotonic()
    splits = read_splits(spec, snapshot, codec)
    train_rows = splits[Split.TRAIN]
    plan = plan_features(
        snapshot,
        entity_table=spec.entities[0][0],
        until=int(train_rows.times.max()),
        inclusive=spec.task.current_time,
        time_window=time_window,
    )
    task = _Task(codec.task_type, spec.task.metric, len(codec.classes), seed)
    whole = Features(snapshot, plan)
    plan = plan.replace(kept=_screen(task, whole, train_rows, on_progress))
    features = Features(snapshot, plan)
    with tempfile.TemporaryDirectory(prefix="rle-baseline-") as folder:
        tables = {
            split: compute_table(features, rows, Path(folder) / split.value, on_progress)
            for split, rows in splits.items()
        }
        boosted = task.train(
            Rows(tables[Split.TRAIN], _labels(train_rows)),
            Rows(tables[Split.VALIDATION], _labels(splits[Split.VALIDATION])),
            features,
            on_progress,
        )
        scores: dict[Split, Float32Array] = {
            split: boosted.predict(table)
            for split, table in tables.items()
            if split is not Split.TRAIN
        }
    report = BaselineReport(
        dataset=spec.experiment_name,
        task_type=codec.task_type,
        metric=spec.task.metric,
        methods=(methods := task.compare(splits, scores)),
        validation=methods[0].validation,
        test=methods[0].test,
        num_rows={split.value: int(rows.rows.size) for split, rows in splits.items()},
        num_features=len(features.names),
        num_candidates=len(whole.names),
        num_rounds=boosted.num_rounds,
        features=important(features.names, boosted),
        seconds=round(time.monotonic() - started, 1),
    )
    return NodeBaseline(plan, boosted, scores, report)


def read_splits(spec: DatasetSpec, snapshot: Snapshot, codec: LabelCodec) -> dict[Split, SplitRows]:
    """Read the known rows of both fitted splits, and of the test split where it has labels."""
    out = {}
    for split in Split:
        if split not in spec.task.sources:
            continue
        rows = read_split(spec.connector, spec, split, snapshot, codec)
        if rows.labels is None or (split is Split.TEST and rows.num_unknown == rows.rows.size):
            continue
        out[split] = known_rows(rows)
    return out


def compute_table(
    features: Features, rows: SplitRows, path: Path, on_progress: OnProgress
) -> Float32Array:
    """Write the features of a split into a mapped file, float32 [N, F], chunk by chunk."""
    num = rows.rows.size
    shape = (num, len(features.names))
    out: Float32Array = np.lib.format.open_memmap(path.with_suffix(".npy"), "w+", np.float32, shape)
    for first, block in features.chunks(rows.rows, rows.times):
        out[first : first + len(block)] = block
        on_progress(f"features of {rows.split.value}", first + len(block), num)
    return out


def important(names: tuple[str, ...], boosted: Boosted) -> tuple[FeatureShare, ...]:
    """Name the features that gained most, best first."""
    gains = boosted.gains()
    best = np.argsort(-gains, kind="stable")[:NUM_SHOWN]
    return tuple(
        FeatureShare(name=names[i], share=round(float(gains[i]), 4)) for i in best if gains[i] > 0
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """What the trees are for."""

    task_type: TaskType
    metric: EvaluationMetric
    num_classes: int
    seed: int

    def train(
        self,
        fitted: Rows,
        chosen: Rows,
        features: Features,
        on_progress: OnProgress,
    ) -> Boosted:
        return train(
            self.task_type,
            self.metric,
            fitted,
            chosen,
            num_classes=self.num_classes,
            categories=features.categories,
            seed=self.seed,
            on_round=lambda done, of: on_progress("baseline", done, of),
        )

    def compare(
        self, splits: Mapping[Split, SplitRows], scores: Mapping[Split, Float32Array]
    ) -> tuple[MethodScore, ...]:
        """Measure the baseline and the trivial method."""
        labels = {split: _labels(rows) for split, rows in splits.items()}
        trivial = {
            split: trivial_scores(
                self.task_type,
                self.metric,
                labels[Split.TRAIN],
                num_rows=len(labels[split]),
                num_classes=self.num_classes,
            )
            for split in scores
        }
        rows = []
        for name, found in (
            (METHOD, scores),
            (trivial_name(self.task_type, self.metric), trivial),
        ):
            values = {
                split: measure(self.metric, self.task_type, found[split], labels[split])
                for split in found
            }
            rows.append(
                MethodScore(
                    method=name,
                    validation=values[Split.VALIDATION],
                    test=values.get(Split.TEST),
                )
            )
        return tuple(rows)


def _screen(
    task: _Task, features: Features, rows: SplitRows, on_progress: OnProgress
) -> tuple[int, ...]:
    """Positions of the features that a quick look at some training rows found of use."""
    if len(features.names) <= MAX_FEATURES:
        return tuple(range(len(features.names)))
    num = rows.rows.size
    order = np.random.default_rng(task.seed).permutation(num)[:SCREEN_ROWS]
    chosen = np.sort(order)
    labels = _labels(rows)[chosen]
    num_models = task.num_classes if task.task_type.is_classification else 1
    rounds = max(5, SCREEN_ROUNDS // max(1, num_models))
    found = train(
        task.task_type,
        task.metric,
        Rows(features.compute(rows.rows[chosen], rows.times[chosen]), labels),
        None,
        num_classes=task.num_classes,
        categories=features.categories,
        seed=task.seed,
        max_rounds=rounds,
        settings=SCREEN,
        on_round=lambda done, of: on_progress("screening", done, of),
    )
    gains = found.gains()
    best = np.argsort(-gains, kind="stable")[:MAX_FEATURES]
    kept = np.sort(best[gains[best] > 0])
    return tuple(kept.tolist()) or tuple(range(MAX_FEATURES))


def _labels(rows: SplitRows) -> NDArray[np.generic]:
    if rows.labels is None:
        raise InternalError(f"The {rows.split.value} split was read without labels.")
    return rows.labels
