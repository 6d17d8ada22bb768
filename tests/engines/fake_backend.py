"""An engine backend that is as quick as a file: its state is a file in the engine's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.engines.base import EngineAccess, EngineBackend
from rle.engines.record import EngineState, EngineStatus
from rle.errors import ConnectionError, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

    from rle.engines.record import EngineRecord

WHERE = "tests.engines.fake_backend:FakeBackend"
IMPOSSIBLE, BROKEN, SLOW = "IMPOSSIBLE", "BROKEN", "SLOW"
"""Sizes: nothing is begun; it begins and fails; it begins and never gets ready."""


class FakeBackend(EngineBackend):
    """Does what it is told by the size of an engine."""

    def check(self, record: EngineRecord) -> None:
        if record.size == IMPOSSIBLE:
            raise ValidationError("There is no such machine.")

    def create(self, record: EngineRecord, folder: Path) -> None:
        self.resume(record, folder)

    def status(self, record: EngineRecord, folder: Path) -> EngineStatus:
        state, _, message = (folder / "state").read_text().partition(" ")
        # Ready from the second look on: it takes a moment.
        if state == "PENDING" and record.size != SLOW:
            say(folder, "READY")
        return EngineStatus(state=EngineState(state), message=message)

    def resume(self, record: EngineRecord, folder: Path) -> None:
        if record.size == BROKEN:
            say(folder, "SUSPENDED It has no disk.")
        elif not (folder / "state").exists() or "READY" not in (folder / "state").read_text():
            say(folder, "PENDING It starts.")

    def suspend(self, record: EngineRecord, folder: Path) -> None:
        say(folder, "SUSPENDED It was told to.")

    def delete(self, record: EngineRecord, folder: Path) -> None:
        with (folder.parent / ".deleted").open("a") as deleted:
            deleted.write(f"{record.name}\n")

    def access(self, record: EngineRecord, folder: Path) -> EngineAccess:
        status = self.status(record, folder)
        if status.state is not EngineState.READY:
            raise ConnectionError(status.not_ready(record.name))
        return EngineAccess(name=record.name, address="http://127.0.0.1:1", token=None)

    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        return folder / "jobs"


def say(folder: Path, state: str) -> None:
    """Make the engine in this folder be in `state`, which a message may follow."""
    (folder / "state").write_text(state)
