"""Link tasks: what past visits and popularity reach without learning anything.

Shapes: N rows of a split, T rows of the target table, P history pairs, E events, k ranks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.report import BaselineReport, MethodScore
from rle.errors import DataError
from rle.graph.link_task import read_link_split
from rle.sampling.history import HistoryReader, history_paths
from rle.sampling.moments import moments
from rle.sampling.negatives import path_events
from rle.sampling.visible import count_before, count_visible
from rle.spec.config import nanoseconds
from rle.spec.metric import DEFAULT_EVAL_AT_K
from rle.training.link_metrics import LinkMeter
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rle.graph.link_task import LinkSplitRows
    from rle.graph.snapshot import Snapshot
    from rle.sampling.link_batch import History
    from rle.spec.dataset import DatasetSpec

    OnProgress = Callable[[str, int, int], None]
    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    Rankings = dict[str, Int32Array]

CHUNK_ROWS = 4096
"""Rows that are ranked at once."""
MAX_MOMENTS = 512
"""Moments as of which popularity is counted; a row takes the latest that is not after it."""
RECENT_H = (720.0, 8760.0)
"""Hours in which visits are recent: a month and a year."""
FADE_DAYS = 365.0
"""A visit counts half as much this long ago."""
LONG_AGO = 1e5
"""Days; older visits, and those without a time, count as this old."""
NUM_SHOWN = 10
"""Methods that are reported at most."""
FEW = 1024
"""Popular targets that are looked at for one a source has not visited yet."""


def fit_link_heuristics(
    spec: DatasetSpec,
    snapshot: Snapshot,
    *,
    time_window: int | None = None,
    on_progress: OnProgress,
) -> BaselineReport:
    """Measure the rankings that need no learning; the best on validation comes first.

    Args:
        spec: With a link task and its validation table; the test table counts if it has targets.
        snapshot: The graph of its tables.
        time_window: Nanoseconds before a row's time beyond which nothing is visible.
        on_progress: Called with a stage, steps done and steps in all.

    Raises:
        DataError: A split is empty, or none of its targets is in the graph.
    """
    started = time.monotonic()
    ranker = _Ranker(spec, snapshot, time_window=time_window)
    values: dict[str, dict[Split, float]] = {}
    num_rows: dict[str, int] = {}
    for split in (Split.VALIDATION, Split.TEST):
        if split not in spec.task.sources:
            continue
        rows = read_link_split(spec.connector, spec, split, snapshot, with_targets=True)
        if rows.targets is None:
            continue
        num_rows[split.value] = int((rows.rows >= 0).sum())
        for method, value in ranker.measure(rows, on_progress).items():
            values.setdefault(method, {})[split] = value
    scores = [
        MethodScore(method=name, validation=v[Split.VALIDATION], test=v.get(Split.TEST))
        for name, v in values.items()
    ]
    scores.sort(key=lambda score: -score.validation)  # stable: the simpler of equal ones first
    return BaselineReport(
        dataset=spec.experiment_name,
        task_type=spec.task.task_type,
        metric=spec.task.metric,
        validation=scores[0].validation,
        test=scores[0].test,
        methods=tuple(scores[:NUM_SHOWN]),
        num_rows=num_rows,
        seconds=round(time.monotonic() - started, 1),
    )


@dataclass(frozen=True, slots=True)
class _Popular:
    """The most visited targets as of some moments, best first."""

    ever: Int32Array
    """int32 [moments, L]."""
    recent: Int32Array
    """int32 [moments, L], by visits within the last year."""


class _Ranker:
    """Ranks the targets of sources in every way that needs no learning."""

    def __init__(self, spec: DatasetSpec, snapshot: Snapshot, *, time_window: int | None) -> None:
        (source, *_), (target, *_) = spec.entities
        self._metric, self._inclusive = spec.task.metric, spec.task.current_time
        self._k = self._metric.eval_at_k or DEFAULT_EVAL_AT_K
        self._is_repeated = spec.task.task_type is TaskType.REPEATED_LINK_PREDICTION
        paths = history_paths(snapshot.schema, source=source, target=target)
        self._reader = HistoryReader(
            snapshot,
            source=source,
            target=target,
            paths=paths,
            inclusive=self._inclusive,
            windows=nanoseconds(RECENT_H),
            time_window=time_window,
        )
        self._labels = _path_labels(snapshot, paths)
        self._targets = snapshot.tables[target]
        self._events = np.empty(0, np.int32), np.empty(0, np.int64)
        if paths:
            self._events = path_events(snapshot, paths[0], source=source)

    def measure(self, rows: LinkSplitRows, on_progress: OnProgress) -> dict[str, float]:
        """Return the task's metric of each ranking over the rows of a split."""
        assert rows.offsets is not None
        assert rows.targets is not None
        meters: dict[str, LinkMeter] = {}
        num = rows.rows.size
        for first in range(0, num, CHUNK_ROWS):
            part = np.arange(first, min(first + CHUNK_ROWS, num))
            begin, end = rows.offsets[part[0]], rows.offsets[part[-1] + 1]
            offsets = rows.offsets[part[0] : part[-1] + 2] - begin
            wanted = rows.targets[begin:end]
            for method, ranked in self._rankings(rows.rows[part], rows.times[part]).items():
                meter = meters.setdefault(method, LinkMeter(self._k))
                meter.add(ranked, offsets, wanted)
            on_progress(f"baseline of {rows.split.value}", int(part[-1]) + 1, num)
        if not meters:
            raise DataError(f"The {rows.split.value} split has no rows to rank.")
        return {name: meter.compute()[self._metric.name] for name, meter in meters.items()}

    def _rankings(self, rows: Int32Array, times: Int64Array) -> Rankings:
        known = np.flatnonzero(rows >= 0)
        history = self._reader.read(rows[known], times[known])
        source = known[np.repeat(np.arange(known.size), np.diff(history.offset))]
        visited = {
            name: _rank(source, history.targets, score, num=rows.size, k=self._k)
            for name, score in _visit_scores(history, self._labels).items()
        }
        if self._is_repeated:
            return visited
        at, moment_of = moments(times, limit=MAX_MOMENTS)
        popular = self._popular(at)
        out: Rankings = {}
        for name, lists in (("most popular", popular.ever), ("popular of late", popular.recent)):
            whole = lists[moment_of]
            out[name] = whole[:, : self._k]
            out[f"{name}, not visited yet"] = _without(
                whole, source, history.targets, num_targets=self._targets.num_rows, k=self._k
            )
        for visits, first in visited.items():
            out[f"{visits}, then popular"] = _filled(first, popular.ever[moment_of], k=self._k)
        for ranked in out.values():
            ranked[rows < 0] = -1
        return out

    def _popular(self, at: Int64Array) -> _Popular:
        targets, times = self._events
        num, length = self._targets.num_rows, min(self._targets.num_rows, self._k + FEW)
        visible = count_visible(self._targets, at, inclusive=self._inclusive)
        window = nanoseconds(RECENT_H)[-1]
        ends = count_before(times, at, inclusive=self._inclusive)
        # A task without time stands at the end of time, where no window can be subtracted wrongly.
        begins = count_before(
            times,
            np.maximum(at, np.iinfo(np.int64).min + window) - window,
            inclusive=self._inclusive,
        )
        ever, recent = (np.empty((at.size, length), np.int32) for _ in range(2))
        for i in range(at.size):
            for out, begin in ((ever, 0), (recent, begins[i])):
                count = np.bincount(targets[begin : ends[i]], minlength=num).astype(np.int64)
                count[visible[i] :] = -1
                order = np.argsort(-count, kind="stable")[:length]
                out[i] = np.where(count[order] >= 0, order, -1)
        return _Popular(ever, recent)


def _visit_scores(history: History, labels: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Float64 [P] per way of ordering what a source has visited; more is better.

    Along each path alone, where pairs of other paths come last, and along all of them together.
    """
    count = history.count.astype(np.float64)
    age = np.where(np.isnan(history.newest), LONG_AGO, np.minimum(history.newest, LONG_AGO))
    month, year = (history.recent[:, :, w].astype(np.float64) for w in range(len(RECENT_H)))
    views = {
        label: (count[:, k], age[:, k], month[:, k], year[:, k]) for k, label in enumerate(labels)
    }
    if len(labels) != 1:
        whole = (values.sum(axis=1) for values in (count, month, year))
        total, within_month, within_year = whole
        views[""] = total, age.min(axis=1, initial=LONG_AGO), within_month, within_year
    out: dict[str, NDArray[np.float64]] = {}
    for label, (visits, days, of_month, of_year) in views.items():
        tie = 1e-6 * np.minimum(visits, 999.0)  # of equal ones the one that was visited more often
        for name, score in (
            ("most often first", visits),
            ("newest first", tie - days),
            ("most often within a month", of_month + tie),
            ("most often within a year", of_year + tie),
            ("counted less the older", visits * 0.5 ** (days / FADE_DAYS)),
        ):
            out[f"past visits{label}, {name}"] = np.where(visits > 0, score, -np.inf)
    return out


def _path_labels(snapshot: Snapshot, paths: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """How methods name the paths, as briefly as tells them apart; nothing for a single one."""
    relations = snapshot.schema.relations
    briefly = (
        [""] * len(paths),
        [f" by {relations[path[0]].target}" for path in paths],
        [f" by {relations[path[-1]].link}" for path in paths],
        [f" by {' > '.join(relations[i].link for i in path)}" for path in paths],
    )
    return tuple(next(names for names in briefly if len(set(names)) == len(names)))


def _rank(
    source: Int64Array, targets: Int32Array, score: NDArray[np.float64], *, num: int, k: int
) -> Int32Array:
    """Int32 [num, k]: the targets of each source, best first, equal ones by row; -1 after them."""
    out = np.full((num, k), -1, np.int32)
    order = np.lexsort((targets, -score, source))
    owner = source[order]
    is_first = np.append(True, owner[1:] != owner[:-1]) if owner.size else np.zeros(0, bool)
    begins = np.flatnonzero(is_first)
    rank = np.arange(owner.size) - begins[np.cumsum(is_first) - 1]
    kept = rank < k
    out[owner[kept], rank[kept]] = targets[order][kept]
    return out


def _without(
    lists: Int32Array, source: Int64Array, visited: Int32Array, *, num_targets: int, k: int
) -> Int32Array:
    """Int32 [n, k]: the first entries of each list that its row has not visited."""
    width = num_targets + 1
    taken = np.sort(source * width + visited)
    asked = np.arange(lists.shape[0])[:, None] * width + lists
    return _compact(np.where(np.isin(asked, taken) | (lists < 0), -1, lists), k=k)


def _filled(first: Int32Array, lists: Int32Array, *, k: int) -> Int32Array:
    """Int32 [n, k]: what is in `first`, then what is in `lists` and not there yet."""
    head = lists[:, : 2 * k]
    is_there = (head[:, :, None] == first[:, None, :]).any(axis=2)
    return _compact(np.concatenate([first, np.where(is_there, -1, head)], axis=1), k=k)


def _compact(lists: Int32Array, *, k: int) -> Int32Array:
    """Int32 [n, k]: the entries that are not -1, in their order."""
    order = np.argsort(lists < 0, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(lists, order, axis=1)
    if found.shape[1] < k:
        found = np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=-1)
    return found.astype(np.int32)
