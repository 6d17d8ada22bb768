"""What tests need of the stand-in for Snowflake: a connector to it, and tables of their own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.types as pt

from rle.connectors.arrow import plain_schema
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.names import TableName
from tests.connectors.warehouse import Warehouse

if TYPE_CHECKING:
    from rle.testing.fake_snowflake import FakeSnowflake

PASSWORD = "RLE_TEST_SNOWFLAKE_PASSWORD"
"""Environment variable that holds the password; a fixture sets it."""

_number = itertools.count(1)


def connector_to(server: FakeSnowflake, **changes: Any) -> SnowflakeConnector:
    """A connector to the stand-in, impatient."""
    given = {
        "account": server.account,
        "host": server.host,
        "port": server.port,
        "protocol": "http",
        "user": server.user,
        "password_variable": PASSWORD,
        "warehouse": "WH",
        "login_timeout_s": 10,
        "network_timeout_s": 10,
    }
    return SnowflakeConnector(**given | changes)


def new_schema(server: FakeSnowflake) -> str:
    """A schema of SHOP that nobody else has."""
    schema = f"T{next(_number)}"
    server.add_schema("SHOP", schema)
    return schema


class SnowflakeTables(Warehouse):
    """A schema of the stand-in, which sends long results in several batches."""

    samples_in_order = False
    settings: ClassVar[dict[str, Any]] = {"rows_per_chunk": 150, "first_rows": 20}

    def __init__(self, server: FakeSnowflake, folder: Any) -> None:
        super().__init__(folder)
        self.server = server
        self.schema = new_schema(server)
        server.settings(**self.settings)

    def connector(self) -> SnowflakeConnector:
        return connector_to(self.server)

    def put(self, table: str, rows: pa.Table) -> str:
        plain = rows.cast(plain_schema(rows.schema))
        self.server.put(("SHOP", self.schema, table), plain, types=_declared(plain.schema))
        return self.name(table)

    def name(self, table: str) -> str:
        return str(TableName("SHOP", self.schema, table))

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([(field.name, _widened(field.type)) for field in schema])

    def leftovers(self) -> set[str]:
        state = self.server.state()
        named = [".".join(name) for name in (*state["tables"], *state["stages"])]
        return {name for name in named if name.startswith(f"SHOP.{self.schema}.")}


class SnowflakeInOnePiece(SnowflakeTables):
    """The same, but every result comes in one piece, so that a table is read in ranges."""

    settings: ClassVar[dict[str, Any]] = {"rows_per_chunk": 10**9}


class SnowflakeAsJson(SnowflakeTables):
    """The same, but results come as JSON, as they do where an account does not allow Arrow."""

    settings: ClassVar[dict[str, Any]] = {"rows_per_chunk": 150, "has_arrow": False}


WAREHOUSES = (SnowflakeTables, SnowflakeInOnePiece, SnowflakeAsJson)


def _widened(dtype: pa.DataType) -> pa.DataType:
    if pt.is_integer(dtype):
        return pa.int64()
    return pa.float64() if pt.is_floating(dtype) else dtype


def _declared(schema: pa.Schema) -> dict[str, str]:
    """Types that do not follow from the rows."""
    found = {}
    for field in schema:
        if pt.is_fixed_size_list(field.type):
            found[field.name] = f"VECTOR(FLOAT, {field.type.list_size})"
        elif pt.is_list(field.type):
            found[field.name] = "ARRAY"
        elif pt.is_timestamp(field.type):
            found[field.name] = "TIMESTAMP_LTZ" if field.type.tz else "TIMESTAMP_NTZ"
        elif pt.is_integer(field.type):
            found[field.name] = "NUMBER(38,0)"
    return found
