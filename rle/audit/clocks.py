"""Times that are not what they seem: cut to the day, or midnights of another time zone.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rle.audit.findings import Finding, FindingKind, Severity
from rle.audit.places import NS_PER_DAY, Basis, Children
from rle.ingest.nulls import NULL_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

MAX_TIMES = 100_000
DAILY_SHARE = 0.99
MIN_DAYS = 10
"""Distinct days below which nothing is said about the times of day."""
MIN_SHARE = 0.01
"""Share of task rows that see rows of their own day from which on it is a finding."""
TELLING = 0.80
_HOUR = 3_600 * 10**9


def daily_tables(snapshot: Snapshot) -> frozenset[str]:
    """Name the tables whose times are midnights, UTC."""
    return frozenset(
        name
        for name, store in snapshot.tables.items()
        if store.times is not None and _is_daily(_known(store.times))
    )


def check_zones(snapshot: Snapshot, spec: DatasetSpec) -> Iterator[Finding]:
    """Yield tables whose times take one or two times of day, an hour apart: local midnights."""
    for name, store in snapshot.tables.items():
        if store.times is None:
            continue
        times = _known(store.times)
        if np.unique(times // NS_PER_DAY).size < MIN_DAYS:
            continue
        of_day = np.unique(times % NS_PER_DAY)
        is_pair = of_day.size == 2 and int(of_day[1] - of_day[0]) == _HOUR
        if is_pair and 0 not in of_day:
            yield _shifted(spec, name, [int(t) // _HOUR for t in of_day])


def _shifted(spec: DatasetSpec, table: str, hours: list[int]) -> Finding:
    is_early = hours[0] >= 12
    return Finding(
        kind=FindingKind.SHIFTED_TIMES,
        severity=Severity.HIGH if is_early else Severity.MEDIUM,
        table=table,
        column=spec.table(table).time_column,
        message=(
            f"All times of {table!r} are at {hours[0]:02d}:00 or {hours[1]:02d}:00 UTC, an hour "
            "apart as summer time is: they are midnights of another time zone"
            + (", written on the day before, so rows are visible a day early." if is_early else ".")
            + " Write the local date as it is, or the time at which the row became known."
        ),
        evidence={"hours": ", ".join(map(str, hours))},
    )


@dataclass(slots=True)
class SameDay:
    """Takes children one by one; counts seeds that see rows of their own moment or day."""

    daily: frozenset[str]
    _most: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By table the share of seeds, on the path where it is largest."""

    def add(self, found: Children) -> None:
        """Look at one relation."""
        if found.basis is not Basis.AT_T:
            return
        share = float((found.count > 0).mean())
        if share > self._most.get(found.table, (0.0, ""))[0]:
            self._most[found.table] = (share, found.path)

    def findings(
        self, spec: DatasetSpec, lows: Mapping[tuple[str, str | None, Basis], float]
    ) -> Iterator[Finding]:
        """Yield the tables that are cut to the day and seen on the day of the prediction."""
        for table, (share, path) in self._most.items():
            if table not in self.daily or share < MIN_SHARE:
                continue
            telling = max(
                (low for (name, _, basis), low in lows.items()
                 if name == table and basis is Basis.AT_T),
                default=0.0,
            )  # fmt: skip
            yield Finding(
                kind=FindingKind.TRUNCATED_TIMES,
                severity=Severity.HIGH if telling >= TELLING else Severity.MEDIUM,
                table=table,
                column=spec.table(table).time_column,
                message=(
                    f"All times of {table!r} are midnights, so they say the day and not the "
                    f"moment, and {share:.1%} of the task rows see rows of their own day ({path}), "
                    "which may have happened after the prediction. A row of a day is known when "
                    "the day is over: date it at the day's end"
                    + (", or use current_time=False." if spec.task.current_time else ".")
                ),
                evidence={"share": share, "path": path, "label_at_least": telling},
            )

    def notes(self) -> Iterator[str]:
        """Say how many seeds see rows of exactly their time, where that is no finding."""
        for table, (share, _) in self._most.items():
            if table not in self.daily and share > 0:
                yield f"{share:.1%} of the task rows see rows of {table} of exactly their time."


def _known(times: NDArray[np.int64]) -> NDArray[np.int64]:
    sample = times[:: -(-times.size // MAX_TIMES) or 1]
    known: NDArray[np.int64] = sample[sample != NULL_TIME]
    return known


def _is_daily(times: NDArray[np.int64]) -> bool:
    return times.size > 0 and float((times % NS_PER_DAY == 0).mean()) >= DAILY_SHARE
