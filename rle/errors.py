"""Every error a user can meet, under one base.

RLEError
├── ValidationError (ValueError)        a spec, a config or a table is wrong; nothing has run yet
│   ├── UnknownNameError                a table, column, field or option that is not there
│   │   └── NotSeenError (PermissionError)   it is not there, or closed to us; nobody says which
│   ├── DatasetMismatchError            a dataset is not the one that a model was trained on
│   ├── RoleKeyError (KeyError)         a role (key, link) is removed from a column that lacks it
│   ├── FixedRoleError (AttributeError) a column is removed that a task cannot be without
│   └── OutputExistsError               an output alias is taken; nothing is ever overwritten
├── ConnectionError (ConnectionError)   a warehouse or a file cannot be reached
├── PermissionError (PermissionError)   a table or a folder is there but closed to us
├── DataError (ValidationError)         rows contradict the spec (duplicate keys, bad labels)
├── MissingModelError                   a text embedder cannot be had; the ways out are named
├── StorageError                        a file of ours cannot be written; usually a full disk
├── DeviceError (ValidationError)       the device asked for is not on this machine
├── ModelManagerError                   a model cannot be registered, found or deleted
├── JobError                            a job cannot be submitted, found, watched or stopped
│   ├── JobManagerError                 there is no such job, or it cannot be fetched or canceled
│   ├── JobMonitorError                 a job does not have what was asked for, or not yet
│   │   └── JobTimeoutError (TimeoutError)  a job did not end in the time that was given
│   ├── JobHandlerError                 a job's request cannot be carried out on its engine
│   └── JobFailedError (RuntimeError)   a job failed or was canceled; says why and what helps
├── TrainingError                       training diverged, lost a worker or a checkpoint
└── InternalError                       a bug of ours
"""

from __future__ import annotations

import builtins
import difflib
import errno
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class RLEError(Exception):
    """Base of all errors that GNN-RLE raises on purpose."""


class ValidationError(RLEError, ValueError):
    """A spec, a config or a request is wrong. Raised before any long work starts."""


class UnknownNameError(ValidationError):
    """A name that is not among the known ones; suggests the nearest.

    Args:
        what: What kind of thing was named, with its owner, such as "column of table 'orders'".
        name: The name that is not there.
        known: The names that are.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        # args equal the constructor's arguments, so the error survives pickling.
        super().__init__(what, name, tuple(sorted(map(str, known))))

    def __str__(self) -> str:
        what, name, known = self.args
        nearest = _nearest(name, known)
        if nearest is not None:
            return f"There is no {what} named {name!r}. Did you mean {nearest!r}?"
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        shown = ", ".join(repr(k) for k in known[:20]) + more
        return f"There is no {what} named {name!r}. Known: {shown or 'none'}."


class DatasetMismatchError(ValidationError):
    """A dataset has other tables, columns, roles or another task than a model was trained on.

    Args:
        message: What differs, in words, and the way out.
        diff: What differs, as JSON values: every leaf is {"trained": ..., "given": ...}, null where
            there is nothing. `str(error)` ends with it.
    """

    def __init__(self, message: str, diff: dict[str, Any]) -> None:
        super().__init__(message, diff)  # args equal the arguments: the error survives pickling
        self.diff = diff

    def __str__(self) -> str:
        text = json.dumps(self.diff, indent=2, ensure_ascii=False, default=str)
        return f"{self.args[0]}\nDifference as JSON:\n{text}"


class RoleKeyError(ValidationError, KeyError):
    """A key, link or time role was removed from a column that does not have it."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class FixedRoleError(ValidationError, AttributeError):
    """The entity or the label column of a task was removed; both are fixed once it is made."""


class OutputExistsError(ValidationError):
    """An output table or file exists already. Nothing is overwritten."""


class DataError(ValidationError):
    """Rows contradict the spec: duplicate keys, labels outside the task type, and the like."""


class DeviceError(ValidationError):
    """The device asked for is not on this machine."""


class MissingModelError(RLEError):
    """A pretrained text embedder cannot be had here. Says how to get it or what to use instead."""


class ConnectionError(RLEError, builtins.ConnectionError):
    """A warehouse or a file cannot be reached. Never carries a secret."""

    may_pass = True
    """Whether the same may succeed a little later, with nobody having done anything about it."""
    is_of_statement = False
    """Whether it is about one statement, and others may succeed all the same."""


class PermissionError(RLEError, builtins.PermissionError):
    """A source or an output place exists but is closed to this user."""


class NotSeenError(UnknownNameError, PermissionError):
    """A table, schema or the like that is not there, or is closed to us: nobody says which.

    Args:
        what: What kind of thing was named.
        name: The name that is not seen.
        known: The names that are, as far as they were looked for.
        way_out: What to do if the name is right.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], way_out: str) -> None:
        # Not through the bases: OSError, which is one of them, takes some arguments for a number.
        self.args = (what, name, tuple(sorted(map(str, known))), way_out)

    def __str__(self) -> str:
        what, name, known, way_out = self.args
        if known:
            return f"{UnknownNameError(what, name, known)} {way_out}"
        return f"There is no {what} named {name!r}, or it is closed to this role. {way_out}"


class ModelManagerError(RLEError):
    """A model cannot be registered, found or deleted: what stands in the way, and the way out."""


class JobError(RLEError):
    """A job cannot be submitted, found, watched or stopped.

    Args:
        message: What stands in the way, and the way out.
        code: A short stable name for programs, such as "unknown_job".
    """

    def __init__(self, message: str, code: str = "job_error") -> None:
        super().__init__(message, code)  # args equal the arguments: the error survives pickling
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class JobManagerError(JobError):
    """There is no such job, or it cannot be fetched or canceled."""


class JobMonitorError(JobError):
    """A job does not have what was asked for, or does not have it yet."""


class JobTimeoutError(JobMonitorError, TimeoutError):
    """A job has not ended in the time that was given. It goes on."""


class JobHandlerError(JobError):
    """A job's request cannot be carried out on its engine: its kind or its version is unknown."""


class JobFailedError(JobError, RuntimeError):
    """A job ended without a result: it failed, or was canceled."""


class TrainingError(RLEError):
    """Training cannot go on: it diverged, lost its workers, or its checkpoint is damaged."""


class StorageError(RLEError):
    """A file of ours cannot be written, usually because the disk is full. Nothing half is kept."""

    @classmethod
    def of(cls, error: OSError, *, doing: str) -> StorageError:
        """Say that `doing` failed, why, and what helps where there is no space."""
        reason = error.strerror or str(error)
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        way_out = " Free some space, or set RLE_HOME to a folder on a larger disk."
        return cls(f"{doing} failed: {reason}. Nothing half is kept.{way_out if is_full else ''}")


class InternalError(RLEError):
    """A bug of ours, with what is needed to report it."""


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another; None where none is like it.

    What both begin with up to their last dot, such as SHOP.PUBLIC., makes them no more alike.
    """
    wanted = name.casefold()
    folded = {each.casefold(): each for each in known}
    owner = wanted[: wanted.rfind(".") + 1]
    if not any(each.startswith(owner) for each in folded):
        owner = ""  # the slip is before the last dot, or there is none
    rest = {each.removeprefix(owner): each for each in folded if each.startswith(owner)}
    close = difflib.get_close_matches(wanted.removeprefix(owner), list(rest), n=1)
    return folded[rest[close[0]]] if close else None
