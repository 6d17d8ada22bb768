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

from rle.baseline.aim import Aim
from rle.baseline.boost import Boosted, Rows, require_lightgbm, train
from rle.baseline.features import Features
from rle.baseline.plan import FeaturePlan, plan_features
from rle.baseline.report import NUM_SHOWN, BaselineReport, FeatureShare
from rle.errors import DataError
from rle.graph.task import read_split
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.ingest.labels import LabelCodec
    from rle.spec.dataset import DatasetSpec

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
class LabelledRows:
    """The rows of a split that have an entity in the graph and a label that can be measured."""

    split: Split
    rows: NDArray[np.int32]
    """int32 [N], rows of the entity table."""
    times: NDArray[np.int64]
    """int64 [N], nanoseconds."""
    labels: NDArray[np.generic]
    """[N] or [N, classes], encoded."""


@dataclass(frozen=True, slots=True)
class NodeBaseline:
    """A trained baseline, and what it says of the rows it was measured on."""

    plan: FeaturePlan
    boosted: Boosted
    categories: tuple[int, ...]
    """Positions of features that are ranks of categories."""
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
    aim = Aim(codec.task_type, spec.task.metric, len(codec.classes), seed)
    plan = plan_features(
        snapshot,
        entity_table=spec.entities[0][0],
        until=int(splits[Split.TRAIN].times.max()),
        inclusive=spec.task.current_time,
        time_window=time_window,
    )
    whole = Features(snapshot, plan)
    plan = plan.replace(kept=_screen(aim, whole, splits[Split.TRAIN], on_progress))
    features = Features(snapshot, plan)
    boosted, scores = _fit(aim, features, splits, on_progress)
    methods = aim.compare({split: rows.labels for split, rows in splits.items()}, {METHOD: scores})
    report = BaselineReport(
        dataset=spec.experiment_name,
        task_type=codec.task_type,
        metric=spec.task.metric,
        methods=methods,
        validation=methods[0].validation,
        test=methods[0].test,
        num_rows={split.value: int(rows.rows.size) for split, rows in splits.items()},
        num_features=len(features.names),
        num_candidates=len(whole.names),
        num_rounds=boosted.num_rounds,
        features=important(features.names, boosted),
        seconds=round(time.monotonic() - started, 1),
    )
    return NodeBaseline(plan, boosted, features.categories, report)


def _fit(
    aim: Aim,
    features: Features,
    splits: Mapping[Split, LabelledRows],
    on_progress: OnProgress,
) -> tuple[Boosted, dict[Split, Float32Array]]:
    """Train on one split and stop by another; scores [N, C] of all splits but the first."""
    with tempfile.TemporaryDirectory(prefix="rle-baseline-") as folder:
        tables = {
            split: compute_table(features, rows, Path(folder) / split.value, on_progress)
            for split, rows in splits.items()
        }
        fitted, chosen = (
            Rows(tables[split], splits[split].labels) for split in (Split.TRAIN, Split.VALIDATION)
        )
        boosted = train(
            aim,
            fitted,
            chosen,
            categories=features.categories,
            on_round=lambda done, of: on_progress("baseline", done, of),
        )
        later = [split for split in splits if split is not Split.TRAIN]
        return boosted, {split: boosted.predict(tables[split]) for split in later}


def read_splits(
    spec: DatasetSpec, snapshot: Snapshot, codec: LabelCodec
) -> dict[Split, LabelledRows]:
    """Read both fitted splits, and the test split where it has labels.

    Raises:
        DataError: No row of a fitted split has an entity that is in the graph.
    """
    out = {}
    for split in Split:
        if split not in spec.task.sources:
            continue
        found = read_split(spec.connector, spec, split, snapshot, codec)
        if found.labels is None:
            continue
        is_known = found.rows >= 0
        is_kept = is_known if found.is_measured is None else is_known & found.is_measured
        if is_kept.any():
            rows, times = found.rows[is_kept], found.times[is_kept]
            out[split] = LabelledRows(split, rows, times, found.labels[is_kept])
        elif split is not Split.TEST:
            raise DataError(
                f"None of the {is_known.size} rows of the {split.value} table has an entity that "
                f"is in the graph; {found.example_unknown!r} is not, for example."
            )
    return out


def compute_table(
    features: Features, rows: LabelledRows, path: Path, on_progress: OnProgress
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


def _screen(
    aim: Aim, features: Features, rows: LabelledRows, on_progress: OnProgress
) -> tuple[int, ...]:
    """Positions of the features that a quick look at some training rows found of use."""
    if len(features.names) <= MAX_FEATURES:
        return tuple(range(len(features.names)))
    num = rows.rows.size
    order = np.random.default_rng(aim.seed).permutation(num)[:SCREEN_ROWS]
    chosen = np.sort(order)
    found = train(
        aim,
        Rows(features.compute(rows.rows[chosen], rows.times[chosen]), rows.labels[chosen]),
        None,
        categories=features.categories,
        max_rounds=max(5, SCREEN_ROUNDS // max(1, aim.num_classes)),
        settings=SCREEN,
        on_round=lambda done, of: on_progress("screening", done, of),
    )
    gains = found.gains()
    best = np.argsort(-gains, kind="stable")[:MAX_FEATURES]
    kept = np.sort(best[gains[best] > 0])
    return tuple(kept.tolist()) or tuple(range(MAX_FEATURES))
