"""Complete files that get their names together, and old ones that go, or nothing changes."""

from __future__ import annotations

import errno
import logging
import os
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from rle.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


def hidden(path: Path, ending: str) -> Path:
    """Return a free name beside `path` that no reader takes for a table."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{ending}")


def swap(new: Sequence[tuple[Path, Path]], replacing: Sequence[Path] = ()) -> None:
    """Give each complete file its name, after the files of `replacing` have been put aside.

    An error on the way, Ctrl-C too, puts everything back. A file system has no instant at which
    several names change, so the last file appears last, and an old one of its name goes first: a
    reader, or a process killed in between, never leaves the last beside others of another run. What
    was put aside is then still there under hidden names that end in ".old". One file that replaces
    one is a single step.

    Args:
        new: (complete file, its name to be). The complete files may stay where they are.
        replacing: Files that are gone afterwards; those that are not there do not matter.

    Raises:
        OutputExistsError: A name is taken and not in `replacing`.
    """
    if len(new) == 1 and list(replacing) == [new[0][1]]:
        os.replace(*new[0])
        return
    aside = [(path, hidden(path, "old")) for path in reversed(replacing) if path.exists()]
    with ExitStack() as undo:
        for path, old in aside:
            undo.callback(_put_back, old, path)
            path.rename(old)
        for file, path in new:
            _give_name(file, path)
            undo.callback(path.unlink)
        undo.pop_all()
    for _, old in aside:
        with suppress(OSError):  # the new files are in place; a leftover is no failure
            old.unlink()


def _put_back(old: Path, path: Path) -> None:
    if not old.exists():
        return
    try:
        _give_name(old, path)
    except OutputExistsError:
        log.warning("What was %s is now %s: its name was taken meanwhile.", path, old)
    else:
        old.unlink(missing_ok=True)


def _give_name(file: Path, path: Path) -> None:
    try:
        path.hardlink_to(file)  # unlike a rename, fails where the name is taken
    except FileExistsError as error:
        raise OutputExistsError(taken(path)) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        if path.exists():
            raise OutputExistsError(taken(path)) from error
        file.rename(path)  # no hard links on this file system


def taken(name: object) -> str:
    """Say that a name is taken, and the ways out."""
    return (
        f"{name} exists already and is never overwritten unasked. Choose another output alias, or "
        "pass overwrite_results=True."
    )
