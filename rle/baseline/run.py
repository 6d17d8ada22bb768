"""The baseline of one dataset, from its tables to its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.baseline.boost import require_lightgbm
from rle.baseline.link import fit_link_heuristics
from rle.baseline.node import fit_node_baseline
from rle.errors import ValidationError
from rle.graph.build import build_snapshot
from rle.graph.task import read_labels
from rle.graph.task_table import check_times
from rle.ingest.labels import LabelCodec
from rle.runs.folders import snapshots_folder
from rle.spec.task import LinkTaskSpec, NodeTaskSpec
from rle.spec.textless import without_text
from rle.training.preflight import check_validation_labels
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.baseline.report import BaselineReport
    from rle.spec.dataset import DatasetSpec

    OnProgress = Callable[[str, int, int], None]

FITTED = (Split.TRAIN, Split.VALIDATION)


def run_baseline(
    spec: DatasetSpec,
    *,
    seed: int = 42,
    text_embedder: str | None = None,
    on_progress: OnProgress | None = None,
) -> BaselineReport:
    """Train and measure the baseline; see `rle.Dataset.baseline`."""
    tell = on_progress or (lambda stage, done, of: None)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValidationError(f"seed must be 0 or more, a number, not {seed!r}.")
    check_task_splits(spec)
    codec = None
    if not isinstance(spec.task, LinkTaskSpec):
        require_lightgbm()
        codec = fit_codec(spec)
    if text_embedder is None:
        spec = without_text(spec)
    snapshot = build_snapshot(
        spec,
        folder=snapshots_folder(),
        text_embedder=text_embedder or "none",
        num_workers=0,
        on_progress=tell,
    )
    if codec is None:
        return fit_link_heuristics(spec, snapshot, on_progress=tell)
    return fit_node_baseline(spec, snapshot, codec, seed=seed, on_progress=tell).report


def check_task_splits(spec: DatasetSpec) -> None:
    """Raise where a table that is needed is missing, or a time in it cannot be read."""
    task = spec.task
    missing = [split.value for split in FITTED if split not in task.sources]
    if missing:
        raise ValidationError(
            f"Task {task.name!r} has no {' and no '.join(missing)} table, and the baseline needs "
            "it; add it to task_data_source."
        )
    for split in task.sources:
        check_times(spec.connector, task, split)


def fit_codec(spec: DatasetSpec) -> LabelCodec:
    """Learn how labels become targets, from the training split; check those of validation."""
    task = spec.task
    assert isinstance(task, NodeTaskSpec)
    where = f"{task.name}.{task.target_column}"
    labels = {split: read_labels(spec.connector, task, split) for split in FITTED}
    codec = LabelCodec.fit(task.task_type, labels[Split.TRAIN], where=f"{where} (train)")
    check_validation_labels(codec, labels[Split.VALIDATION], where=where)
    return codec
