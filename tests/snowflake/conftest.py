"""One stand-in for Snowflake for the whole session, with nothing broken when a test begins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rle.connectors.snowflake import moment as snowflake_moment
from rle.connectors.snowflake import publish as publishing
from rle.connectors.snowflake import write as writing
from rle.errors import ConnectionError
from rle.testing.fake_snowflake import FakeSnowflake, server_python
from tests.snowflake.output_place import Place
from tests.snowflake.warehouse import PASSWORD
from tests.snowflake.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses the server carries the marker."""
    for item in items:
        if "snowflake_session_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.snowflake)


@pytest.fixture(scope="session")
def snowflake_session_server() -> Iterator[FakeSnowflake]:
    """The server itself; tests take `snowflake_server`."""
    try:
        server_python()
    except ConnectionError as error:
        pytest.skip(str(error))
    with FakeSnowflake() as server:
        yield server


@pytest.fixture
def snowflake_server(snowflake_session_server: FakeSnowflake) -> Iterator[FakeSnowflake]:
    """The server, with no fault pending, every grant there and every setting at its default."""
    yield snowflake_session_server
    snowflake_session_server.reset()


@pytest.fixture
def world(snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch) -> World:
    """A schema of its own, and nobody who waits."""
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(snowflake_moment, "_warned", set())
    return World(snowflake_server)


@pytest.fixture
def place(snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A schema to write to, with nothing left on stages in the end."""
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    monkeypatch.setattr(writing, "PAUSE_S", 0.0)
    monkeypatch.setattr(publishing, "PAUSES_S", (0.0, 0.0))
    here = Place(snowflake_server)
    yield here
    state = snowflake_server.state()
    assert [name for name in state["stages"] if name[1] == here.schema] == []
    assert state["stage_files"] == 0
