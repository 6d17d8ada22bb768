"""The embedded warehouse: tables and views of a DuckDB file."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import duckdb
import pyarrow as pa
from pydantic import BeforeValidator, Field

from rle.connectors import duckdb_sql as sql
from rle.connectors.arrow import project
from rle.connectors.base import CHUNK_ROWS, CanWrite, Chunk, Connector, NewTable
from rle.connectors.duckdb_file import check_file, in_words, open_file
from rle.connectors.duckdb_keys import declared_keys
from rle.connectors.keys import TableKeys
from rle.connectors.names import join, parse
from rle.connectors.staging import pour
from rle.connectors.survey import Closed, Surveyed
from rle.errors import RLEError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Sequence


def _absolute(path: Any) -> Any:
    # Workers run in other folders, so a relative path would mean another file there.
    return str(Path(path).expanduser().absolute()) if isinstance(path, str | Path) else path


class DuckDBConnector(Connector, CanWrite):
    """Reads and creates tables of one DuckDB file, from any number of processes.

    Sources are named DB.SCHEMA.TABLE, DB being the file's name without its ending; upper and lower
    case are the same. Tables are read in ranges of row ids, each by itself. A view is one chunk.
    """

    kind: Literal["duckdb"] = "duckdb"
    database: Annotated[str, BeforeValidator(_absolute)]
    """Path of the file; kept as an absolute path."""
    lock_timeout_s: Annotated[float, Field(ge=0.0)] = 30.0
    """How long to wait, in seconds, for a file that another process writes to, or reads."""

    @classmethod
    def create(cls, database: str | Path) -> DuckDBConnector:
        """Make an empty DuckDB file, unless it is there, and return its connector."""
        connector = cls(database=str(database))
        path = Path(connector.database)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            duckdb.connect(connector.database).close()
        return connector

    @property
    def stem(self) -> str:
        """The DB part of every name: the file's name without its ending."""
        return Path(self.database).stem

    def sources(self) -> list[str]:
        """Return the full names of all tables and views, sorted."""
        with self._open() as con:
            return self._full_names(con)

    def arrow_schema(self, source: str) -> pa.Schema:
        """Return the source's columns; see `Connector.arrow_schema`."""
        with self._find(source) as (_, relation):
            return relation.schema

    def num_rows(self, source: str) -> int:
        """Return the exact number of rows."""
        with self._find(source) as (con, relation):
            return sql.count_rows(con, relation)

    def version(self, source: str) -> str:
        """Return a checksum of the rows, whatever their order. Costs a scan."""
        with self._find(source) as (con, relation):
            return sql.checksum(con, relation)

    def sample(
        self, source: str, *, columns: Sequence[str] | None = None, max_rows: int
    ) -> pa.Table:
        """Return rows spread evenly over the source; see `Connector.sample`."""
        with self._find(source) as (con, relation):
            schema = project(relation.schema, columns, source=source)
            return sql.sample_rows(con, relation, schema, max_rows)

    def chunks(
        self, source: str, *, columns: Sequence[str], max_rows: int = CHUNK_ROWS
    ) -> list[Chunk]:
        """Split a table by row ids; a view is one chunk. See `Connector.chunks`."""
        with self._find(source) as (con, relation):
            project(relation.schema, columns, source=source)
            shared: dict[str, Any] = {"source": source, "columns": tuple(columns)}
            if not relation.has_row_ids:
                return [Chunk(**shared, index=0, num_rows=None, token={})]
            end, num_rows = sql.end_row_id(con, relation), sql.count_rows(con, relation)
        chunks = []
        for index, start in enumerate(range(0, max(end, 1), max_rows)):
            stop = min(start + max_rows, end)
            # Deleted rows leave holes in the row ids; only reading tells how many rows are left.
            known = stop - start if end == num_rows else None
            token = {"start": start, "stop": stop}
            chunks.append(Chunk(**shared, index=index, num_rows=known, token=token))
        return chunks

    def read(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a chunk. The file is open for reading meanwhile."""
        with self._find(chunk.source) as (con, relation):
            schema = project(relation.schema, chunk.columns, source=chunk.source)
            token: dict[str, Any] = chunk.token
            row_ids = [(token["start"], token["stop"])] if token else []
            yield from sql.select_rows(con, relation, schema, row_ids)

    def exists(self, source: str) -> bool:
        """Whether there is a table or view of this name."""
        database, schema, table = self._parse(source)
        if database.casefold() != self.stem.casefold():
            return False
        with self._open() as con:
            return sql.find_table(con, schema, table) is not None

    def table_keys(self, source: str) -> TableKeys:
        """Return the keys that are declared for a table; see `Connector.table_keys`."""
        schema, table = self._own_part(source)
        with self._find(source) as (con, _):
            keys = declared_keys(con, schema, name=lambda s, t: join(self.stem, s, t))
            return keys.get(table.casefold(), TableKeys())

    def survey(
        self, sources: Sequence[str], *, max_rows: int
    ) -> Generator[Surveyed | Closed, None, None]:
        """Open the file once for all of them; see `Connector.survey`."""
        with self._open() as con:
            found = {(s.casefold(), t.casefold()): (s, t, k) for s, t, k in sql.list_tables(con)}
            keys = {
                schema: declared_keys(con, schema, name=lambda s, t: join(self.stem, s, t))
                for schema in {schema for schema, _, _ in found.values()}
            }
            for source in sources:
                try:
                    schema, table = self._own_part(source)
                    there = found.get((schema.casefold(), table.casefold()))
                    if there is None:
                        raise UnknownNameError("table or view", source, self._full_names(con))
                    with in_words(self.database):
                        relation = sql.describe(con, *there)
                        sample = sql.sample_rows(con, relation, relation.schema, max_rows)
                except RLEError as error:
                    yield Closed(source, error)
                else:
                    own = keys[there[0]].get(table.casefold(), TableKeys())
                    yield Surveyed(source, sample, own)

    def check_access(self) -> tuple[str, ...]:
        """Check that the file can be opened and read; see `Connector.check_access`."""
        with self._open():
            return self._seen_from_here(self.database)

    def can_create(self, table: str, *, replace: bool = False) -> None:
        """Check that this name could be written to now; see `CanWrite.can_create`."""
        schema, name = self._own_part(table)
        check_file(self.database, write=True)
        with self._open() as con:
            sql.check_free(con, table, schema, name, replace=replace)

    def write_tables(
        self,
        tables: Sequence[NewTable],
        rows: Iterable[tuple[int, pa.RecordBatch]],
        *,
        replacing: Collection[str] = (),
    ) -> list[int]:
        """Create tables in one transaction; see `CanWrite.write_tables`.

        Rows are gathered in files beside the database first, so that the database is open for
        writing only as long as copying takes.
        """
        for table in tables:
            self.can_create(table.name, replace=table.name in replacing)
        folder = Path(self.database).parent
        with tempfile.TemporaryDirectory(prefix=".rle-", dir=folder) as scratch:
            files = [Path(scratch) / f"{index}.arrow" for index in range(len(tables))]
            num_rows = pour(tables, files, rows, formats=[".arrow"] * len(tables))
            with self._open(write=True) as con, sql.transaction(con):
                for name in replacing:
                    sql.drop_table(con, *self._own_part(name))
                for table, file in zip(tables, files, strict=True):
                    schema, name = self._own_part(table.name)
                    sql.check_free(con, table.name, schema, name)
                    with pa.memory_map(str(file)) as staged:
                        incoming = pa.ipc.open_file(staged).read_all().to_reader()
                        full_name = sql.full_name(con, schema, name)
                        sql.create_table(con, table.name, incoming, full_name)
        return num_rows

    def _parse(self, source: str) -> tuple[str, str, str]:
        return parse(source, example=join(self.stem, "main", "orders"))

    def _own_part(self, source: str) -> tuple[str, str]:
        database, schema, table = self._parse(source)
        if database.casefold() != self.stem.casefold():
            check_file(self.database, write=False)  # a file that is gone is the greater trouble
            raise UnknownNameError(f"database in {self.database}", database, [self.stem])
        return schema, table

    def _full_names(self, con: duckdb.DuckDBPyConnection) -> list[str]:
        return sorted(join(self.stem, schema, table) for schema, table, _ in sql.list_tables(con))

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        with open_file(self.database, write=write, timeout_s=self.lock_timeout_s) as con:
            yield con

    @contextmanager
    def _find(self, source: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, sql.Relation]]:
        schema, table = self._own_part(source)
        with self._open() as con:
            relation = sql.find_table(con, schema, table)
            if relation is None:
                raise UnknownNameError("table or view", source, self._full_names(con))
            yield con, relation
