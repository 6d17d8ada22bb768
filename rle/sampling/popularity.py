"""How sought after targets are at a moment: their shares of all events, and of all first meetings.

A first meeting is the first event that joins a source and a target: a customer's first order of a
product. Where sources are asked what is new to them, who is met for the first time tells more than
who is met most.

Shapes: D targets, each at a time, E events, W windows of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.graph.topology import group_by_parent
from rle.sampling.negatives import meetings
from rle.sampling.visible import count_before

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Float32Array, Int32Array, Int64Array


class PopularityReader:
    """Counts a history path's events and first meetings per target, exactly, up to a moment.

    Takes 24 bytes per event at most. Safe to share by threads.

    Args:
        snapshot: The graph.
        source: Table of the sources.
        target: Table of the targets.
        path: History path; it says what an event is.
        inclusive: Whether what happens at exactly the moment counts.
        windows: Nanoseconds, ascending: counts within each of these before the moment, beside the
            count of all that is visible.
        time_window: Nanoseconds; what is older is never counted. Which meetings are first hangs on
            all that came before, so with it first meetings are not counted.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        source: str,
        target: str,
        path: Sequence[int],
        inclusive: bool,
        windows: Sequence[int] = (),
        time_window: int | None = None,
    ) -> None:
        num_targets = snapshot.tables[target].num_rows
        sources, targets, times = meetings(snapshot, path, source=source)
        self._counts = [_Counts(targets, times, num_targets)]
        if time_window is None:
            pairs = sources * np.int64(max(1, num_targets)) + targets
            _, first = np.unique(pairs, return_index=True)
            first.sort()
            self._counts.append(_Counts(targets[first], times[first], num_targets))
        self._spans = [time_window, *windows]
        self._num_targets, self._inclusive = num_targets, inclusive

    def read(self, rows: Int32Array, times: Int64Array) -> Float32Array:
        """Return logarithms of shares, float32 [D, F].

        Of the events, then of the first meetings, within all that is visible and then within each
        window. A target without any has the share of one event, so that it can still be ranked.

        Args:
            rows: int32 [D], rows of the target table.
            times: int64 [D], nanoseconds since 1970 UTC.
        """
        columns = [
            self._log_shares(counts, rows, times, span)
            for counts in self._counts
            for span in self._spans
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def _log_shares(
        self, counts: _Counts, rows: Int32Array, times: Int64Array, span: int | None
    ) -> Float32Array:
        own, total = counts.before(rows, times, inclusive=self._inclusive)
        if span is not None:
            older, all_older = counts.before(rows, times - span, inclusive=self._inclusive)
            own, total = own - older, total - all_older
        shares: Float32Array = np.log((own + 1) / (total + self._num_targets))
        return shares


def num_popularity_features(num_windows: int, *, time_window: int | None) -> int:
    """F of `PopularityReader.read`."""
    return (1 + num_windows) * (2 if time_window is None else 1)


class _Counts:
    """Events by target, each list ascending in time."""

    def __init__(self, targets: Int32Array, times: Int64Array, num_targets: int) -> None:
        self._times, self._stride = times, np.int64(times.size + 1)
        self._offsets, events = group_by_parent(targets, num_targets)
        # Ascending, so that one search finds how many of a target's events come before a number.
        self._keys = targets[events] * self._stride + events

    def before(
        self, rows: Int32Array, times: Int64Array, *, inclusive: bool
    ) -> tuple[Int64Array, Int32Array]:
        """Return each target's events before, or at, a time, and those of all targets: [D]."""
        total = count_before(self._times, times, inclusive=inclusive)
        found = np.searchsorted(self._keys, rows * self._stride + total)
        return found - self._offsets[rows], total
