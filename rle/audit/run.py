"""The audit of one dataset: every check once, in order."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.audit.alive import FirstSeen, check_entities
from rle.audit.clocks import SameDay, check_zones, daily_tables
from rle.audit.findings import AuditReport, Finding, sorted_findings
from rle.audit.future import FutureValues
from rle.audit.label_checks import LabelChecks
from rle.audit.labels import read_labels
from rle.audit.null_keys import ambiguous_links, null_probes, read_nulls
from rle.audit.places import Basis, Children, Place, Seeds, Surroundings
from rle.audit.probes import Probe, probes_of
from rle.audit.splits import check_splits
from rle.audit.task_rows import pick, read_task, usable_rows
from rle.audit.undated import check_undated
from rle.errors import ValidationError
from rle.graph.build import build_snapshot
from rle.runs.folders import snapshots_folder
from rle.spec.textless import without_text
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rle.audit.task_rows import TaskRows
    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

    OnProgress = Callable[[str, int, int], None]

MIN_ROWS = 100
"""Fewer sampled rows would show nothing."""
MIN_FITTED = 40
"""Rows to learn from, and rows to measure on, below which no column is measured."""
OWN_ROWS = 10
"""How many times as many rows are sampled where only the entity's own row is read."""


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
        ValidationError: `max_rows` is below 100, `seed` is no number from 0 on, or `ignore` is one
            text instead of several.
        RLEError: The tables or the task tables cannot be read.
    """
    _check_options(ignore, max_rows, seed)
    started = time.monotonic()
    audit = _Audit(without_text(spec), max_rows, seed, on_progress or _tell_nobody)
    findings = list(audit.run())
    kept = [f for f in findings if f.table not in ignore and f.place not in ignore]
    over = [f"{len(findings) - len(kept)} findings were passed over, as asked."] if ignore else []
    return AuditReport(
        dataset=spec.experiment_name,
        findings=sorted_findings(kept),
        notes=(*audit.notes, *over),
        seconds=round(time.monotonic() - started, 1),
    )


def _check_options(ignore: Sequence[str], max_rows: int, seed: int) -> None:
    if isinstance(ignore, str):  # "in" would look for parts of it
        raise ValidationError(f"ignore must be a list of places, such as [{ignore!r}].")
    for name, value, least in (("max_rows", max_rows, MIN_ROWS), ("seed", seed, 0)):
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or value < least:
            raise ValidationError(f"{name} must be {least} or more, a number, not {value!r}.")


@dataclass(frozen=True, slots=True)
class _Watch:
    """Checks that see every place on the way, whether or not there are labels."""

    future: FutureValues
    same_day: SameDay
    first_seen: FirstSeen

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Watch:
        """Begin to watch."""
        return cls(FutureValues(snapshot), SameDay(daily_tables(snapshot)), FirstSeen())

    def add(self, found: Place | Children, seeds: Seeds) -> None:
        """Look at one place, or at the children that one relation leads to."""
        if isinstance(found, Children):
            self.same_day.add(found)
            self.first_seen.add(found)
        else:
            self.future.add(found, seeds)


class _Audit:
    """One audit under way."""

    def __init__(self, spec: DatasetSpec, max_rows: int, seed: int, tell: OnProgress) -> None:
        self._spec, self._max_rows, self._seed, self._tell = spec, max_rows, seed, tell
        self.notes: list[str] = []

    def run(self) -> Iterator[Finding]:
        """Yield all findings."""
        spec = self._spec
        snapshot = open_graph(spec, self._tell)
        splits = read_task(spec, snapshot)
        for split, found in splits.items():
            part = f", of which {len(found.keys):,} were read" if found.is_sample else ""
            self.notes.append(f"{split.value}: {found.num_rows:,} rows{part}.")
        yield from check_splits(spec, splits)
        yield from check_entities(spec, snapshot, splits)
        if spec.task.time_column is not None:
            yield from check_zones(snapshot, spec)
            first = next(iter(splits.values()))
            yield from check_undated(snapshot, first.times, seed=self._seed)
        yield from self._check_surroundings(snapshot, splits)

    def _check_surroundings(
        self, snapshot: Snapshot, splits: Mapping[Split, TaskRows]
    ) -> Iterator[Finding]:
        """Walk from the sampled task rows; measure what every column there says of the label."""
        watch = _Watch.of(snapshot)
        lows: dict[tuple[str, str | None, Basis], float] = {}
        for max_depth, max_rows in ((0, OWN_ROWS * self._max_rows), (2, self._max_rows)):
            seeds, checks = self._seeds(splits, max_rows)
            if seeds.rows.size == 0:
                self.notes.append("No task row has a known entity and a label; none was looked at.")
                return
            stage = "surroundings" if max_depth else "own rows"
            for step, found in enumerate(self._walk(snapshot, watch, seeds, max_depth)):
                self._tell(stage, step, step + 1)
                watch.add(found, seeds)
                if checks is not None:
                    for probe in self._probes(found, snapshot, seeds):
                        checks.add(probe)
            if checks is not None:
                lows |= checks.lows
                yield from checks.findings()
                self.notes.append(
                    f"{stage}: {seeds.rows.size:,} task rows, {checks.num_tried} columns."
                )
        yield from watch.future.findings(lows)
        yield from watch.same_day.findings(self._spec, lows)
        self.notes += [*watch.first_seen.notes(), *watch.same_day.notes()]

    def _walk(
        self, snapshot: Snapshot, watch: _Watch, seeds: Seeds, max_depth: int
    ) -> Iterator[Place | Children]:
        """Yield the own row alone, or everything but it: it is read for more task rows."""
        walker = Surroundings(
            snapshot, inclusive=self._spec.task.current_time, daily=watch.same_day.daily
        )
        found = walker.walk(self._spec.entities[0][0], seeds, max_depth=max_depth)
        return itertools.islice(found, 1 if max_depth else 0, None)

    def _probes(self, found: Place | Children, snapshot: Snapshot, seeds: Seeds) -> Iterator[Probe]:
        yield from probes_of(found, snapshot, seeds)
        if isinstance(found, Children) or found.depth:
            return
        links = ambiguous_links(self._spec, snapshot, found.table)
        if links:
            yield from null_probes(found, read_nulls(self._spec, snapshot, found.table, links))

    def _seeds(
        self, splits: Mapping[Split, TaskRows], max_rows: int
    ) -> tuple[Seeds, LabelChecks | None]:
        """Draw the sampled task rows: training to learn from, validation to measure on."""
        fitted = [splits[s] for s in (Split.TRAIN, Split.VALIDATION) if s in splits]
        used = fitted or list(splits.values())
        usable = usable_rows(used)
        at = [
            pick(found, rows, max_rows=max_rows, seed=self._seed)
            for found, rows in zip(used, usable, strict=True)
        ]
        seeds = Seeds(
            rows=np.concatenate([found.rows[i] for found, i in zip(used, at, strict=True)]),
            times=np.concatenate([found.times[i] for found, i in zip(used, at, strict=True)]),
            num_fit=at[0].size,
        )
        has_labels = len(fitted) == 2 and all(found.labels is not None for found in fitted)
        if not has_labels:
            return seeds, None
        if min(positions.size for positions in at) < MIN_FITTED:
            self._note_unmeasured(f"fewer than {MIN_FITTED} labelled rows")
            return seeds, None
        parts = tuple(zip(used, at, strict=True))
        task_type = self._spec.task.task_type
        labels = read_labels(task_type, parts)
        if labels.is_constant(seeds.num_fit):
            self._note_unmeasured("one label only")
            return seeds, None
        return seeds, LabelChecks(labels, seeds.num_fit, is_link=task_type.is_link)

    def _note_unmeasured(self, why: str) -> None:
        """Note once that no column was measured, lest a quiet report be taken for a proof."""
        note = f"No column was measured against the label: a split has {why}."
        if note not in self.notes:
            self.notes.append(note)


def _tell_nobody(stage: str, done: int, of: int) -> None:
    pass


def open_graph(spec: DatasetSpec, tell: OnProgress) -> Snapshot:
    """Return the dataset's graph, built where it is not there yet."""
    return build_snapshot(
        spec,
        folder=snapshots_folder(),
        text_embedder="none",  # nothing is text any more
        num_workers=0,
        on_progress=tell,
    )
