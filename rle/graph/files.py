"""Arrays and text columns as files: written with the disk space reserved, opened as memory maps."""

from __future__ import annotations

import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from rle.errors import RLEError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray


def create_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Create a .npy file of this shape and return it as a writable memory map.

    The space is reserved first: writing through a map to a full disk would kill the process.

    Raises:
        OSError: There is not enough space.
    """
    plain = np.dtype(dtype)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(plain), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        file.flush()
        start = file.tell()
        size = int(np.prod(shape, dtype=np.int64)) * plain.itemsize
        os.posix_fallocate(file.fileno(), 0, start + size)
    if size == 0:
        return np.empty(shape, plain)
    return np.memmap(path, plain, "r+", start, shape)


class GrowingArray:
    """A one-dimensional .npy file of a length that is known only at its end."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self.size = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # numpy pads the header so that the first dimension can grow in place.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def append(self, values: NDArray[Any]) -> None:
        """Write more values behind those that are there."""
        plain = np.ascontiguousarray(values, self._dtype)
        self._file.write(plain.view(np.uint8).data)
        self.size += plain.size

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, header | {"shape": (self.size,)})


def save_array(path: Path, values: NDArray[Any]) -> None:
    """Write a whole array as a .npy file."""
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def open_array(path: Path) -> NDArray[Any]:
    """Map a .npy file, read-only. Nothing is read until it is used."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if 0 in shape:
        empty = np.empty(shape, dtype)
        empty.flags.writeable = False
        return empty
    # A plain array over the map: numpy's memmap class costs a microsecond at every slice.
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype, int(np.prod(shape)), start).reshape(shape)


def save_values(path: Path, values: pa.Array) -> None:
    """Write one Arrow column as an IPC file."""
    batch = pa.RecordBatch.from_arrays([values], names=["values"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def open_values(path: Path) -> pa.Array:
    """Map one Arrow column, read-only."""
    return open_batch(path).column(0)


def open_batch(path: Path) -> pa.RecordBatch:
    """Map an IPC file of exactly one batch, read-only."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def sync(folder: Path) -> None:
    """Bring all files below `folder`, and the folders' own entries, to the disk."""
    for path in (folder, *sorted(folder.rglob("*"))):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what was being written and what to do."""
    try:
        yield
    except RLEError:
        raise
    except OSError as error:
        raise StorageError.of(error, doing=doing) from error
