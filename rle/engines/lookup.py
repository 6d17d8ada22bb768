"""Engines by name: the way from what a user says to what can be talked to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.engines.record import EngineState, check_engine_name
from rle.engines.registry import backend_of
from rle.engines.store import EngineStore
from rle.errors import ConnectionError
from rle.runs.folders import home

if TYPE_CHECKING:
    from pathlib import Path

    from rle.engines.base import EngineAccess, EngineBackend
    from rle.engines.record import EngineRecord, EngineStatus

DEFAULT_ENGINE = "RLE_ENGINE"
"""Variable that names the engine to use where none is named."""
_MAKE_ONE = "Make one with `rle engine create NAME` or Provider().create_gnn(NAME)."


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine that is known here, and its backend."""

    record: EngineRecord
    folder: Path
    """Its own, on this machine: its record, and the receipts of jobs sent from here."""
    backend: EngineBackend

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def jobs_folder(self) -> Path | None:
        """Where its jobs' files lie on this machine; None where they are elsewhere."""
        return self.backend.jobs_folder(self.record, self.folder)

    @property
    def is_ready(self) -> bool:
        """Whether it takes jobs now."""
        return self.status().state is EngineState.READY

    def status(self) -> EngineStatus:
        """Return where it stands now."""
        return self.backend.status(self.record, self.folder)

    def access(self) -> EngineAccess:
        """Return how to reach it.

        Raises:
            ConnectionError: It is not READY.
        """
        return self.backend.access(self.record, self.folder)


def find_engine(name: str) -> EngineRecord:
    """Return the engine of this name.

    Raises:
        ConnectionError: There is none; names those that are there.
        ValidationError: No engine may have this name.
    """
    store = EngineStore()
    record = store.get(check_engine_name(name))
    if record is None:
        known = ", ".join(repr(one.name) for one in store.all())
        ways = f"Known: {known}." if known else f"{store.place} holds none. {_MAKE_ONE}"
        raise ConnectionError(f"There is no engine named {name!r}. {ways}")
    return record


def open_engine(name: str | None = None, *, must_run: bool = True) -> OpenEngine:
    """Return an engine, ready to be used.

    Args:
        name: None: the one that $RLE_ENGINE names, or else the only one there is.
        must_run: Whether it has to be READY.

    Raises:
        ConnectionError: There is no such engine, there is not exactly one, or it is not READY;
            names it, its state and the way out.
    """
    record = find_engine(name or os.environ.get(DEFAULT_ENGINE) or _only_engine())
    engine = OpenEngine(
        record=record, folder=EngineStore().folder(record.name), backend=backend_of(record.backend)
    )
    if must_run and (status := engine.status()).state is not EngineState.READY:
        raise ConnectionError(status.not_ready(record.name))
    return engine


def _only_engine() -> str:
    known = [record.name for record in EngineStore().all()]
    if len(known) == 1:
        return known[0]
    if not known:
        raise ConnectionError(
            f"There is no engine yet in {home()} (RLE_HOME says where to look). {_MAKE_ONE}"
        )
    raise ConnectionError(
        f"There are {len(known)} engines: {', '.join(map(repr, known))}. Name the one to use, or "
        f"set {DEFAULT_ENGINE}."
    )
