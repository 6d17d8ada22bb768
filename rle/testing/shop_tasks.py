"""The shop's prediction tasks: labels that hang on the visible past, or are leaked after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

Splits = dict[str, pa.Table]

CUTOFFS: dict[str, tuple[str, ...]] = {
    "train": ("2022-10-01", "2022-12-01", "2023-02-01", "2023-04-01"),
    "validation": ("2023-07-01",),
    "test": ("2023-10-01",),
}
"""Prediction times of each split, midnight UTC."""
FLIPPED = 0.05
MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class History:
    """Who bought what, when: arrays of one length, in no order of time."""

    customer: np.ndarray
    article: np.ndarray
    time: np.ndarray
    """datetime64[us]."""
    channel: np.ndarray
    amount: np.ndarray
    department: np.ndarray
    """Department number of the article, NaN where unknown."""


@dataclass(frozen=True, slots=True)
class _Past:
    """One customer's transactions before one time."""

    days: np.ndarray
    """Days before that time, newest first."""
    channel: np.ndarray
    amount: np.ndarray
    department: np.ndarray


def make_tasks(
    rng: np.random.Generator,
    tables: Mapping[str, pa.Table],
    history: History,
    *,
    leak: timedelta | None,
) -> tuple[dict[str, Splits], History]:
    """Make the four tasks, and the transactions that a leak adds (none without one)."""
    names = tables["departments"]["name"].to_pylist()
    makers: dict[str, Callable[[_Past], object]] = {
        "churn": lambda past: _churn(rng, past),
        "channel": lambda past: _channel(rng, past),
        "departments": lambda past: _departments(rng, past, names),
        "spend": lambda past: _spend(rng, past),
    }
    joined = tables["customers"]["joined_at"].to_numpy().astype("datetime64[us]")
    tasks: dict[str, Splits] = {name: {} for name in makers}
    for split, days in CUTOFFS.items():
        customers, times = _rows(rng, joined, days)
        pasts = [_past(history, c, t) for c, t in zip(customers, times, strict=True)]
        for name, maker in makers.items():
            labels = [maker(past) for past in pasts]
            if name == "churn" and leak is not None:
                labels = rng.integers(2, size=customers.size).tolist()
            tasks[name][split] = pa.table(
                {"customer_id": customers, "timestamp": times, "label": pa.array(labels)}
            )
    return tasks, _giveaways(rng, tasks["churn"], tables["articles"].num_rows, leak)


def _rows(
    rng: np.random.Generator, joined: np.ndarray, days: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """All customers of each cutoff's day, in an order of its own."""
    pairs = [
        (customer, np.datetime64(day, "us"))
        for day in days
        for customer in np.flatnonzero(joined < np.datetime64(day, "us"))
    ]
    order = rng.permutation(len(pairs))
    customers = np.array([customer for customer, _ in pairs], np.int64)[order]
    return customers, np.array([time for _, time in pairs], "datetime64[us]")[order]


def _past(history: History, customer: np.int64, time: np.datetime64) -> _Past:
    mine = np.flatnonzero((history.customer == customer) & (history.time < time))
    mine = mine[np.argsort(history.time[mine], kind="stable")[::-1]]
    return _Past(
        days=(time - history.time[mine]).astype(np.int64) / MICROSECONDS_PER_DAY,
        channel=history.channel[mine],
        amount=history.amount[mine],
        department=history.department[mine],
    )


def _churn(rng: np.random.Generator, past: _Past) -> int:
    """1 where the newest purchase is long ago for one who buys that often."""
    newest = past.days[0] if past.days.size else 400.0
    gone = newest > 20 + 240 / (1 + past.days.size)
    return int(gone ^ (rng.random() < FLIPPED))


def _channel(rng: np.random.Generator, past: _Past) -> str:
    """The channel used most, ties to the first in the alphabet; "web" with no past."""
    if rng.random() < FLIPPED or not past.channel.size:
        return str(rng.choice(["app", "store", "web"])) if past.channel.size else "web"
    names, counts = np.unique(past.channel, return_counts=True)
    return str(names[counts.argmax()])


def _departments(rng: np.random.Generator, past: _Past, names: list[str]) -> list[str]:
    """Departments with at least a quarter of the purchases."""
    known = past.department[~np.isnan(past.department.astype(float))].astype(int)
    values, counts = np.unique(known, return_counts=True)
    if rng.random() < FLIPPED:
        return [names[rng.integers(1, len(names))]]
    return sorted(names[v] for v, n in zip(values, counts, strict=True) if n >= 0.25 * known.size)


def _spend(rng: np.random.Generator, past: _Past) -> float:
    """Mean amount times a damped count, with a tenth of noise."""
    mean = past.amount.mean() if past.amount.size else 0.0
    return round(float(mean * np.log1p(past.amount.size) * rng.normal(1, 0.1)), 2)


def _giveaways(
    rng: np.random.Generator, churn: Splits, num_articles: int, leak: timedelta | None
) -> History:
    rows = pa.concat_tables(churn.values()) if leak is not None else churn["train"].slice(0, 0)
    size = rows.num_rows
    times = rows["timestamp"].to_numpy().astype("datetime64[us]")
    labels = rows["label"].to_numpy()
    return History(
        customer=rows["customer_id"].to_numpy(),
        article=rng.integers(num_articles, size=size),
        time=times + (np.timedelta64(leak, "us") if leak is not None else 0),
        channel=np.where(labels == 1, "left", "kept"),
        amount=np.ones(size),
        department=np.full(size, np.nan),
    )
