from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rle.runs.events import ProgressEvent
from rle.runs.pace import fraction_done, seconds_left

BEGIN = datetime(2026, 5, 4, tzinfo=UTC)


def progress(step, num_steps=100, *, after_s=60.0, **given):
    time = BEGIN + timedelta(seconds=after_s)
    return ProgressEvent(stage="train", step=step, num_steps=num_steps, time=time, **given)


def test_a_stage_is_as_far_as_its_steps_and_training_as_its_epochs():
    assert fraction_done(progress(25)) == 0.25
    assert fraction_done(progress(50, epoch=3, num_epochs=10)) == pytest.approx(0.25)
    assert fraction_done(progress(100, epoch=10, num_epochs=10)) == 1.0
    assert fraction_done(progress(0, 0)) == 0.0
    assert fraction_done(progress(7, 5)) == 1.0


def test_what_is_left_goes_at_the_pace_so_far():
    assert seconds_left(progress(25), since=BEGIN) == pytest.approx(180)
    assert seconds_left(progress(100), since=BEGIN) == 0


def test_what_would_take_for_ever_has_no_end():
    assert seconds_left(progress(1, 2**53), since=BEGIN) is None


def test_before_anything_is_done_nobody_knows():
    assert seconds_left(progress(0), since=BEGIN) is None
    assert seconds_left(progress(5, after_s=0), since=BEGIN) is None
    assert seconds_left(progress(5, after_s=-3), since=BEGIN) is None
