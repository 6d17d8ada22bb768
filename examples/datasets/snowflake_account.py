"""What the Snowflake example works on: a stand-in for an account, and a made-up shop's tables."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rle.testing.fake_snowflake import FakeSnowflake
from rle.testing.shop import make_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.connectors.snowflake.connector import SnowflakeConnector

SCHEMA = "SHOP.PUBLIC"
"""The schema that the stand-in has."""
TABLES = ("customers", "transactions", "churn_train", "churn_validation", "churn_test")
LEFT_OUT = ("article_id",)
"""Columns that refer to tables which are not loaded."""


@contextmanager
def stand_in(password_variable: str) -> Iterator[dict[str, Any]]:
    """Start a server that speaks Snowflake's protocol, and yield what a connector needs for it.

    Args:
        password_variable: Environment variable that gets the password meanwhile.
    """
    before = os.environ.get(password_variable)
    with FakeSnowflake() as server:
        os.environ[password_variable] = server.password
        try:
            given = {n: getattr(server, n) for n in ("account", "host", "port", "user", "role")}
            yield given | {"protocol": "http", "warehouse": "WH"}
        finally:
            del os.environ[password_variable]
            if before is not None:
                os.environ[password_variable] = before


def load(connector: SnowflakeConnector, schema: str) -> None:
    """Write the shop's tables into a schema, each that is not there yet; names in capitals."""
    made = make_shop(num_customers=500, num_transactions=12_000).all_tables()
    for name in TABLES:
        table = f"{schema}.{name.upper()}"
        if connector.exists(table):
            continue
        rows = made[name].drop_columns([c for c in LEFT_OUT if c in made[name].column_names])
        rows = rows.rename_columns([column.upper() for column in rows.column_names])
        num_rows = connector.write(table, rows.to_batches(), schema=rows.schema)
        print(f"{table}: {num_rows:,} rows written")
