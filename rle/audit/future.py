"""Dates and years in visible rows that lie after the prediction: nobody could have known them.

A plan is the exception: a flight is published with its departure, a contract with its end. Plans
keep a distance to the moment they were made at; outcomes come whenever they come.

Shapes: S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rle.audit.findings import Finding, FindingKind, Severity
from rle.audit.places import NS_PER_DAY, Basis, Place
from rle.audit.probes import looks_like_years, year_of
from rle.ingest.nulls import NULL_STAMP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from rle.audit.places import Seeds
    from rle.graph.snapshot import Snapshot

MIN_ROWS = 20
MIN_SHARE = 0.001
"""Below this share of visible values a date in the future is a typing error."""
PLAN_SPREAD_DAYS = 1.0
"""Up to this distance between the 5 % and 95 % quantile of lead, all rows are planned alike."""
WIDE_SPREAD_DAYS = 365.0
"""From this distance on it is no plan."""
TELLING = 0.70
"""From this AUROC (allowing for chance) on, a column with future dates is grave by itself."""
DAYS_PER_YEAR = 365.25
OPEN_END = 2200
"""Years from here on stand for "not yet"."""


@dataclass(slots=True)
class _Seen:
    """One column over all places, values after t among them."""

    num_visible: int = 0
    num_future: int = 0
    leads: list[NDArray[np.float64]] = field(default_factory=list)
    """Days from the row's own time, or from the prediction, to the value."""
    is_timed: bool = False
    path: str = ""


@dataclass(slots=True)
class FutureValues:
    """Takes places one by one; counts values that lie after the seed's time."""

    snapshot: Snapshot
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)

    def add(self, place: Place, seeds: Seeds) -> None:
        """Look at the datetime and year columns of one place."""
        has = place.rows >= 0
        rows, times = place.rows[has], seeds.times[has]
        if rows.size == 0:
            return
        store, layout = self.snapshot.tables[place.table], self.snapshot.schema.table(place.table)
        made = None if store.times is None else store.times[rows]
        stamps = store.stamps[rows]
        for i, column in enumerate(layout.stamp_columns):
            known = (stamps[:, i] != NULL_STAMP) & (year_of(stamps[:, i]) < OPEN_END)
            start = None if made is None else _days(made)
            self._count(place, column, _days(stamps[:, i]), _days(times), known, start)
        numbers = store.numbers[rows]
        for i, column in enumerate(layout.number_columns):
            years = numbers[:, i].astype(np.float64)
            if looks_like_years(years):
                begin = None if made is None else _years(made)
                value, known = years * DAYS_PER_YEAR, ~np.isnan(years)
                self._count(place, column, value, _years(times), known, begin)

    def _count(
        self,
        place: Place,
        column: str,
        value: NDArray[np.float64],
        t: NDArray[np.float64],
        known: NDArray[np.bool_],
        made: NDArray[np.float64] | None,
    ) -> None:
        seen = self._seen.setdefault((place.table, column), _Seen())
        is_future = known & (value > t)
        seen.num_visible += int(known.sum())
        if not is_future.any():
            return
        seen.num_future += int(is_future.sum())
        seen.is_timed = made is not None
        seen.leads.append((value - (t if made is None else made))[is_future])
        seen.path = seen.path or place.path

    def findings(self, lows: Mapping[tuple[str, str | None, Basis], float]) -> Iterator[Finding]:
        """Yield the columns that hold the future.

        Args:
            lows: How well each column says the label, by table, column and basis.
        """
        for (table, column), seen in self._seen.items():
            share = seen.num_future / max(seen.num_visible, 1)
            if seen.num_future < MIN_ROWS or share < MIN_SHARE:
                continue
            leads = np.concatenate(seen.leads)
            low, high = np.quantile(leads, [0.05, 0.95])
            if seen.is_timed and high - low <= PLAN_SPREAD_DAYS:
                continue
            telling = max((lows.get((table, column, basis), 0.0) for basis in Basis), default=0.0)
            is_grave = high - low >= WIDE_SPREAD_DAYS or telling >= TELLING
            yield _finding(table, column, seen, share, (low, high), is_grave=is_grave)


def _days(moments: NDArray[np.int64]) -> NDArray[np.float64]:
    days: NDArray[np.float64] = moments.astype(np.float64) / NS_PER_DAY
    return days


def _years(moments: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the beginning of the calendar year, in days."""
    days: NDArray[np.float64] = year_of(moments).astype(np.float64) * DAYS_PER_YEAR
    return days


def _short(days: float) -> str:
    return f"{days:,.0f}" if abs(days) >= 10 else f"{days:.2g}"


def _finding(
    table: str,
    column: str,
    seen: _Seen,
    share: float,
    spread: tuple[float, float],
    *,
    is_grave: bool,
) -> Finding:
    since = "the row became known" if seen.is_timed else "the prediction"
    return Finding(
        kind=FindingKind.FUTURE_VALUE,
        severity=Severity.HIGH if is_grave else Severity.MEDIUM,
        table=table,
        column=column,
        message=(
            f"{seen.num_future:,} of {seen.num_visible:,} visible values ({share:.1%}) of "
            f"{column!r} ({seen.path}) lie after the prediction, "
            f"{_short(spread[0])} to {_short(spread[1])} days after {since}. Unless it is a plan "
            f"that was known then, it was filled in later: remove_column({column!r}), or move it "
            "to a table with a time of its own."
        ),
        evidence={
            "visible": seen.num_visible,
            "future": seen.num_future,
            "share": share,
            "lead_days_5_percent": float(spread[0]),
            "lead_days_95_percent": float(spread[1]),
        },
    )
