"""Processes that read now and then: what they hold open is closed when they have had a rest.

Ray ends the processes of a job at once, so none of them can close anything at its own end.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.connectors.base import Connector

IDLE_S = 2.0
"""Seconds without reading after which sessions are closed; the next chunk opens one again."""

_lock = threading.Lock()
_waiting: threading.Timer | None = None


@contextmanager
def reading(connector: Connector) -> Iterator[None]:
    """Read in the block; what the connector holds open is closed if no other block follows soon.

    For a process that reads one chunk at a time.
    """
    global _waiting
    with _lock:
        _stop_waiting()
    try:
        yield
    finally:
        with _lock:
            _waiting = threading.Timer(IDLE_S, _close, (connector,))
            _waiting.daemon = True
            _waiting.start()


def _close(connector: Connector) -> None:
    global _waiting
    with _lock:
        if _waiting is threading.current_thread():  # else the next block has just begun
            _waiting = None
            connector.close()


def _stop_waiting() -> None:
    global _waiting
    if _waiting is not None:
        _waiting.cancel()
        _waiting = None
