"""A schema of the stand-in that is a test's own, a connector to it, and ways to look at both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rle.connectors.base import Chunk
from rle.connectors.snowflake import results as snowflake_results
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.session import session
from tests.snowflake.warehouse import connector_to, new_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.testing.fake_snowflake import FakeSnowflake


class World:
    """A schema, a connector, and ways to look at both."""

    def __init__(self, server: FakeSnowflake) -> None:
        self.server = server
        self.schema = new_schema(server)
        self.connector = connector_to(server)

    def put(self, table: str, rows: pa.Table, **types: str) -> str:
        self.server.put(("SHOP", self.schema, table), rows, types=types)
        return self.name(table)

    def name(self, table: str) -> str:
        return str(TableName("SHOP", self.schema, table))

    def sql(self, statement: str) -> None:
        with session(self.connector) as opened:
            opened.execute(statement)

    def statements(self, do: Callable[[], Any]) -> list[str]:
        """Texts of what the server was asked to run meanwhile."""
        before = {query["id"] for query in self.server.queries()}  # it keeps the latest only
        do()
        return [query["sql"] for query in self.server.queries() if query["id"] not in before]


def all_rows(connector: SnowflakeConnector, chunks: list[Chunk]) -> list[int]:
    """The ids of all rows, each chunk read from its JSON by a process that knows nothing else."""
    found = []
    for chunk in reversed(chunks):
        snowflake_results._known.clear()
        for batch in connector.read(Chunk.from_json(chunk.to_json())):
            found += batch["id"].to_pylist()
    return sorted(found)
