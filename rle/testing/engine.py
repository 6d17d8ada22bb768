"""Local engines for tests and benchmarks: started and stopped without a Provider."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rle.engines.local import LocalBackend
from rle.engines.record import EngineRecord, EngineSettings, EngineState, user_name
from rle.engines.store import EngineStore
from rle.errors import ConnectionError

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT_S = 120.0


def start_engine(home: Path, name: str, **settings: Any) -> EngineRecord:
    """Start a local engine whose home is `home` and return when it is READY.

    Args:
        home: Becomes RLE_HOME of all that runs on the engine.
        name: Of the engine.
        settings: Of `EngineSettings`.
    """
    now = datetime.now(UTC)
    record = EngineRecord(
        name=name,
        id=os.urandom(4).hex(),
        backend="local",
        size="HIGHMEM_X64_S",
        settings=EngineSettings(**settings),
        created_by=user_name(),
        created_on=now,
        updated_on=now,
    )
    store = EngineStore(home / "engines")
    LocalBackend().check(record)
    store.create(record)
    LocalBackend().create(record, store.folder(name))
    wait_until_ready(home, record)
    return record


def wait_until_ready(home: Path, record: EngineRecord) -> None:
    """Return when the engine is READY.

    Raises:
        ConnectionError: It stopped, or is not READY in time.
    """
    folder = EngineStore(home / "engines").folder(record.name)
    deadline = time.monotonic() + START_TIMEOUT_S
    while (status := LocalBackend().status(record, folder)).state is not EngineState.READY:
        if status.state is EngineState.SUSPENDED or time.monotonic() > deadline:
            raise ConnectionError(status.not_ready(record.name))
        time.sleep(0.1)


def stop_engine(home: Path, record: EngineRecord) -> None:
    """Delete the engine."""
    store = EngineStore(home / "engines")
    LocalBackend().delete(record, store.folder(record.name))
    store.delete(record.name)
