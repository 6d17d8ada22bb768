from __future__ import annotations

import math

from rle.runs import stage
from rle.runs.events import ProgressEvent
from rle.runs.stage import StageProgress


def told(num_steps):
    events = []
    progress = StageProgress("validate", events.append)
    for step in range(1, num_steps + 1):
        progress(step, num_steps)
    assert all(isinstance(e, ProgressEvent) and e.stage == "validate" for e in events)
    assert {e.num_steps for e in events} <= {num_steps}
    return [e.step for e in events]


def test_quick_steps_tell_of_the_first_and_the_last_alone(monkeypatch):
    monkeypatch.setattr(stage, "TELL_EVERY_S", math.inf)
    assert told(430) == [1, 430]
    assert told(1) == [1]


def test_slow_steps_are_each_told(monkeypatch):
    monkeypatch.setattr(stage, "TELL_EVERY_S", 0.0)
    assert told(4) == [1, 2, 3, 4]
