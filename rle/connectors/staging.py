"""Files that appear whole or not at all, and never replace another."""

from __future__ import annotations

import errno
import json
import os
import pickle
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from rle.connectors.arrow import plain_batches
from rle.errors import ConnectionError, OutputExistsError, PermissionError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

EXTENSIONS = (".parquet", ".csv", ".pkl")
"""Formats that rows can be written as."""


def stage(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write rows to an Arrow file that can be mapped into memory; return their number."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        return _pour(batches, schema, writer.write_batch)


def write_file(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write rows to a .parquet, .csv or .pkl file and return their number.

    The file appears under its name when it is complete, and only if the name is still free. In
    CSV, lists are written as JSON. A .pkl file holds a pickled pandas DataFrame.

    Raises:
        OutputExistsError: The file is there, also when it appeared while rows streamed in.
        PermissionError: The folder is not writable.
        ConnectionError: The disk is full or fails.
    """
    write = {".parquet": _write_parquet, ".csv": _write_csv, ".pkl": _write_pickle}[path.suffix]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _appearing(path) as scratch:
            return write(scratch, batches, schema)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(f"{path} cannot be written: {error.strerror}.") from error
        if isinstance(error, ConnectionError | PermissionError) or error.errno is None:
            raise
        raise ConnectionError(f"{path} cannot be written: {error.strerror}.") from error


def check_file_free(path: Path) -> None:
    """Raise where `write_file` would not be let through; cheap, leaves nothing behind."""
    if path.suffix not in EXTENSIONS:
        raise ValidationError(f"Output file {path} must end in one of {', '.join(EXTENSIONS)}.")
    if path.exists():
        raise OutputExistsError(_taken(path))
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"Folder {folder} is not writable, so {path} cannot be created.")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        _give_name(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _give_name(scratch: Path, path: Path) -> None:
    try:
        path.hardlink_to(scratch)  # unlike a rename, fails where the name is taken
    except FileExistsError as error:
        raise OutputExistsError(_taken(path)) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        check_file_free(path)  # no hard links on this file system
        scratch.rename(path)


def _write_parquet(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    # Arrow cannot read back a fixed-size list that has NULLs, so vectors are written as lists.
    schema = pa.schema(
        [
            (f.name, pa.list_(f.type.value_type) if pt.is_fixed_size_list(f.type) else f.type)
            for f in schema
        ]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        return _pour(batches, schema, writer.write_batch)


def _write_csv(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    flat = pa.schema([(f.name, pa.string() if _is_list(f.type) else f.type) for f in schema])
    with pc.CSVWriter(path, flat) as writer:
        return _pour(batches, schema, lambda batch: writer.write_batch(_flatten(batch, flat)))


def _write_pickle(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    table = pa.Table.from_batches(plain_batches(batches, schema), schema=schema)
    with path.open("wb") as file:
        pickle.dump(table.to_pandas(), file)
    return int(table.num_rows)


def _pour(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    write: Callable[[pa.RecordBatch], object],
) -> int:
    num_rows = 0
    for batch in plain_batches(batches, schema):
        write(batch)
        num_rows += batch.num_rows
    return num_rows


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


def _taken(path: Path) -> str:
    return f"{path} exists already and is never overwritten. Choose another output alias."
