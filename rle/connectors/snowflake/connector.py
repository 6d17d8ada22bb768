"""Snowflake: tables and views of an account, read and written as Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rle.connectors.base import CHUNK_ROWS, CanWrite, Chunk, Connector, NewTable
from rle.connectors.snowflake import access, names, privileges
from rle.connectors.snowflake import read as reading
from rle.connectors.snowflake import write as writing
from rle.connectors.snowflake.session import close_sessions
from rle.connectors.snowflake.settings import SnowflakeSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

    import pyarrow as pa

    from rle.connectors.keys import TableKeys
    from rle.connectors.survey import Closed, Surveyed


class SnowflakeConnector(SnowflakeSettings, Connector, CanWrite):
    """Reads and creates tables of a Snowflake account, from any number of processes.

    Sources are named DB.SCHEMA.TABLE; a part that is not all capitals goes in double quotes. The
    account is not called before the first table is asked for, and each process has one session of
    its own. See docs/snowflake.md.
    """

    kind: Literal["snowflake"] = "snowflake"

    def sources(self) -> list[str]:
        """Return the full names of the tables and views that the role can see, sorted.

        Raises:
            ConnectionError: The account cannot be reached, or refuses to sign in.
        """
        return access.sources(self)

    def arrow_schema(self, source: str) -> pa.Schema:
        """Return the source's columns; see `Connector.arrow_schema`."""
        return reading.schema(self, source)

    def num_rows(self, source: str) -> int:
        """Return the exact number of rows."""
        return reading.num_rows(self, source)

    def version(self, source: str) -> str:
        """Return a text that changes when the rows may have changed."""
        return reading.version(self, source)

    def sample(
        self, source: str, *, columns: Sequence[str] | None = None, max_rows: int
    ) -> pa.Table:
        """Return rows spread evenly over the source; see `Connector.sample`."""
        return reading.sample(self, source, columns=columns, max_rows=max_rows)

    def chunks(
        self, source: str, *, columns: Sequence[str], max_rows: int = CHUNK_ROWS
    ) -> list[Chunk]:
        """Split a query's result into parts; see `Connector.chunks`."""
        return reading.chunks(self, source, columns=columns, max_rows=max_rows)

    def read(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a chunk through this process's own session."""
        return reading.read(self, chunk)

    def close(self) -> None:
        """Close this process's sessions with Snowflake; see `Connector.close`."""
        close_sessions()

    def at_one_moment(self, sources: Sequence[str]) -> tuple[Connector, str | None]:
        """Fix the moment by Snowflake's clock; see `Connector.at_one_moment`."""
        from rle.connectors.snowflake import moment as moments

        return moments.settle(self, sources)

    def exists(self, source: str) -> bool:
        """Whether the role can see a table or view of this name."""
        return access.exists(self, names.read(source))

    def sources_in(self, schema: str) -> list[str]:
        """Return the tables and views of one schema; see `Connector.sources_in`."""
        return access.sources_in(self, schema)

    def table_keys(self, source: str) -> TableKeys:
        """Return the keys that are declared for a table; see `Connector.table_keys`."""
        from rle.connectors.snowflake import keys

        return keys.table_keys(self, source)

    def survey(
        self, sources: Sequence[str], *, max_rows: int
    ) -> Generator[Surveyed | Closed, None, None]:
        """Ask for keys by schema and for samples in parallel; see `Connector.survey`."""
        from rle.connectors.snowflake import survey as surveys

        return surveys.survey(self, sources, max_rows=max_rows)

    def probe(self, source: str) -> None:
        """Check that a source can be selected from, at no cost; see `Connector.probe`."""
        access.probe(self, names.read(source))

    def probe_tables(self, sources: Iterable[str]) -> list[str]:
        """Probe each source once, and tell of all that are closed; see `Connector.probe_tables`."""
        return privileges.check_tables(self, sources)

    def check_access(self) -> tuple[str, ...]:
        """Sign in and run a statement on the warehouse; see `Connector.check_access`."""
        return access.check_access(self)

    def can_create(self, table: str, *, replace: bool = False) -> None:
        """Check that this name could be written to now; see `CanWrite.can_create`."""
        writing.can_create(self, table, replace=replace)

    def write_tables(
        self,
        tables: Sequence[NewTable],
        rows: Iterable[tuple[int, pa.RecordBatch]],
        *,
        replacing: Collection[str] = (),
    ) -> list[int]:
        """Create tables, all whole or none; see `CanWrite.write_tables`."""
        return writing.write_tables(self, tables, rows, replacing=replacing)


def SnowflakeConnectorDirectAccess(  # noqa: N802  stands where a class of this name stood
    *, endpoint_url: str | None = None, **config: Any
) -> SnowflakeConnector:
    """Return a connector to an account at an address.

    Args:
        endpoint_url: Such as https://myorg-myaccount.snowflakecomputing.com; None: the account's
            usual address.
        config: As for `SnowflakeConnector`, usually user, password and account.

    Raises:
        ValidationError: The address is none, or something that the method needs is missing.
    """
    if endpoint_url is not None:
        config = access.address(endpoint_url) | config
    return SnowflakeConnector(**config)
