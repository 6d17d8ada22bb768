"""Notes between driver and workers, without Ray."""

from __future__ import annotations

import pytest

import rle.errors
from rle.errors import (
    DataError,
    DatasetMismatchError,
    InternalError,
    NotSeenError,
    RLEError,
    TrainingError,
    UnknownNameError,
)
from rle.runs.events import EventLog, WarningEvent
from rle.training.relay import Relay


@pytest.fixture
def relay(tmp_path) -> Relay:
    made = Relay(tmp_path)
    made.clear()
    return made


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        DataError("row 7 is bad"),
        TrainingError("diverged"),
        UnknownNameError("column of table 'a'", "prise", ["price", "name"]),
        DatasetMismatchError("another key", {"key": {"trained": "a", "given": None}}),
        NotSeenError("table", "SHOP.PUBLIC.T", ["SHOP.PUBLIC.U"], "Ask for SELECT."),
    ],
)
def test_one_of_our_errors_comes_back_as_it_was(relay, error):
    relay.write_failure(raised(error))
    found = Relay(relay.folder.parent).failure()
    assert type(found) is type(error)
    assert str(found) == str(error)


def test_every_error_of_ours_survives_the_note(relay):
    classes = [c for c in vars(rle.errors).values() if isinstance(c, type)]
    of_parts = (UnknownNameError, DatasetMismatchError, NotSeenError)  # see above
    ours = [c for c in classes if issubclass(c, RLEError) and c not in of_parts]
    assert len(ours) > 8
    for cls in ours:
        relay.write_failure(raised(cls("what happened")))
        found = relay.failure()
        assert type(found) is cls
        assert str(found) == "what happened"


def test_another_error_becomes_an_internal_one_with_its_place(relay):
    relay.write_failure(raised(ZeroDivisionError("a bug")))
    found = relay.failure()
    assert isinstance(found, InternalError)
    assert "ZeroDivisionError: a bug" in str(found)
    assert "test_relay.py" in str(found)


def test_events_are_read_once_in_order_and_only_when_complete(relay):
    events = [WarningEvent(message=str(i)) for i in range(5)]
    with EventLog(relay.folder) as log:
        log(events[0])
        log(events[1])
        assert list(relay.new_events()) == events[:2]
        assert list(relay.new_events()) == []
        log(events[2])
    path = relay.folder / "events.jsonl"
    line = events[3].to_json().encode() + b"\n"
    with path.open("ab") as file:
        file.write(line[:10])
    assert list(relay.new_events()) == [events[2]]
    with path.open("ab") as file:
        file.write(line[10:])
    assert list(relay.new_events()) == [events[3]]


def test_notes_of_an_earlier_attempt_are_forgotten(relay):
    relay.ask_to_stop()
    relay.write_failure(raised(DataError("old")))
    with EventLog(relay.folder) as log:
        log(WarningEvent(message="old"))
    assert relay.has_events
    relay.clear()
    assert not relay.has_events
    assert relay.failure() is None
    assert not relay.is_asked_to_stop()
    assert list(relay.new_events()) == []


def test_the_wish_to_stop_reaches_a_worker(relay):
    worker = Relay(relay.folder.parent)
    relay.ask_to_stop()
    assert worker.is_asked_to_stop()
