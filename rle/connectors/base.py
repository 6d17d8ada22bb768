"""What every connector can do: rows in and rows out, always Arrow, chunk by chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from rle.connectors import engine_link
from rle.connectors.keys import TableKeys
from rle.connectors.names import join, parse, parse_schema
from rle.connectors.survey import Closed, Surveyed
from rle.errors import PermissionError, RLEError, UnknownNameError
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

    import pyarrow as pa

CHUNK_ROWS = 262_144
"""Rows a chunk aims at: some ten megabytes, so that many fit a worker and few are needed."""


class Chunk(Value):
    """A part of a source that any process can read by itself. Carries no secret."""

    source: str
    """Name of the source, as its connector understands it."""
    columns: tuple[str, ...]
    """Columns to read, in this order."""
    index: int
    """Position of the chunk in its source, from 0."""
    num_rows: int | None
    """Exact number of rows, None where only reading can tell."""
    token: dict[str, JsonValue]
    """What the connector needs to find the rows again."""


class Connector(Value, ABC):
    """Reads tables as Arrow. A frozen value: it pickles, and equals its JSON.

    Made with an `engine_name`, it checks that this engine is READY: ConnectionError otherwise.

    A subclass declares `kind: Literal["..."] = "..."`, the name that `registry` knows it by, and
    carries the names of secrets, never secrets. Types that only encode other types (dictionaries,
    run ends, views, extensions) never come out: see `rle.connectors.arrow.plain_type`.
    """

    kind: str
    """Name of the connector class in `rle.connectors.registry`."""
    engine_name: str | None = Field(default=None, exclude=True)
    """Engine that jobs on these tables run on; None: $RLE_ENGINE, or the only engine there is.

    Says where work is done, not what is read: it is in no JSON, and two connectors that differ in
    nothing else are equal."""

    def model_post_init(self, context: Any, /) -> None:
        """Check the engine: here and not as a validator, which a spec that holds this would run."""
        if self.engine_name is not None:
            engine_link.check_ready(self.engine_name)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Connector):
            return NotImplemented
        return self is other or self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((type(self), self.to_json()))

    @abstractmethod
    def sources(self) -> list[str]:
        """Return the names of all tables and views, sorted.

        Raises:
            ConnectionError: The warehouse or folder cannot be reached.
        """

    @abstractmethod
    def arrow_schema(self, source: str) -> pa.Schema:
        """Return names and types of the columns, in the order of the source.

        Raises:
            ValidationError: The name is malformed; the message shows the expected form.
            UnknownNameError: There is no such source; suggests the nearest.
            ConnectionError: The warehouse or file cannot be reached or read.
            PermissionError: The source is there but closed to this user.
        """

    @abstractmethod
    def num_rows(self, source: str) -> int:
        """Return the exact number of rows."""

    @abstractmethod
    def version(self, source: str) -> str:
        """Return a text that changes when the rows may have changed."""

    @abstractmethod
    def sample(
        self, source: str, *, columns: Sequence[str] | None = None, max_rows: int
    ) -> pa.Table:
        """Return at most `max_rows` rows spread evenly over the source, the same at every call.

        Args:
            source: Name of the source.
            columns: Columns to read, in this order. None: all.
            max_rows: Upper bound on rows; all rows come back where the source has fewer.
        """

    @abstractmethod
    def chunks(
        self, source: str, *, columns: Sequence[str], max_rows: int = CHUNK_ROWS
    ) -> list[Chunk]:
        """Split the source into chunks that together hold every row exactly once.

        Reads metadata only. An empty source has at least one chunk, so that its schema travels.

        Raises:
            UnknownNameError: The source, or one of the columns, is not there.
        """

    @abstractmethod
    def read(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a chunk, with `chunk.columns` in order. Batches may have 0 rows."""

    def close(self) -> None:
        """Close what this process holds open; the next call opens it again."""

    @abstractmethod
    def exists(self, source: str) -> bool:
        """Whether there is a source of this name."""

    def sources_in(self, schema: str) -> list[str]:
        """Return the names of all tables and views of one schema, sorted.

        Args:
            schema: DB.SCHEMA, with double quotes where a part has dots.

        Raises:
            ValidationError: The name does not have two parts.
            UnknownNameError: There is no such schema, or nothing in it.
        """
        wanted = parse_schema(schema)
        by_schema: dict[tuple[str, str], list[str]] = {}
        for source in self.sources():
            database, name, _ = parse(source, example="DB.SCHEMA.TABLE")
            by_schema.setdefault((database, name), []).append(source)
        for parts, sources in by_schema.items():
            if [p.casefold() for p in parts] == [p.casefold() for p in wanted]:
                return sorted(sources)
        known = [join(*parts, "x").removesuffix(".x") for parts in by_schema]
        raise UnknownNameError("schema with tables", schema, known)

    def table_keys(self, source: str) -> TableKeys:
        """Return the keys that are declared for a source; none where the place knows no keys.

        Raises:
            UnknownNameError: There is no such source.
        """
        return TableKeys()

    def survey(
        self, sources: Sequence[str], *, max_rows: int
    ) -> Generator[Surveyed | Closed, None, None]:
        """Sample many sources and look up their keys; yields one after another, in order.

        A source that cannot be read stops nothing. Costs less than asking for each by itself.

        Args:
            sources: Full names, as `sources` spells them.
            max_rows: Rows of each sample at most.
        """
        for source in sources:
            try:
                sample = self.sample(source, max_rows=max_rows)
                yield Surveyed(source, sample, self.table_keys(source))
            except RLEError as error:
                yield Closed(source, error)

    def at_one_moment(self, sources: Sequence[str]) -> tuple[Connector, str | None]:
        """Fix the moment as of which these sources are read, where the place keeps their past.

        Returns:
            A connector that reads them all as of one moment, and that moment in ISO 8601, UTC.
            This connector and None where each is read as it is by then.

        Raises:
            ConnectionError: The warehouse cannot be reached.
        """
        return self, None

    def check_access(self) -> tuple[str, ...]:
        """Check, before a job is made, that the place of the tables is open to this user.

        Returns:
            What could not be verified from here, in words.

        Raises:
            PermissionError: It is closed; says what to grant.
            ConnectionError: It cannot be reached.
        """
        return ()

    def _seen_from_here(self, path: str) -> tuple[str, ...]:
        """Warn where jobs read files on other machines than this one."""
        if self.engine_name is None or not engine_link.is_elsewhere(self.engine_name):
            return ()
        warning = (
            f"Engine {self.engine_name!r} runs on other machines, and jobs there read {path} under "
            "the same path: whether it is there cannot be checked from here. A shared file system "
            "or a warehouse is seen by both."
        )
        return (warning,)

    def probe(self, source: str) -> None:
        """Check that a source is there and readable, without reading its rows.

        Raises:
            UnknownNameError: There is no such source.
            PermissionError: It is closed to this user.
        """
        self.arrow_schema(source)

    def probe_tables(self, sources: Iterable[str]) -> list[str]:
        """Probe each source once, however often it is named; return them without duplicates.

        Raises:
            UnknownNameError: There is no such source.
            PermissionError: A source is closed to this user; names it.
        """
        distinct = list(dict.fromkeys(sources))
        for source in distinct:
            try:
                self.probe(source)
            except PermissionError as error:
                raise PermissionError(f"Table {source!r} cannot be read: {error}") from error
        return distinct

    def list_jobs(self, state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the jobs of this connector's engine, newest first.

        Args:
            state: Only those of this status, in any case; None: all.
            limit: At most so many; None: all.

        Returns:
            Per job: job_id, status, created_by, created_on and finished_at (UTC), duration (seconds
            of running; None before the end), engine, payload_type.
        """
        return engine_link.list_jobs(self.engine_name, state=state, limit=limit)

    def get_job(self, job_id: str) -> dict[str, Any]:
        """Return the row of one job; see `list_jobs`.

        Raises:
            JobManagerError: The engine has no such job.
        """
        return engine_link.get_job(self.engine_name, job_id)

    def cancel_job(self, job_id: str) -> None:
        """Take a job out of the queue, or stop it.

        Raises:
            JobManagerError: The engine has no such job, or it has ended; says how.
        """
        engine_link.cancel_job(self.engine_name, job_id)

    def get_job_events(self, job_id: str, continuation_token: str | None = None) -> dict[str, Any]:
        """Return what happened in a job since an earlier call.

        Args:
            job_id: The job.
            continuation_token: From the earlier call; None: from the beginning.

        Returns:
            "events", oldest first, each a dict as docs/job-protocol.md has it, and the
            "continuation_token" of the next call.
        """
        return engine_link.job_events(self.engine_name, job_id, continuation_token)


@dataclass(frozen=True, slots=True)
class NewTable:
    """A table to be made."""

    name: str
    """Full name, as `exists` understands it."""
    schema: pa.Schema


class CanWrite(ABC):
    """A connector that can also create tables. Replaces none that it was not told to replace."""

    @abstractmethod
    def can_create(self, table: str, *, replace: bool = False) -> None:
        """Check cheaply, before a job starts, that this name could be written to now.

        Args:
            table: Full name.
            replace: Whether a table of this name may be there.

        Raises:
            OutputExistsError: The name is taken; with `replace`, by something that is no table.
            PermissionError: The place is not writable.
            UnknownNameError: The database or schema is not there.
        """

    @abstractmethod
    def write_tables(
        self,
        tables: Sequence[NewTable],
        rows: Iterable[tuple[int, pa.RecordBatch]],
        *,
        replacing: Collection[str] = (),
    ) -> list[int]:
        """Create several tables together: all of them whole, or nothing has changed.

        All rows are gathered before the first table appears. Where the place cannot make several
        appear in one instant, the last one appears last and, if it is replaced, goes first: whoever
        sees it sees the others that belong to it.

        Args:
            tables: What to create. Each name is free, or is one of `replacing`.
            rows: Batches, each with the position of its table in `tables`; in any order.
            replacing: Tables that are gone afterwards where they are there now, whether or not
                `tables` has a new one of the same name. Spelt as in `tables`.

        Returns:
            Rows of each table.

        Raises:
            OutputExistsError: A name is taken, also when it was taken while rows streamed in.
            Exception: Whatever `rows` raises; nothing has changed then.
        """

    def write(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema) -> int:
        """Create one table, whole or not at all; return its rows. See `write_tables`."""
        (num_rows,) = self.write_tables([NewTable(table, schema)], ((0, b) for b in batches))
        return num_rows
