"""Rows on their way into files: streamed into hidden ones, which get their names at the end."""

from __future__ import annotations

import errno
import json
import os
import pickle
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from rle.connectors.arrow import plain_batches
from rle.connectors.swap import hidden, swap, taken
from rle.errors import ConnectionError, OutputExistsError, PermissionError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rle.connectors.base import NewTable

    Write = Callable[[pa.RecordBatch], object]

EXTENSIONS = (".parquet", ".csv", ".pkl")
"""Formats that rows can be written as."""


def pour(
    tables: Sequence[NewTable],
    files: Sequence[Path],
    rows: Iterable[tuple[int, pa.RecordBatch]],
    *,
    formats: Sequence[str],
) -> list[int]:
    """Write each batch to the file of its table; return the rows of each.

    Args:
        tables: What the batches belong to.
        files: Where each is written; nothing is there.
        rows: Batches with the position of their table.
        formats: ".arrow", which can be mapped into memory, or one of `EXTENSIONS`, per table.
    """
    num_rows = [0] * len(tables)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_WRITERS[suffix](file, table.schema))
            for table, file, suffix in zip(tables, files, formats, strict=True)
        ]
        for index, batch in rows:
            for plain in plain_batches([batch], tables[index].schema):
                writers[index](plain)
            num_rows[index] += batch.num_rows
    return num_rows


def write_files(
    tables: Sequence[NewTable],
    paths: Sequence[Path],
    rows: Iterable[tuple[int, pa.RecordBatch]],
    *,
    replacing: Sequence[Path] = (),
) -> list[int]:
    """Write tables to .parquet, .csv or .pkl files, all or none; return the rows of each.

    The files appear under their names when all are complete, and only if the names are free or in
    `replacing`. In CSV, lists are written as JSON. A .pkl file holds a pickled pandas DataFrame.

    Raises:
        OutputExistsError: A file is there, also when it appeared while rows streamed in.
        PermissionError: The folder is not writable.
        ConnectionError: The disk is full or fails.
    """
    try:
        with ExitStack() as stack:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            scratch = [stack.enter_context(_scratch(path)) for path in paths]
            num_rows = pour(tables, scratch, rows, formats=[path.suffix for path in paths])
            for file in scratch:
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            swap(list(zip(scratch, paths, strict=True)), replacing)
            return num_rows
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(f"{paths[-1]} cannot be written: {error.strerror}.") from error
        if isinstance(error, ConnectionError | PermissionError) or error.errno is None:
            raise
        raise ConnectionError(f"{paths[-1]} cannot be written: {error.strerror}.") from error


def check_file_free(path: Path, *, replace: bool = False) -> None:
    """Raise where `write_files` would not be let through; cheap, leaves nothing behind."""
    if path.suffix not in EXTENSIONS:
        raise ValidationError(f"Output file {path} must end in one of {', '.join(EXTENSIONS)}.")
    if path.exists() and not (replace and path.is_file()):
        raise OutputExistsError(taken(path))
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"Folder {folder} is not writable, so {path} cannot be created.")


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    scratch = hidden(path, "part")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def _arrow(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        yield writer.write_batch


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    # Arrow cannot read back a fixed-size list that has NULLs, so vectors are written as lists.
    lists = pa.schema(
        [
            (f.name, pa.list_(f.type.value_type) if pt.is_fixed_size_list(f.type) else f.type)
            for f in schema
        ]
    )
    with pq.ParquetWriter(path, lists, compression="zstd") as writer:
        yield lambda batch: writer.write_batch(next(plain_batches([batch], lists)))


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    flat = pa.schema([(f.name, pa.string() if _is_list(f.type) else f.type) for f in schema])
    with pc.CSVWriter(path, flat) as writer:
        yield lambda batch: writer.write_batch(_flatten(batch, flat))


@contextmanager
def _pickle(path: Path, schema: pa.Schema) -> Iterator[Write]:
    batches: list[pa.RecordBatch] = []
    yield batches.append
    with path.open("wb") as file:
        pickle.dump(pa.Table.from_batches(batches, schema=schema).to_pandas(), file)


_WRITERS: Mapping[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".arrow": _arrow,
    ".parquet": _parquet,
    ".csv": _csv,
    ".pkl": _pickle,
}


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype))


def _flatten(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(
            [None if v is None else json.dumps(v, default=str) for v in column.to_pylist()],
            pa.string(),
        )
        if _is_list(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
