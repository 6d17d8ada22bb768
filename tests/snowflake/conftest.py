"""One stand-in for Snowflake for the whole session, with nothing broken when a test begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rle.errors import ConnectionError
from rle.testing.fake_snowflake import FakeSnowflake, server_python

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
