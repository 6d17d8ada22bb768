"""One chunk of a table to typed parts on disk: the step that runs anywhere, alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import Field

from rle.connectors.registry import AnyConnector
from rle.errors import ConnectionError, DataError, StorageError
from rle.ingest import convert
from rle.ingest.keys import plain_keys
from rle.ingest.nulls import NULL_STAMP, NULL_TIME
from rle.ingest.plan import TablePlan
from rle.ingest.text import EmbedderSource, load_embedder
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rle.connectors.base import Chunk

_ATTEMPTS = 3


class Staging(Value):
    """What every task needs: where rows come from, what they become, where parts go."""

    connector: AnyConnector
    plans: tuple[TablePlan, ...]
    embedder: EmbedderSource | None
    """None where no table has text."""
    folder: str
    """Seen by every process that stages."""

    def part(self, table: int, chunk: int, piece: int) -> Path:
        """Return where one piece of one chunk of table number `table` lies."""
        return Path(self.folder) / f"t{table}-{chunk:06d}-{piece:04d}.arrow"


class PartInfo(Value):
    """What was found while staging one piece of a chunk."""

    table: int
    """Index into `Staging.plans`."""
    chunk: int
    piece: int
    num_rows: int
    num_null_keys: int = 0
    num_null_times: int = 0
    num_clamped: dict[str, int] = Field(default_factory=dict)
    num_infinite: dict[str, int] = Field(default_factory=dict)
    num_incomplete: dict[str, int] = Field(default_factory=dict)
    dims: dict[str, int] = Field(default_factory=dict)
    """Per vector column its dimension; absent where all its values here are NULL."""


def stage(staging: Staging, table: int, chunk: Chunk) -> list[PartInfo]:
    """Read a chunk, type its columns, embed its text and write Arrow IPC files.

    One file for every `chunk_rows` rows, so that memory is bounded even where the source cannot be
    split, such as a CSV file. A chunk that cannot be read is tried again by itself before the
    build fails. Column names of a part are "<what>:<column>", as `rle.graph` reads them back.

    Raises:
        DataError: Rows contradict the spec.
        ConnectionError: The source cannot be read, three times in a row.
        StorageError: A part cannot be written.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return [
                _write_part(staging, table, chunk.index, piece, rows)
                for piece, rows in enumerate(_pieces(staging, table, chunk))
            ]
        except (ConnectionError, OSError) as error:
            if attempt == _ATTEMPTS or isinstance(error, PermissionError):
                raise
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("unreachable")


def _pieces(staging: Staging, table: int, chunk: Chunk) -> Iterator[pa.Table]:
    """Yield the rows of a chunk in tables of about `chunk_rows` rows; at least one."""
    most = staging.plans[table].chunk_rows
    held: list[pa.RecordBatch] = []
    num_held, is_first = 0, True
    for batch in staging.connector.read(chunk):
        held.append(batch)
        num_held += batch.num_rows
        if num_held >= most:
            yield pa.Table.from_batches(held)
            held, num_held, is_first = [], 0, False
    if held and (num_held or is_first):
        yield pa.Table.from_batches(held)
    elif is_first:
        schema = staging.connector.arrow_schema(chunk.source)
        yield pa.schema([schema.field(name) for name in chunk.columns]).empty_table()


def _write_part(staging: Staging, table: int, chunk: int, piece: int, rows: pa.Table) -> PartInfo:
    typed = _Typed(staging.plans[table], rows.num_rows)
    typed.add_roles(rows)
    typed.add_features(rows)
    typed.add_vectors(rows, staging.embedder)
    names, arrays = list(typed.arrays), list(typed.arrays.values())
    batch = pa.RecordBatch.from_arrays(arrays, names=names) if names else _rows_only(rows.num_rows)
    path = staging.part(table, chunk, piece)
    try:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {path}") from None
    return PartInfo(table=table, chunk=chunk, piece=piece, num_rows=rows.num_rows, **typed.found)


def _rows_only(num_rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(num_rows)], names=["rows:"])


class _Typed:
    """The arrays of a part while they are made, and what was found on the way."""

    def __init__(self, plan: TablePlan, num_rows: int) -> None:
        self._plan = plan
        self._num_rows = num_rows
        self.arrays: dict[str, pa.Array] = {}
        self.num_null_keys = 0
        self.num_null_times = 0
        self.num_clamped: dict[str, int] = {}
        self.num_infinite: dict[str, int] = {}
        self.num_incomplete: dict[str, int] = {}
        self.dims: dict[str, int] = {}

    @property
    def found(self) -> dict[str, object]:
        """The fields of PartInfo that conversion filled."""
        return {
            "num_null_keys": self.num_null_keys,
            "num_null_times": self.num_null_times,
            "num_clamped": self.num_clamped,
            "num_infinite": self.num_infinite,
            "num_incomplete": self.num_incomplete,
            "dims": self.dims,
        }

    def add_roles(self, rows: pa.Table) -> None:
        """Add row times, candidate keys and foreign keys."""
        if self._plan.time is not None:
            self.arrays["time:"] = pa.array(self._times(rows, self._plan.time))
        for i, column in enumerate(self._plan.keys):
            keys = plain_keys(_column(rows, column), where=self._where(column))
            self.arrays[f"key:{column}"] = keys
            self.num_null_keys += keys.null_count if i == 0 else 0
        for column in self._plan.links:
            keys = plain_keys(_column(rows, column), where=self._where(column))
            # Text keys repeat; the parent is looked up once per distinct value.
            is_text = keys.type == pa.large_string()
            self.arrays[f"link:{column}"] = keys.dictionary_encode() if is_text else keys

    def add_features(self, rows: pa.Table) -> None:
        """Add numbers, codes, datetimes and lists."""
        plan = self._plan
        if plan.numbers:
            block = np.empty((self._num_rows, len(plan.numbers)), np.float32)
            for i, column in enumerate(plan.numbers):
                block[:, i], infinite = convert.to_numbers(
                    _column(rows, column), where=self._where(column)
                )
                if infinite:
                    self.num_infinite[column] = infinite
            self.arrays["numbers:"] = _fixed(block)
        for column in plan.codes:
            values = _column(rows, column)
            self.arrays[f"code:{column}"] = convert.to_codes(values, where=self._where(column))
        if plan.stamps:
            columns = [self._stamps(rows, column) for column in plan.stamps]
            self.arrays["stamps:"] = _fixed(np.column_stack(columns))
        for column in plan.lists:
            offsets, elements = convert.to_lists(_column(rows, column), where=self._where(column))
            self.arrays[f"list:{column}"] = pa.LargeListArray.from_arrays(
                pa.array(offsets), elements
            )

    def add_vectors(self, rows: pa.Table, embedder: EmbedderSource | None) -> None:
        """Add embedded text and given embeddings."""
        for column in self._plan.texts:
            assert embedder is not None
            texts = convert.to_codes(_column(rows, column), where=self._where(column))
            model = load_embedder(embedder)
            distinct = model.embed(texts.dictionary.to_pylist())
            self._add_vector(column, _take_or_nan(distinct, texts.indices))
        for column in self._plan.embeddings:
            given = _column(rows, column)
            vectors = convert.to_vectors(given, where=self._where(column))
            if vectors is None:
                continue
            self._add_vector(column, vectors)
            incomplete = int(np.isnan(vectors[:, 0]).sum()) - given.null_count
            if incomplete:
                self.num_incomplete[column] = incomplete

    def _add_vector(self, column: str, vectors: NDArray[np.float16] | NDArray[np.float32]) -> None:
        self.arrays[f"vector:{column}"] = _fixed(vectors)
        self.dims[column] = vectors.shape[1]

    def _times(self, rows: pa.Table, column: str) -> NDArray[np.int64]:
        found = convert.to_moments(_column(rows, column), where=self._where(column))
        if found.is_outside.any():
            raise DataError(
                f"Time column {self._where(column)!r} holds {found.example_outside}, which is not "
                "between 1677-09-21 and 2262-04-11. Correct the source, or set "
                "such times to NULL in a view."
            )
        self.num_null_times += int(found.is_null.sum())
        return np.where(found.is_null, np.int64(NULL_TIME), found.ns)

    def _stamps(self, rows: pa.Table, column: str) -> NDArray[np.int64]:
        found = convert.to_moments(_column(rows, column), where=self._where(column))
        if found.is_outside.any():
            self.num_clamped[column] = int(found.is_outside.sum())
        return np.where(found.is_null, np.int64(NULL_STAMP), found.ns)

    def _where(self, column: str) -> str:
        return f"{self._plan.table}.{column}"


def _column(rows: pa.Table, name: str) -> pa.Array:
    column = rows.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _fixed(block: NDArray[np.generic]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(block).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, block.shape[1])


def _take_or_nan(distinct: NDArray[np.float16], codes: pa.Array) -> NDArray[np.float16]:
    at = codes.fill_null(-1).to_numpy(zero_copy_only=False)
    padded = np.vstack([distinct, np.full((1, distinct.shape[1]), np.nan, np.float16)])
    taken: NDArray[np.float16] = padded[at]
    return taken
