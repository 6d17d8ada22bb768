"""Statements sent to the stand-in for Snowflake by the driver itself."""

from __future__ import annotations

from typing import Any

import pytest


def refused(cursor: Any, sql: str) -> str:
    """What the server says of a statement that it refuses."""
    import snowflake.connector

    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute(sql)
    return str(caught.value)
