"""Where run files live: one home per user or project, one folder per run."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def home() -> Path:
    """Return the folder of all run files, absolute: $RLE_HOME, or .rle in the current folder.

    It holds snapshots/, runs/<run id>/, mlflow.db and mlartifacts/. Not made by this call.
    """
    return Path(os.environ.get("RLE_HOME") or ".rle").expanduser().resolve()


def make_home() -> Path:
    """Return the folder of all run files; made where it is missing.

    Raises:
        StorageError: It cannot be made, and neither can the folders in it.
    """
    return _made(home())


@contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Wait until no other process of this home does `what`; the kernel frees it if one dies."""
    with (make_home() / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def snapshots_folder() -> Path:
    """Return the folder of all graph snapshots; made where it is missing."""
    return _made(home() / "snapshots")


def run_folder(run_id: str) -> Path:
    """Return the folder of one run; made where it is missing."""
    return _made(home() / "runs" / run_id)


def model_folder(run_id: str) -> Path:
    """Return the folder in which a run keeps its model; made by whoever saves the model."""
    return home() / "runs" / run_id / "model"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made: {error.strerror or error}. Set RLE_HOME to a folder that "
            "you may write to."
        ) from error
    return folder
