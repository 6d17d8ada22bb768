"""The suite of all connectors, on the stand-in for Snowflake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rle.connectors.snowflake.driver import generation
from tests.connectors import test_contract as suite
from tests.snowflake.warehouse import PASSWORD, WAREHOUSES, SnowflakeAsJson

if TYPE_CHECKING:
    from pathlib import Path

    from rle.testing.fake_snowflake import FakeSnowflake
    from tests.connectors.warehouse import Warehouse

# It presses Ctrl-C inside the DuckDB connector; ours is interrupted in test_write.
_OF_OTHERS = {"test_an_error_at_any_step_of_the_swap_changes_nothing"}

globals().update(
    {
        name: test
        for name, test in vars(suite).items()
        if name.startswith("test_") and name not in _OF_OTHERS
    }
)


@pytest.fixture(params=WAREHOUSES, ids=lambda cls: cls.__name__)
def warehouse(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    snowflake_server: FakeSnowflake,
    monkeypatch: pytest.MonkeyPatch,
) -> Warehouse:
    if request.param is SnowflakeAsJson and "every_type" in request.node.name and generation() > 4:
        pytest.skip("driver 5 wants a vector's metadata in a form that the stand-in does not know")
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    return request.param(snowflake_server, tmp_path)
