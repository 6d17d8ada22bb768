"""Notes between the driver and its workers: files in the job's folder on shared storage.

Workers write events and, when something went wrong for good, a failure; the driver writes the
wish to stop. All are plain text: nothing is unpickled.
"""

from __future__ import annotations

import json
import time
import traceback
from typing import TYPE_CHECKING

import rle.errors
from rle.errors import InternalError, RLEError
from rle.runs.events import FILE_NAME, parse_event
from rle.runs.redact import redacted_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.runs.events import AnyEvent

STOP_CHECK_S = 0.5
"""How often a worker looks for the wish to stop."""
TRACEBACK_LINES = 12


class Relay:
    """The notes of one job.

    Args:
        folder: The job's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "relay"
        self._stop = self.folder / "stop"
        self._failure = self.folder / "failure.json"
        self._events = self.folder / FILE_NAME
        self._read_to = 0
        self._asked_at = 0.0

    def clear(self) -> None:
        """Forget the notes of an earlier attempt of the driver."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self._stop, self._failure, self._events):
            path.unlink(missing_ok=True)
        self._read_to = 0

    def ask_to_stop(self) -> None:
        """Tell the workers to stop after the step under way."""
        self._stop.touch()

    def is_asked_to_stop(self) -> bool:
        """Whether the driver wants the workers to stop; looks at most every `STOP_CHECK_S`."""
        now = time.monotonic()
        if now - self._asked_at < STOP_CHECK_S:
            return False
        self._asked_at = now
        return self.must_stop

    @property
    def must_stop(self) -> bool:
        """Whether the driver wants the workers to stop; looks each time."""
        return self._stop.exists()

    @property
    def has_events(self) -> bool:
        """Whether a worker has told anything yet."""
        return self._events.exists() and self._events.stat().st_size > 0

    def new_events(self) -> Iterator[AnyEvent]:
        """The events that were written since the last call."""
        if not self._events.exists():
            return
        with self._events.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                self._read_to += len(line)
                yield parse_event(line)

    def write_failure(self, error: BaseException) -> None:
        """Note what went wrong, so that no restart repeats it and the driver can raise it."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        note = {
            "error": type(error).__name__,
            "is_ours": type(error).__module__ == rle.errors.__name__,
            "args": list(error.args),
            "message": str(error),
            "traceback": lines[-TRACEBACK_LINES:],
        }
        temporary = self._failure.with_suffix(".part")
        clean = redacted_json(json.loads(json.dumps(note, default=str)))
        temporary.write_text(json.dumps(clean), encoding="utf-8")
        temporary.replace(self._failure)

    def failure(self) -> RLEError | None:
        """The error that a worker noted: of its own class if it is one of ours."""
        if not self._failure.exists():
            return None
        note = json.loads(self._failure.read_text(encoding="utf-8"))
        if note["is_ours"]:
            cls = getattr(rle.errors, note["error"], None)
            if isinstance(cls, type) and issubclass(cls, RLEError):
                return cls(*note["args"])
        detail = "\n".join(note["traceback"])
        return InternalError(
            f"A training worker failed with {note['error']}: {note['message']}\n{detail}"
        )
