"""What the contract suite needs from every connector: how to make one, and what to put in."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from rle.connectors.duckdb import DuckDBConnector
from rle.connectors.local import LocalConnector
from rle.connectors.names import join, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.connectors.base import CanWrite, Connector

ZONED = dt.datetime(2020, 1, 1, 12, 30, 0, 123456, tzinfo=dt.UTC)


def numbers(num_rows: int) -> pa.Table:
    """Rows whose first column is their number, in order."""
    ids = range(num_rows)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([None if i % 7 == 0 else f"näme {i}" for i in ids], pa.string()),
            "half": pa.array([i / 2 for i in ids], pa.float64()),
        }
    )


def every_type() -> pa.Table:
    """A value, a second value and NULL of every type a column may have."""
    columns = {
        "flag": pa.array([True, False, None], pa.bool_()),
        "small": pa.array([1, -2, None], pa.int16()),
        "large": pa.array([2**62, -(2**62), None], pa.int64()),
        "single": pa.array([0.5, -1.5, None], pa.float32()),
        "double": pa.array([1e300, float("inf"), None], pa.float64()),
        "price": pa.array([Decimal("12.50"), Decimal("-0.01"), None], pa.decimal128(10, 2)),
        "text": pa.array(["日本", "", None], pa.string()),
        "long": pa.array(["x" * 1_000_000, "y", None], pa.string()),
        "day": pa.array([dt.date(1864, 6, 30), dt.date(2262, 1, 1), None], pa.date32()),
        "local": pa.array(
            [dt.datetime(2020, 1, 1, 0, 0, 0, 1), dt.datetime(1999, 1, 1), None],
            pa.timestamp("us"),
        ),
        "zoned": pa.array([ZONED, ZONED, None], pa.timestamp("us", tz="UTC")),
        "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0], None], pa.list_(pa.float32(), 2)),
    }
    return pa.table(columns)


class Warehouse(ABC):
    """One kind of connector over a place of its own."""

    flat_only: ClassVar[bool] = False
    """Whether columns hold plain values only, with types inferred from text."""
    splits: ClassVar[bool] = True
    """Whether a long table is read in several chunks."""
    samples_in_order: ClassVar[bool] = True
    """Whether rows of a sample come in the order they have in the table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def connector(self) -> Connector:
        """The connector."""

    @abstractmethod
    def put(self, table: str, rows: pa.Table) -> str:
        """Make a table by other means than the connector, and return its source name."""

    @abstractmethod
    def name(self, table: str) -> str:
        """Full name of a table that need not exist."""

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """What a table of these columns looks like when it is read."""
        return schema

    def writer(self) -> CanWrite:
        return self.connector()  # type: ignore[return-value]

    def leftovers(self) -> set[str]:
        """Names of the files in the folder, hidden ones too."""
        return {path.name for path in self.folder.rglob("*")}


class DuckDBTables(Warehouse):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        DuckDBConnector.create(folder / "shop.duckdb")

    def connector(self) -> Connector:
        return DuckDBConnector(database=str(self.folder / "shop.duckdb"), lock_timeout_s=20)

    def put(self, table: str, rows: pa.Table) -> str:
        with duckdb.connect(str(self.folder / "shop.duckdb")) as con:
            con.register("given", rows)
            con.execute(f"CREATE TABLE {quote(table)} AS SELECT * FROM given").fetchall()
        return self.name(table)

    def name(self, table: str) -> str:
        return join("shop", "main", table)


class DuckDBViews(DuckDBTables):
    splits = False

    def put(self, table: str, rows: pa.Table) -> str:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.parquet"
        pq.write_table(rows, path)
        with duckdb.connect(str(self.folder / "shop.duckdb")) as con:
            con.execute(
                f"CREATE VIEW {quote(table)} AS SELECT * FROM read_parquet('{path}')"
            ).fetchall()
        return self.name(table)


class ParquetFolder(Warehouse):
    def connector(self) -> Connector:
        return LocalConnector(connector_type="parquet", url=str(self.folder))

    def put(self, table: str, rows: pa.Table) -> str:
        pq.write_table(rows, self.folder / f"{table}.parquet", row_group_size=100)
        return self.name(table)

    def name(self, table: str) -> str:
        return join(self.folder.name, "main", table)


class ParquetPaths(ParquetFolder):
    def name(self, table: str) -> str:
        return str(self.folder / f"{table}.parquet")


class CsvFolder(Warehouse):
    flat_only = True
    splits = False

    def connector(self) -> Connector:
        return LocalConnector(connector_type="csv", url=str(self.folder))

    def put(self, table: str, rows: pa.Table) -> str:
        pc.write_csv(rows, self.folder / f"{table}.csv")
        return self.name(table)

    def name(self, table: str) -> str:
        return join(self.folder.name, "main", table)


WAREHOUSES: tuple[type[Warehouse], ...] = (
    DuckDBTables,
    DuckDBViews,
    ParquetFolder,
    ParquetPaths,
    CsvFolder,
)


def read_all(connector: Connector, source: str, columns: list[str], max_rows: int) -> pa.Table:
    """All rows of a source, chunk by chunk."""
    schema = connector.arrow_schema(source)
    chunks = connector.chunks(source, columns=columns, max_rows=max_rows)
    return pa.Table.from_batches(
        [batch for chunk in chunks for batch in connector.read(chunk)],
        schema=pa.schema([schema.field(name) for name in columns]),
    )


def failing(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """Some rows, then an error."""
    yield from rows.to_batches()
    raise RuntimeError("the model broke")
