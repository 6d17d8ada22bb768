"""What a local engine's keeper says of itself, and the lock that shows that it lives.

Both lie in the engine's folder. The lock is the truth about life: the kernel frees it when its
holder dies, whatever the file still says.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field

from rle.engines.record import EngineState
from rle.errors import ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from pathlib import Path

LOG, TOKEN = "keeper.log", "token"
_STATE, _LOCK = "keeper.json", "keeper.lock"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRIES, _PAUSE_S = 10, 0.02  # `is_kept` holds the lock for an instant


class KeeperState(Value):
    """What the keeper last said. Equal to keeper.json."""

    state: EngineState
    message: str = ""
    """Why, in one line or a few."""
    pid: int | None = None
    """Of the keeper; None until it has started."""
    session: int | None = None
    """Id of the system's session that the keeper and all that it started belong to."""
    address: str | None = None
    """URL of the dashboard; None until it is known."""
    ray_folder: str | None = None
    """Folder of Ray's sessions; None until there is one."""
    keeps_runs_here: bool = False
    """Whether its jobs keep runs and models in the home's own MLflow, and not where a variable
    of MLflow's says."""
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When the keeper was started, UTC."""


def read_state(folder: Path) -> KeeperState | None:
    """Return what the keeper of this engine folder last said; None where it never did."""
    try:
        return KeeperState.from_json((folder / _STATE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_state(folder: Path, state: KeeperState) -> None:
    """Say `state`, at once for every reader; OSError where that cannot be written."""
    new = folder / f".{_STATE}.{os.getpid()}"
    try:
        new.write_text(state.to_json(indent=2), encoding="utf-8")
        new.replace(folder / _STATE)
    finally:
        new.unlink(missing_ok=True)


def take_lock(folder: Path) -> int | None:
    """Return the lock, held, as a file descriptor; None where a keeper holds it.

    It is held until every process that has the descriptor closed it.
    """
    for _ in range(_TRIES):
        file = _try_lock(folder)
        if file is not None:
            return file
        time.sleep(_PAUSE_S)
    return None


def is_kept(folder: Path) -> bool:
    """Whether a keeper lives, or is being started."""
    if not (folder / _LOCK).exists():
        return False
    file = _try_lock(folder)
    if file is None:
        return True
    os.close(file)
    return False


def log_tail(folder: Path, *, offset: int = 0, num_lines: int = 12) -> str:
    """Return the last lines of the keeper's log behind byte `offset`, without colours."""
    try:
        with (folder / LOG).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(_COLOUR.sub("", text).strip().splitlines()[-num_lines:])


def _try_lock(folder: Path) -> int | None:
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
