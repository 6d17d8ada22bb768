"""An HTTP answer without end, read so that its reader can look up when nothing comes."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from http.client import HTTPException
from socket import SHUT_RDWR
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import requests

_BLOCK = 65536
_WAITING = 64
"""Blocks that may wait for a slow reader; then the sender waits."""


def blocks(
    response: requests.Response, *, idle_s: float, cut: Callable[[object], Exception]
) -> Generator[bytes]:
    """Yield what comes, as it comes, and b"" whenever nothing came for `idle_s`.

    A thread reads, because a read that timed out cannot be taken up again. It has ended, and the
    answer is closed, once the iterator is.

    Raises:
        Exception: What `cut` makes of the reason, when the answer ends.
    """
    arrived: queue.Queue[bytes | Exception] = queue.Queue(_WAITING)
    is_over = threading.Event()
    reader = threading.Thread(
        target=_read, args=(response, arrived, is_over), name="rle-follow", daemon=True
    )
    connection = response.raw.connection
    socket = None if connection is None else connection.sock
    if socket is not None:
        socket.settimeout(None)  # from now on silence is no fault
    reader.start()
    try:
        while True:
            try:
                block = arrived.get(timeout=idle_s)
            except queue.Empty:
                yield b""
                continue
            if isinstance(block, Exception):
                raise cut(block)
            yield block
    finally:
        is_over.set()
        if socket is not None:
            with suppress(OSError):  # it may have ended by itself
                socket.shutdown(SHUT_RDWR)
        reader.join()
        response.close()


def _read(
    response: requests.Response,
    arrived: queue.Queue[bytes | Exception],
    is_over: threading.Event,
) -> None:
    from urllib3.exceptions import HTTPError

    last: Exception = EOFError("the stream ended")
    try:
        # Chunk by chunk as the server sent them: nothing waits until a block is full.
        for block in response.raw.stream(_BLOCK, decode_content=True):
            if not _put(arrived, block, is_over):
                return
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        last = error
    _put(arrived, last, is_over)


def _put(
    arrived: queue.Queue[bytes | Exception], block: bytes | Exception, is_over: threading.Event
) -> bool:
    while not is_over.is_set():
        try:
            arrived.put(block, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
