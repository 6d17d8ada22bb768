"""Engines are found by name, and what cannot be used says how it can be."""

from __future__ import annotations

import pytest

from rle.engines.lookup import find_engine, open_engine
from rle.engines.record import EngineState, EngineStatus
from rle.engines.store import EngineStore
from rle.errors import ConnectionError, ValidationError
from tests.engines.test_store import record


def test_an_engine_is_found_by_its_name():
    EngineStore().create(record())
    assert find_engine("first") == record()


def test_an_unknown_engine_names_the_known_ones():
    EngineStore().create(record())
    with pytest.raises(ConnectionError, match=r"'second'. Known: 'first'"):
        find_engine("second")


def test_an_unknown_engine_where_there_is_none_says_how_to_make_one():
    with pytest.raises(ConnectionError, match=r"'first'.*rle engine create"):
        find_engine("first")


def test_a_name_that_none_may_have():
    with pytest.raises(ValidationError, match="An engine's name is"):
        find_engine("../first")


def test_the_only_engine_needs_no_name(monkeypatch):
    monkeypatch.delenv("RLE_ENGINE", raising=False)
    with pytest.raises(ConnectionError, match=r"no engine yet in /.*RLE_HOME.*rle engine create"):
        open_engine()
    EngineStore().create(record())
    assert open_engine(must_run=False).name == "first"
    EngineStore().create(record("second"))
    with pytest.raises(ConnectionError, match=r"2 engines: 'first', 'second'.*RLE_ENGINE"):
        open_engine(must_run=False)
    monkeypatch.setenv("RLE_ENGINE", "second")
    assert open_engine(must_run=False).name == "second"
    assert open_engine("first", must_run=False).name == "first"


def test_an_engine_that_does_not_run_says_so_and_how_to_resume_it():
    EngineStore().create(record())
    for use in (lambda: open_engine("first"), open_engine("first", must_run=False).access):
        with pytest.raises(ConnectionError, match=r"'first' is SUSPENDED.*rle engine resume first"):
            use()
    engine = open_engine("first", must_run=False)
    assert not engine.is_ready
    assert engine.status().state is EngineState.SUSPENDED
    assert engine.folder == EngineStore().folder("first")
    assert engine.jobs_folder == engine.folder / "jobs"


def test_an_engine_that_starts_says_where_to_look():
    status = EngineStatus(state=EngineState.PENDING, message="It starts.")
    assert "rle engine status first" in status.not_ready("first")
