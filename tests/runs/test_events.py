from __future__ import annotations

import math
import os
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.errors import ValidationError
from rle.runs.events import (
    ArtifactEvent,
    ErrorEvent,
    EventLog,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    RunStatus,
    StatusEvent,
    WarningEvent,
    metric_name,
    parse_event,
    read_events,
)
from rle.values import Split

EVENTS = (
    StatusEvent(status=RunStatus.RUNNING, message="begins"),
    ProgressEvent(stage="train", step=3, num_steps=10, epoch=1, num_epochs=2, loss=0.5),
    MetricEvent(name=metric_name(Split.VALIDATION, "mae"), value=1.25, step=10, epoch=1.0),
    ReportEvent(name="snapshot", text="rows 7\nedges 3"),
    WarningEvent(message="clämped 🙂\nsecond line"),
    ErrorEvent(error="DataError", message="bad label"),
    ArtifactEvent(name="predictions", location='DB.S."a.b"'),
    StatusEvent(status=RunStatus.FAILED),
)


def test_events_come_back_equal_and_in_order(tmp_path):
    with EventLog(tmp_path / "run") as log:
        for event in EVENTS:
            log(event)
    assert tuple(read_events(log.path)) == EVENTS
    assert log.path.read_text().count("\n") == len(EVENTS)


@given(st.floats())
def test_a_metric_of_any_value_survives_json(value):
    event = MetricEvent(name="training_loss", value=value, step=0)
    back = parse_event(event.to_json())
    assert isinstance(back, MetricEvent)
    assert back.value == value or (math.isnan(back.value) and math.isnan(value))


def test_an_unfinished_last_line_is_left_out(tmp_path):
    with EventLog(tmp_path) as log:
        log(EVENTS[0])
    with log.path.open("ab") as file:
        file.write(b'{"type": "status", "sta')
    assert list(read_events(log.path)) == [EVENTS[0]]


def test_a_line_that_is_no_event_is_an_error():
    with pytest.raises(ValidationError, match="Not an event"):
        parse_event('{"type": "tea"}')


def test_listeners_hear_an_event_after_it_is_on_disk(tmp_path):
    heard = []
    log = EventLog(tmp_path, listeners=(lambda e: heard.append((e, log.path.stat().st_size)),))
    with log:
        log(EVENTS[0])
    assert heard == [(EVENTS[0], len(EVENTS[0].to_json()) + 1)]


def test_a_listener_that_fails_is_heard_of(tmp_path):
    def fail(event):
        raise RuntimeError("no")

    with EventLog(tmp_path, listeners=(fail,)) as log, pytest.raises(RuntimeError, match="no"):
        log(EVENTS[0])


def test_a_closed_log_refuses_events_and_closes_twice(tmp_path):
    log = EventLog(tmp_path)
    log.close()
    log.close()
    with pytest.raises(OSError, match="descriptor"):
        log(EVENTS[0])


def _write_many(folder, writer, ready):
    with EventLog(folder) as log:
        ready.wait()
        for step in range(200):
            log(WarningEvent(message=f"{writer} {step} " + "x" * 3000))
    os._exit(0)


def test_lines_of_two_processes_never_mix(tmp_path):
    context = get_context("fork")
    ready = context.Barrier(2)
    writers = [context.Process(target=_write_many, args=(tmp_path, w, ready)) for w in "ab"]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert sum(1 for _ in read_events(tmp_path / "events.jsonl")) == 400


def test_only_running_is_not_the_end():
    assert [s for s in RunStatus if not s.is_terminal] == [RunStatus.RUNNING]
