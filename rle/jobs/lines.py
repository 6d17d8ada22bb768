"""Lines appended to a file whole or not at all, whatever a crash or a full disk does."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rle.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 65_536


def append_line(path: Path, line: bytes) -> None:
    """Add a line, which ends with a newline, and wait until it is on the disk.

    A last line that a crash left unfinished is cut off first. The caller sees to it that nobody
    else writes meanwhile.

    Raises:
        StorageError: It cannot be added; the file is as it was.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {path}") from error
    try:
        _append(file, line)
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {path}") from error
    finally:
        os.close(file)


def _append(file: int, line: bytes) -> None:
    size = cut_unfinished(file)
    try:
        written = 0
        while written < len(line):  # a disk that fills up takes a part before it refuses
            written += os.write(file, line[written:])
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def cut_unfinished(file: int) -> int:
    """Cut off what follows the last newline of an open file; returns its size then."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end


def mend(path: Path) -> None:
    """Cut off an unfinished last line of a file nobody writes to; one that is missing is fine."""
    with suppress(FileNotFoundError):
        file = os.open(path, os.O_RDWR)
        try:
            cut_unfinished(file)
        finally:
            os.close(file)


def write_whole(path: Path, data: bytes, *, is_durable: bool = True) -> None:
    """Put `data` in place of what the file holds: readers see the old or the new, never a part.

    Args:
        path: The file; written by one process at a time.
        data: All that it holds then.
        is_durable: Whether to wait until it is on the disk.

    Raises:
        StorageError: It cannot be written; the file is as it was.
    """
    partial = path.with_name(f".{path.name}.new")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError.of(error, doing=f"Writing {path}") from error
