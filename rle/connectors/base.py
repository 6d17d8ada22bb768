"""What every connector can do: rows in and rows out, always Arrow, chunk by chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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

    A subclass declares `kind: Literal["..."] = "..."`, the name that `registry` knows it by, and
    carries the names of secrets, never secrets. Types that only encode other types (dictionaries,
    run ends, views, extensions) never come out: see `rle.connectors.arrow.plain_type`.
    """

    kind: str
    """Name of the connector class in `rle.connectors.registry`."""

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

    @abstractmethod
    def exists(self, source: str) -> bool:
        """Whether there is a source of this name."""


class CanWrite(ABC):
    """A connector that can also create tables. Never replaces one."""

    @abstractmethod
    def can_create(self, table: str) -> None:
        """Check cheaply, before a job starts, that `write` to this name would be let through.

        Raises:
            OutputExistsError: The name is taken.
            PermissionError: The place is not writable.
            UnknownNameError: The database or schema is not there.
        """

    @abstractmethod
    def write(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema) -> int:
        """Create `table` with these rows, whole or not at all, and return the number of rows.

        Raises:
            OutputExistsError: The name is taken, also when it was taken while rows streamed in.
        """

    @abstractmethod
    def drop(self, table: str) -> None:
        """Remove a table that `write` made, to undo it when a later one fails.

        Raises:
            UnknownNameError: There is no such table.
        """
