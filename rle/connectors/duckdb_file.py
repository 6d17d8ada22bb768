"""Short connections to a DuckDB file that other threads and processes use too."""

from __future__ import annotations

import errno
import os
import re
import shlex
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from rle.connectors.names import quote
from rle.errors import ConnectionError, PermissionError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BATCH_ROWS = 16_384
"""Rows per record batch: Arrow's strings hold 2 GB per batch, so values may average 128 KB."""
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.5


@contextmanager
def open_file(path: str, *, write: bool, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file, run the block, close it. Stamps come out in UTC.

    Any number of processes may read at once; one that writes needs the file alone. Whoever comes
    second tries again until `timeout_s` has passed.

    Raises:
        ConnectionError: The file is missing, not DuckDB's, or was locked for too long.
        PermissionError: The file is closed to this user.
    """
    connection = _connect(path, write=write, timeout_s=timeout_s)
    try:
        with in_words(path):
            connection.execute("SET TimeZone = 'UTC'").fetchall()
            yield connection
    finally:
        connection.close()


@contextmanager
def in_words(path: str) -> Iterator[None]:
    """Raise errors of DuckDB as ours; for what is done with an open file."""
    try:
        yield
    except duckdb.Error as error:
        raise _in_words(f"DuckDB could not work on {path}", error) from error


def select_list(columns: Sequence[str]) -> str:
    """Return quoted columns for SELECT; a constant where there are none, for rows still count."""
    return ", ".join(map(quote, columns)) or "1"


@contextmanager
def query_file(
    path: Path, columns: Sequence[str] | None, clauses: str
) -> Iterator[duckdb.DuckDBPyRelation]:
    """Read columns of a Parquet or CSV file with DuckDB, outside any database.

    Args:
        path: The file; bound to the first `?` of `clauses`.
        columns: Columns to read, in this order. None: all.
        clauses: What follows FROM.

    Raises:
        ConnectionError: The file cannot be read.
    """
    con = duckdb.connect()
    try:
        con.execute("SET TimeZone = 'UTC'").fetchall()
        selected = "*" if columns is None else select_list(columns)
        yield con.sql(f"SELECT {selected} FROM {clauses}", params=[str(path)])  # noqa: S608
    except duckdb.Error as error:
        raise _in_words(f"{path} cannot be read", error) from error
    finally:
        con.close()


def _connect(path: str, *, write: bool, timeout_s: float) -> duckdb.DuckDBPyConnection:
    check_file(path, write=write)
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return _connect_once(path, write=write)
        except duckdb.Error as error:
            if not _is_busy(error):
                raise ConnectionError(
                    f"{path} cannot be opened as a DuckDB file: {_first_line(error)}"
                ) from error
            if time.monotonic() > deadline:
                raise ConnectionError(_busy_message(path, error, timeout_s)) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _connect_once(path: str, *, write: bool) -> duckdb.DuckDBPyConnection:
    if write:
        return duckdb.connect(path)
    try:
        return duckdb.connect(path, read_only=True)
    except duckdb.ConnectionException as error:
        if not _is_open_here(error):
            raise
        # This process has the file open for writing already, say in a notebook: read through that.
        return duckdb.connect(path)


def check_file(path: str, *, write: bool) -> None:
    """Raise ConnectionError or PermissionError where the file is missing or closed to us."""
    file = Path(path)
    if not is_there(file):
        folder = file.parent
        known = [p.name for p in folder.glob("*.duckdb")] if folder.is_dir() else []
        raise ConnectionError(str(UnknownNameError(f"DuckDB file in {folder}", file.name, known)))
    if not os.access(path, os.R_OK):
        raise PermissionError(
            f"{path} is not readable by this user. Its owner can open it with: "
            f"chmod a+r {shlex.quote(path)}"
        )
    if write and not (os.access(path, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise PermissionError(f"{path} or its folder is not writable by this user.")


def is_there(path: Path) -> bool:
    """Whether there is something at `path`; PermissionError where its folder is closed to us."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
        raise PermissionError(
            f"{path} is in a folder that is closed to this user. Its owner can open it with: "
            f"chmod a+x {shlex.quote(str(path.parent))}"
        ) from error


def _is_open_here(error: duckdb.Error) -> bool:
    return "different configuration" in str(error)


def _is_busy(error: duckdb.Error) -> bool:
    # "already attached" comes when two threads of a process open the file in different ways.
    signs = ("Could not set lock", "already attached")
    return _is_open_here(error) or any(sign in str(error) for sign in signs)


def _busy_message(path: str, error: duckdb.Error, timeout_s: float) -> str:
    holder = re.search(r"\(PID (\d+)\)", str(error))
    if holder is None:
        return (
            f"{path} is open elsewhere in this process and did not become free within "
            f"{timeout_s:g} s. Close that connection first."
        )
    return (
        f"{path} is locked by another process (PID {holder[1]}) and did not become free within "
        f"{timeout_s:g} s. Close it there, or open it there with read_only=True. "
        "lock_timeout_s sets how long to wait."
    )


def _in_words(what: str, error: duckdb.Error) -> ConnectionError | PermissionError:
    # A view may read files of its own, which can be closed while the database is open to us.
    kind = PermissionError if "Permission denied" in str(error) else ConnectionError
    return kind(f"{what}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
