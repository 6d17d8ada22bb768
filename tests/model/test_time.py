from __future__ import annotations

import datetime as dt
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from rle.model.time import (
    AGE_DIMS,
    CALENDAR_DIMS,
    NULL_STAMP,
    age_features,
    calendar_features,
    days_between,
)

DAY = 86_400 * 10**9
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@given(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2260, 1, 1)))
def test_calendar_parts_are_those_of_the_standard_library(when):
    stamp = (when.replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(microseconds=1) * 1000
    low, high = torch.tensor([0.0], dtype=torch.float64), torch.tensor([1e18], dtype=torch.float64)
    parts = calendar_features(torch.tensor([[stamp]]), low, high, has_year=True)[0]
    assert parts.shape == (CALENDAR_DIMS,)
    seconds = when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6
    turns = [(when.month - 1) / 12, (when.day - 1) / 31, when.weekday() / 7, seconds / 86_400]
    expected = [f(2 * math.pi * turn) for f in (math.sin, math.cos) for turn in turns]
    expected += [max(-2.0, min(2.0, stamp / 1e18 * 2 - 1)), 0.0]
    torch.testing.assert_close(parts, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_a_year_that_is_not_told_changes_nothing_else():
    stamps = torch.tensor([[DAY * 12_345]])
    bounds = torch.zeros(1, dtype=torch.float64), torch.full((1,), 1e18, dtype=torch.float64)
    told = calendar_features(stamps, *bounds, has_year=True)
    hidden = calendar_features(stamps, *bounds, has_year=False)
    assert (told != hidden).nonzero().tolist() == [[0, 8]]
    assert hidden[0, 8] == 0


def test_a_null_date_is_a_flag_and_nothing_else():
    bound = torch.zeros(1, dtype=torch.float64)
    parts = calendar_features(torch.tensor([[NULL_STAMP]]), bound, bound, has_year=True)
    assert parts.tolist() == [[0.0] * 9 + [1.0]]


def test_ages_tell_past_from_future_and_null_is_zero():
    features = age_features(torch.tensor([3.0, -3.0, 0.0, math.nan]))
    assert features.shape == (4, AGE_DIMS)
    assert features[0, 0] == -features[1, 0] > 0
    assert features[2, 9:].eq(1).all()
    assert features[3].eq(0).all()


def test_days_between_survives_the_ends_of_the_range():
    later = torch.tensor([2**63 - 2, 5 * DAY, 5 * DAY])
    earlier = torch.tensor([-(2**63) + 1, 2 * DAY, NULL_STAMP])
    days = days_between(later, earlier)
    assert days[0] == torch.tensor(2.0**64 / DAY)
    assert days[1] == 3
    assert days[2].isnan()
