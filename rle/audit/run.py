"""The audit of one dataset: every check once, in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rle.audit.findings import AuditReport, Finding, sorted_findings
from rle.audit.splits import check_splits
from rle.audit.task_rows import read_task
from rle.errors import ValidationError
from rle.graph.build import build_snapshot
from rle.runs.folders import snapshots_folder
from rle.values import ColumnDType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec

    OnProgress = Callable[[str, int, int], None]

MIN_ROWS = 100
"""Fewer sampled rows could show nothing."""


def audit_dataset(
    spec: DatasetSpec,
    *,
    ignore: Sequence[str] = (),
    max_rows: int = 20_000,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> AuditReport:
    """Look for leaks; see `rle.Dataset.audit`.

    Args:
        spec: Tables and a task. Text is read as categories, so no text embedder is needed.
        ignore: Places to pass over, "table.column" or "table".
        max_rows: Task rows per split whose surroundings are read.
        seed: Of the sample.
        on_progress: Called with a stage, steps done and steps in all.

    Raises:
        ValidationError: `max_rows` is below 100.
        RLEError: The tables or the task tables cannot be read.
    """
    if max_rows < MIN_ROWS:
        raise ValidationError(f"max_rows must be {MIN_ROWS} or more, not {max_rows!r}.")
    started = time.monotonic()
    tell = on_progress or (lambda stage, done, of: None)
    spec = without_text(spec)
    snapshot = open_graph(spec, tell)
    splits = read_task(spec, snapshot)
    findings: list[Finding] = list(check_splits(spec, splits))
    kept = [f for f in findings if f.table not in ignore and f.place not in ignore]
    return AuditReport(
        dataset=spec.experiment_name,
        findings=sorted_findings(kept),
        seconds=round(time.monotonic() - started, 1),
    )


def without_text(spec: DatasetSpec) -> DatasetSpec:
    """Return the dataset with its text columns read as categories; keys stay as they are."""
    return spec.replace(tables=tuple(_without_text(table) for table in spec.tables))


def _without_text(table: TableSpec) -> TableSpec:
    features = {column.name for column in table.feature_columns}
    roles = {*table.key_columns, *table.link_columns}
    columns = tuple(
        column.replace(dtype=ColumnDType.category_t)
        if column.dtype is ColumnDType.text_t and column.name in features - roles
        else column
        for column in table.columns
    )
    return table.replace(columns=columns)


def open_graph(spec: DatasetSpec, tell: OnProgress) -> Snapshot:
    """Return the dataset's graph, built where it is not there yet."""
    return build_snapshot(
        spec,
        folder=snapshots_folder(),
        text_embedder="none",  # nothing is text any more
        num_workers=0,
        on_progress=tell,
    )
