"""Ages and calendar parts: how a moment becomes a handful of numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

AGE_DIMS = 10
"""Numbers that describe one age."""
CALENDAR_DIMS = 10
"""Numbers that describe one date."""

NULL_STAMP = -(2**63)
NANOSECONDS_PER_DAY = 86_400 * 10**9
_HOURS_PER_DAY = 24.0
_AGE_SCALE = 8.0
_FREQUENCIES = (0.5, 1.0, 2.0, 4.0)
"""Wave numbers over log-hours."""


def age_features(days: Tensor) -> Tensor:
    """Describe ages in days, float32 [N] -> [N, 10]; NaN gives zeros, a future date is negative.

    The scale is logarithmic: an hour more matters to an age of an hour, not to one of a year.
    """
    known = ~torch.isnan(days)
    hours = torch.where(known, days, 0.0) * _HOURS_PER_DAY
    logs = (hours.sign() * hours.abs().log1p()).unsqueeze(1)
    waves = logs * torch.tensor(_FREQUENCIES, dtype=days.dtype, device=days.device)
    scaled = logs / _AGE_SCALE
    features = torch.cat([scaled, scaled.square(), waves.sin(), waves.cos()], dim=1)
    return features.mul_(known.unsqueeze(1))


def days_between(later: Tensor, earlier: Tensor) -> Tensor:
    """Days from int64 nanoseconds `earlier` to `later`, float32; NaN where `earlier` is NULL.

    Computed in float64, since the difference of two extreme moments does not fit into int64.
    """
    days = (later.double() - earlier.double()) / NANOSECONDS_PER_DAY
    return torch.where(earlier == NULL_STAMP, math.nan, days).float()


def calendar_features(stamps: Tensor, low: Tensor, high: Tensor, *, has_year: bool) -> Tensor:
    """Describe dates: month, weekday, day and hour as angles, the year between two bounds, NULL.

    Args:
        stamps: int64 [U, D], nanoseconds since the epoch, `NULL_STAMP` where NULL.
        low: float64 [D], earliest moment seen in training, nanoseconds.
        high: float64 [D], latest moment seen in training, nanoseconds.
        has_year: Whether the year is told; 0 otherwise.

    Returns:
        float32 [U, D * 10]; a NULL is nine zeros and a one.
    """
    null = stamps == NULL_STAMP
    filled = torch.where(null, 0, stamps)
    day = filled.div(NANOSECONDS_PER_DAY, rounding_mode="floor")
    hour = (filled - day * NANOSECONDS_PER_DAY).double() / (NANOSECONDS_PER_DAY / 24)
    month, day_of_month = _month_and_day(day)
    weekday = (day + 3).remainder(7)  # the epoch was a Thursday
    span = (high - low).clamp(min=float(NANOSECONDS_PER_DAY))
    year = ((filled.double() - low) / span * 2 - 1).clamp(-2, 2) * has_year
    turns = torch.stack(
        [month.double() / 12, (day_of_month - 1).double() / 31, weekday.double() / 7, hour / 24], 2
    )
    angles = (turns * (2 * math.pi)).float()
    parts = torch.cat([angles.sin(), angles.cos(), year.float().unsqueeze(2)], dim=2)
    parts = torch.where(null.unsqueeze(2), 0.0, parts)
    return torch.cat([parts, null.unsqueeze(2).float()], dim=2).flatten(1)


def _month_and_day(day: Tensor) -> tuple[Tensor, Tensor]:
    """Month 0..11 and day 1..31 of days since the epoch, in the proleptic Gregorian calendar."""
    # Counting years from March puts the leap day last, so that month lengths follow one formula.
    shifted = day + 719_468
    of_era = shifted.remainder(146_097)
    year = (
        of_era
        - of_era.div(1_460, rounding_mode="floor")
        + of_era.div(36_524, rounding_mode="floor")
        - of_era.div(146_096, rounding_mode="floor")
    ).div(365, rounding_mode="floor")
    of_year = of_era - (
        365 * year + year.div(4, rounding_mode="floor") - year.div(100, rounding_mode="floor")
    )
    month = (5 * of_year + 2).div(153, rounding_mode="floor")
    day_of_month = of_year - (153 * month + 2).div(5, rounding_mode="floor") + 1
    return (month + 2).remainder(12), day_of_month
