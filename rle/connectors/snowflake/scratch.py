"""A folder of this machine for rows on their way to Snowflake, removed whatever happens."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "rle-snowflake-"
"""How the folder's name begins."""
NEWBORN_S = 60.0
"""Seconds that a folder is left alone after a change: its process may not have locked it yet."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder among the temporary files; folders of killed processes are removed.

    A folder that is in use is locked by its process, and the lock goes with the process.

    Raises:
        StorageError: No folder can be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        raise disk_error(error, doing="Making a folder for rows on their way") from error
    with made as name, _locked(Path(name)) as folder:
        _remove_abandoned(folder.parent)
        yield folder


def disk_error(error: OSError, *, doing: str) -> StorageError:
    """Return our error for a folder that is full or cannot be written, with the way out."""
    reason = error.strerror or str(error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    way_out = "Free some space, or set" if is_full else "Set"
    return StorageError(
        f"{doing} failed: {reason}. No table was made and nothing half is kept. {way_out} TMPDIR "
        f"to a folder {'on a larger disk' if is_full else 'that can be written to'}."
    )


def _remove_abandoned(place: Path) -> None:
    """Remove folders whose process was killed. What cannot be removed now is nobody's failure."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            about = folder.stat()
            is_young = time.time() - about.st_mtime < NEWBORN_S
            if about.st_uid == os.getuid() and not is_young and not _is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some shared file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        os.close(descriptor)


def _is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
