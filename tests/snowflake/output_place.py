"""A schema of the stand-in that tables are written to, and a network that fails on demand."""

from __future__ import annotations

import itertools

import pyarrow as pa

from rle.connectors.base import NewTable
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.session import Session, session
from rle.errors import ConnectionError
from tests.snowflake.warehouse import connector_to, new_schema

PLAIN = pa.schema([("ID", pa.int64())])


class Place:
    """A schema of its own, and who looks into it."""

    def __init__(self, server, **changes):
        self.server = server
        self.schema = new_schema(server)
        self.connector = connector_to(server, **changes)

    def name(self, table):
        return str(TableName("SHOP", self.schema, table))

    def tables(self):
        return {name[2] for name in self.server.state()["tables"] if name[1] == self.schema}

    def rows(self, table):
        with session(self.connector) as opened:
            return opened.rows(f"SELECT * FROM {self.name(table)}")

    def write(self, *names, num_rows=5, **options):
        tables = [NewTable(self.name(name), PLAIN) for name in names]
        return self.connector.write_tables(tables, self.batches(len(names), num_rows), **options)

    def batches(self, num_tables, num_rows):
        batch = pa.RecordBatch.from_pydict({"ID": range(num_rows)}, schema=PLAIN)
        return [(index, batch) for index in range(num_tables)]


def fail_once(patch, what, *, after=False, times=1):
    """Cut the network at the first statements that have a text in them, or lose the answer."""
    real, left = Session.execute, itertools.count(times, -1)

    def cut(self, sql, params=()):
        hit = what in sql and next(left) > 0
        if hit and not after:
            raise ConnectionError("the network was cut")
        found = real(self, sql, params)
        if hit:
            raise ConnectionError("the answer was lost: the network was cut")
        return found

    patch.setattr(Session, "execute", cut)
