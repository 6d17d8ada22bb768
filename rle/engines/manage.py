"""Makes an engine whole or not at all, waits for it, and tells of it in plain values."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rle.engines.lookup import OpenEngine
from rle.engines.record import EngineState, check_engine_name
from rle.engines.registry import backend_of
from rle.engines.store import EngineStore
from rle.errors import ConnectionError, UnknownNameError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rle.engines.record import EngineRecord, EngineStatus

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def opened(record: EngineRecord) -> OpenEngine:
    """Return the engine of a record, whether it is kept yet or not."""
    folder = EngineStore().folder(record.name)
    return OpenEngine(record=record, folder=folder, backend=backend_of(record.backend))


def find(name: str) -> OpenEngine | None:
    """Return the engine of this name in whatever state; None where there is none."""
    if not _may_be_a_name(name):
        return None
    record = EngineStore().get(name)
    return None if record is None else opened(record)


def get(name: str) -> OpenEngine:
    """Return the engine of this name, in whatever state.

    Raises:
        UnknownNameError: There is none; suggests the nearest.
    """
    engine = find(name)
    if engine is None:
        raise UnknownNameError("engine", str(name), (one.name for one in EngineStore().all()))
    return engine


def create(record: EngineRecord, *, wait: bool, timeout_s: float) -> EngineStatus:
    """Make an engine; one that cannot start leaves nothing behind.

    Args:
        record: The engine.
        wait: Whether to wait until it is READY.
        timeout_s: How long at most, in seconds.

    Raises:
        ValidationError: There is one of this name, or its backend cannot have such an engine.
        DeviceError: The size asks for a GPU that is not there.
        ConnectionError: It did not start in time, or cannot be reached.
    """
    store, engine = EngineStore(), opened(record)
    if store.get(record.name) is None:  # else `store.create` says so, before anything is tried
        engine.backend.check(record)
    store.create(record)
    try:
        engine.backend.create(record, engine.folder)
        if not wait:
            return engine.status()
        status = _waited(engine, timeout_s)
        if status.state is not EngineState.READY:
            raise ConnectionError(_did_not_start(engine.name, status, timeout_s))
        return status
    except BaseException:  # Ctrl-C too
        remove(engine)
        raise


def remove(engine: OpenEngine) -> None:
    """Stop an engine for good and forget it."""
    engine.backend.delete(engine.record, engine.folder)
    EngineStore().delete(engine.name)


def wait_until_ready(engine: OpenEngine, timeout_s: float) -> EngineStatus:
    """Return the status of an engine once it is READY; a terminal shows what is waited for.

    Raises:
        ConnectionError: It is SUSPENDED, or not READY in time; names it, its state and the reason.
    """
    status = _waited(engine, timeout_s)
    if status.state is EngineState.PENDING:
        raise ConnectionError(
            f"Engine {engine.name!r} is still PENDING after {timeout_s:g} s. {status.message}"
        )
    if status.state is not EngineState.READY:
        raise ConnectionError(status.not_ready(engine.name))
    return status


def _waited(engine: OpenEngine, timeout_s: float) -> EngineStatus:
    """Return the status as soon as it is not PENDING, or when the time is up."""
    deadline = time.monotonic() + timeout_s
    pause_s = _SHORTEST_PAUSE_S
    with _shown(engine.name) as show:
        while (status := engine.status()).state is EngineState.PENDING:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            show(status.message)
            time.sleep(min(pause_s, left_s))
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
    return status


def _did_not_start(name: str, status: EngineStatus, timeout_s: float) -> str:
    if status.state is EngineState.PENDING:
        return (
            f"Engine {name!r} was still PENDING after {timeout_s:g} s, so it was removed again. "
            f"{status.message} timeout_s sets how long to wait."
        )
    return f"Engine {name!r} did not start, so it was removed again. {status.message}"


def row(engine: OpenEngine, status: EngineStatus | None = None) -> dict[str, Any]:
    """Return all that users are told of an engine, as plain values by name."""
    status = status or engine.status()
    record = engine.record
    return {
        "name": record.name,
        "id": record.id,
        "size": record.size,
        "state": status.state.value,
        "created_by": record.created_by,
        "created_on": record.created_on,
        "updated_on": record.updated_on,
        "settings": record.settings.model_dump(),
        "backend": record.backend,
        "address": record.address or _address(engine, status),
        "message": status.message,
    }


def _address(engine: OpenEngine, status: EngineStatus) -> str | None:
    if status.state is not EngineState.READY:
        return None
    try:
        return engine.access().address
    except ConnectionError:
        return None  # it stopped since


def _may_be_a_name(name: object) -> bool:
    try:
        check_engine_name(name)
    except ValidationError:
        return False
    return True


@contextmanager
def _shown(name: str) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda message: None
        return
    with console.status(f"Engine {name} starts") as shown:
        yield lambda message: shown.update(f"Engine {name} starts. {escape(message)}")
