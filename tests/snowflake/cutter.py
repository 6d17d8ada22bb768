"""A TCP proxy that cuts connections amid the answers a test chooses."""

from __future__ import annotations

import re
import select
import socket
import socketserver
import struct
from threading import Event, Lock, Thread
from typing import Self

_REQUEST = re.compile(rb"(?:GET|POST|PUT) (/[^ ?]*)[^ ]* HTTP/")
_RESET = struct.pack("ii", 1, 0)  # lingers no second: the other side reads "connection reset"


class Cutter:
    """Stands before a server on this machine while it is entered.

    Args:
        port: The server's.
        path: Answers to requests whose path ends so are cut.
        times: How many of them, from the first on.
        after: Bytes of an answer, its head among them, that come through.
    """

    def __init__(self, port: int, *, path: str, times: int, after: int = 400) -> None:
        self.paths: list[str] = []
        """Paths of all requests, in order."""
        self._target, self._path, self._times, self._after = port, path, times, after
        self._lock, self._ends = Lock(), Event()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        carry = self._carry

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                carry(self.request)

        return Handler

    def _carry(self, here: socket.socket) -> None:
        """Carry bytes to and fro until one side ends, or the answer is one to be cut."""
        left: int | None = None
        with socket.create_connection(("127.0.0.1", self._target)) as there:
            while not self._ends.is_set():
                for ready in select.select([here, there], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is here:
                        left = self._left(data, left)
                        there.sendall(data)
                    elif left is None:
                        here.sendall(data)
                    else:
                        here.sendall(data[:left])
                        left -= len(data)
                if left is not None and left <= 0:
                    here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return

    def _left(self, data: bytes, left: int | None) -> int | None:
        """Note the requests in what a client sends; return how much of the answer comes through."""
        for found in _REQUEST.finditer(data):
            path = found[1].decode()
            with self._lock:
                self.paths.append(path)
                if path.endswith(self._path) and self._times > 0:
                    self._times -= 1
                    left = self._after
        return left
