"""How well one column alone says the label: learnt on some seeds, measured on later ones.

A column is cut into bins (its values, or 32 quantiles; NULL is a bin of its own), each bin learns
the mean label of the training seeds, and that is held against the labels of the others. Bounds are
those of a test at 1 % as if `NUM_TRIED` columns were tried, which is more than are: so a column
that only looks good by chance stays below.

Shapes: S seeds, B bins, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.audit.labels import AuditLabels
    from rle.audit.probes import Probe

    Int64Array = NDArray[np.int64]
    Float64Array = NDArray[np.float64]

NUM_TRIED = 10_000
Z = NormalDist().inv_cdf(1.0 - 0.01 / NUM_TRIED)
"""Standard errors that a figure is lowered by: 4.75."""
NUM_QUANTILES = 32
MAX_VALUES = 64
"""Up to so many distinct numbers each is a bin of its own."""
PRIOR_ROWS = 10.0
"""Weight of the overall mean in a bin's mean, in rows."""
MIN_CLASS_ROWS = 20
"""Measured rows with and without a class, below which nothing is said about it."""
NUM_NULL_BINS = 3
"""Known, NULL and no row."""
MIN_DECIDED_ROWS = 20
DECIDED_RATE = 0.97
DECIDED_ODDS = 20.0
"""How many times the overall odds of a class a value must have to decide it."""


@dataclass(frozen=True, slots=True)
class Bins:
    """A column cut into bins; the last two are NULL and no row."""

    ids: Int64Array
    """int64 [S]."""
    num: int
    values: Float64Array | None
    """float64 [B - 2], the value of each bin; None where a bin is a range."""

    @property
    def null(self) -> int:
        """The bin of NULLs."""
        return self.num - 2


class Decided(NamedTuple):
    """A value with which the label is as good as certain."""

    target: str
    """The class."""
    bin: int
    num_rows: int
    """Sampled rows with the value, of both parts."""
    rate: float
    """Share of them that are of the class."""
    base_rate: float
    """Share of all rows that could have the value that are of the class."""
    covered: float
    """Share of the rows of the class that have the value."""

    @property
    def weight(self) -> float:
        """How much it says: a rare class that is found whole says most."""
        return self.covered * (1.0 - self.base_rate)


class Score(NamedTuple):
    """How well a column alone says the label."""

    metric: str
    """"AUROC" or "R2"."""
    value: float
    low: float
    """What it is at least, allowing for chance."""
    target: str | None
    """The class that it says best."""


def cut(probe: Probe, num_fit: int) -> Bins:
    """Cut a column into bins by the values of the first `num_fit` seeds."""
    known = ~np.isnan(probe.values)
    fit = probe.values[:num_fit][known[:num_fit]]
    distinct = np.unique(fit)
    values: Float64Array | None = distinct
    if not probe.is_code and distinct.size > MAX_VALUES:
        levels = np.linspace(0.0, 1.0, NUM_QUANTILES + 1)[1:-1]
        edges, values = np.unique(np.quantile(fit, levels)), None
    else:
        edges = distinct[1:]
    num = edges.size + 3
    ids = np.where(probe.has_row, num - 2, num - 1).astype(np.int64)
    ids[known] = np.searchsorted(edges, probe.values[known], side="right")
    if probe.is_code and distinct.size:
        # A name that training never saw says nothing: it counts as no row.
        ids[known & ~np.isin(probe.values, distinct)] = num - 1
    return Bins(ids, num, values)


def null_bins(bins: Bins) -> Bins:
    """Return three bins: known, NULL and no row."""
    ids = np.where(bins.ids >= bins.null, bins.ids - bins.null + 1, 0)
    return Bins(ids, NUM_NULL_BINS, None)


def row_bins(bins: Bins) -> Bins:
    """Return two bins: a row, and no row. As `null_bins`, with NULL among the known."""
    return Bins(np.where(bins.ids == bins.num - 1, 2, 0), NUM_NULL_BINS, None)


def measure(bins: Bins, labels: AuditLabels, num_fit: int) -> Score | None:
    """Return how well the bins say the label; None where there are too few rows to tell."""
    if labels.numbers is not None:
        return _r2(bins, labels.numbers, num_fit)
    best: Score | None = None
    for c, name in enumerate(labels.names):
        found = _auroc(bins, labels.is_class[:, c], num_fit)
        if found is not None and (best is None or found[1] > best.low):
            best = Score("AUROC", *found, name if len(labels.names) > 2 else None)
    return best


def _auroc(bins: Bins, is_class: NDArray[np.bool_], num_fit: int) -> tuple[float, float] | None:
    fit, check = bins.ids[:num_fit], bins.ids[num_fit:]
    y = is_class[num_fit:]
    num_yes = int(y.sum())
    num_no = y.size - num_yes
    if min(num_yes, num_no) < MIN_CLASS_ROWS:
        return None
    order = np.argsort(_bin_means(fit, is_class[:num_fit].astype(np.float64), bins.num))
    yes = np.bincount(check[y], minlength=bins.num)[order]
    no = np.bincount(check[~y], minlength=bins.num)[order]
    below = np.cumsum(no) - no
    area = float((yes * (below + no / 2)).sum() / (num_yes * num_no))
    # Hanley and McNeil; an area of 1 would have no error at all.
    a = min(area, 1.0 - 0.5 / min(num_yes, num_no))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (num_yes - 1) * (q1 - a * a) + (num_no - 1) * (q2 - a * a)
    error = (max(spread, 0.0) / (num_yes * num_no)) ** 0.5
    return area, a - Z * error


def _r2(bins: Bins, numbers: Float64Array, num_fit: int) -> Score | None:
    y = numbers[num_fit:]
    total = float(((y - y.mean()) ** 2).sum())
    if y.size < 2 * MIN_CLASS_ROWS or total == 0.0:
        return None
    guess = _bin_means(bins.ids[:num_fit], numbers[:num_fit], bins.num)[bins.ids[num_fit:]]
    r2 = 1.0 - float(((y - guess) ** 2).sum()) / total
    # Fisher's transform of the correlation, back again.
    r = min(max(r2, 0.0) ** 0.5, 1.0 - 1e-9)
    low = max(float(np.tanh(np.arctanh(r) - Z / (y.size - 3) ** 0.5)), 0.0) ** 2
    return Score("R2", r2, low, None)


def _bin_means(ids: Int64Array, y: Float64Array, num: int) -> Float64Array:
    total = np.bincount(ids, y, num) + PRIOR_ROWS * y.mean()
    means: Float64Array = total / (np.bincount(ids, minlength=num) + PRIOR_ROWS)
    return means


def decided(bins: Bins, labels: AuditLabels, num_fit: int) -> Decided | None:
    """Return the value that decides a class, in both parts, and covers most of it; or None."""
    fit, check = bins.ids[:num_fit], bins.ids[num_fit:]
    in_fit = np.bincount(fit, minlength=bins.num)
    in_check = np.bincount(check, minlength=bins.num)
    enough = (in_fit >= MIN_DECIDED_ROWS) & (in_check >= MIN_DECIDED_ROWS)
    enough[-1] = False  # no row there is for the count of rows to tell
    if not enough.any():
        return None
    has_row = bins.ids != bins.num - 1
    best: Decided | None = None
    for c, name in enumerate(labels.names):
        y = labels.is_class[:, c]
        base = float(y[has_row].mean())
        yes_fit = np.bincount(fit[y[:num_fit]], minlength=bins.num)
        yes = yes_fit + np.bincount(check[y[num_fit:]], minlength=bins.num)
        num = in_fit + in_check
        rate = np.minimum(
            yes_fit / np.maximum(in_fit, 1), (yes - yes_fit) / np.maximum(in_check, 1)
        )
        is_sure = (
            enough & (rate >= DECIDED_RATE) & (_odds_low(yes, num) >= DECIDED_ODDS * _odds(base))
        )
        for b in np.flatnonzero(is_sure):
            found = Decided(
                name, int(b), int(num[b]), float(yes[b] / num[b]), base, float(yes[b] / y.sum())
            )
            if best is None or found.weight > best.weight:
                best = found
    return best


def _odds(rate: float) -> float:
    return rate / max(1.0 - rate, 1e-9)


def _odds_low(yes: Int64Array, num: Int64Array) -> Float64Array:
    """Return the odds of each bin, lowered by what chance allows (Wilson)."""
    n = np.maximum(num, 1)
    p = yes / n
    middle = p + Z**2 / (2 * n)
    reach = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    low = np.clip((middle - reach) / (1 + Z**2 / n), 0.0, 1.0 - 1e-9)
    odds: Float64Array = low / (1.0 - low)
    return odds
