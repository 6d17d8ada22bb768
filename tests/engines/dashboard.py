"""A server that speaks the few words of Ray's dashboard that we use, and fails when told to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from rle.engines.base import EngineAccess

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "canary-token-0123456789"
HEAD, WORKER = "ab" * 28, "cd" * 28


@dataclass(frozen=True)
class Answer:
    """What is answered instead; after the request was done, where `is_done`."""

    status: int = 500
    text: str = ""
    kind: str = "text/plain"
    delay_s: float = 0.0
    is_cut: bool = False
    """The connection is closed without an answer."""
    is_done: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class Dashboard:
    """Ray's dashboard over a folder of logs. `with Dashboard(folder) as dashboard:`."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.jobs: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.faults: dict[str, list[Answer]] = {}
        """By "METHOD path"; each is used once."""
        self.asked: list[str] = []
        self.sent_on: list[str | None] = []
        """Authorization of each request."""
        self.cut_streams_after: int | None = None
        self.hold_streams_after: int | None = None
        self.head = HEAD
        self.is_over = threading.Event()
        self._sockets: list[socket.socket] = []
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._server.dashboard = self
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def access(self) -> EngineAccess:
        return EngineAccess(name="far", address=self.address, token=SecretStr(TOKEN))

    def with_tls(self, certificate: Path, key: Path) -> str:
        """Speak TLS from now on; return the address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.tls = context
        return self.address.replace("http", "https")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it as a crash would: every connection is gone. Twice is fine."""
        if self.is_over.is_set():
            return
        self.is_over.set()
        self._server.shutdown()
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._server.server_close()
        self._thread.join()

    def fail(self, where: str, *answers: Answer) -> None:
        self.faults.setdefault(where, []).extend(answers)

    def release_streams(self) -> None:
        self.hold_streams_after = None

    def add_job(self, name: str, status: str = "RUNNING", **more: Any) -> dict[str, Any]:
        given = {
            "type": "SUBMISSION",
            "submission_id": name,
            "job_id": None,
            "status": status,
            "message": "",
            "start_time": int(time.time() * 1000),
            "end_time": None,
            "metadata": {"rle_job": "1"},
            "driver_exit_code": None,
        }
        self.jobs[name] = given | more
        return self.jobs[name]

    def keep(self, one: socket.socket) -> None:
        self._sockets.append(one)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    dashboard: Dashboard
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        self.dashboard.keep(request)
        return request, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


def _handler_of(dashboard: Dashboard) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        board = dashboard

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    board: Dashboard

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.board.asked.append(f"{method} {self.path}")
        self.board.sent_on.append(self.headers.get("Authorization"))
        faults = self.board.faults.get(f"{method} {path}")
        if faults:
            fault = faults.pop(0)
            if fault.is_done:
                self._do(method, path, query, body, is_silent=True)
            self.board.is_over.wait(fault.delay_s)
            if fault.is_cut:
                self.close_connection = True
                return
            self._say(fault.status, fault.text, fault.kind, fault.headers)
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            has_one = "Authorization" in self.headers
            self._say(403 if has_one else 401, "Forbidden: Invalid authentication token")
            return
        self._do(method, path, query, body)

    def _do(
        self, method: str, path: str, query: dict[str, str], body: bytes, *, is_silent: bool = False
    ) -> None:
        status, text, kind = 404, "404: Not Found", "text/plain"
        if path == "/api/version":
            status, text = 200, json.dumps({"ray_version": "2.60.0", "session_name": "s1"})
        elif path == "/api/v0/nodes":
            status, text = 200, json.dumps({"data": {"result": {"result": self._nodes()}}})
        elif path.startswith("/api/packages/gcs/"):
            status, text = self._package(method, path.rpartition("/")[2], body)
        elif path.startswith("/api/jobs/"):
            status, text = self._job(method, path.removeprefix("/api/jobs/"), body)
        elif path == "/api/v0/logs/stream":
            self._stream(query)
            return
        elif path.startswith("/api/v0/logs"):
            status, text = self._logs(path, query)
        if not is_silent:
            self._say(status, text, kind)

    def _nodes(self) -> list[dict[str, Any]]:
        node = {"state": "ALIVE", "node_ip": "10.0.0.1", "resources_total": {"CPU": 2.0}}
        return [
            node | {"node_id": WORKER, "is_head_node": False, "node_ip": "10.0.0.2"},
            node | {"node_id": "ef" * 28, "is_head_node": False, "state": "DEAD"},
            node | {"node_id": self.board.head, "is_head_node": True},
        ]

    def _package(self, method: str, name: str, body: bytes) -> tuple[int, str]:
        if method == "PUT":
            self.board.packages[name] = body
            return 200, ""
        return (200, "") if name in self.board.packages else (404, f"Package {name} does not exist")

    def _job(self, method: str, rest: str, body: bytes) -> tuple[int, str]:
        jobs = self.board.jobs
        if method == "POST" and not rest:
            asked = json.loads(body)
            job_id = asked["submission_id"]
            if job_id in jobs:
                trace = "Traceback (most recent call last):\n  File x\nRuntimeError: "
                return 500, f"{trace}Job with submission_id {job_id} already exists."
            self.board.add_job(job_id, "PENDING", metadata=asked["metadata"], asked=asked)
            return 200, json.dumps({"submission_id": job_id, "job_id": job_id})
        if not rest:
            return 200, json.dumps(list(jobs.values()))
        job_id, _, action = rest.partition("/")
        if job_id not in jobs:
            return 404, f"Job {job_id} does not exist"
        if action == "stop":
            was_live = jobs[job_id]["status"] in ("PENDING", "RUNNING")
            if was_live:
                jobs[job_id]["status"] = "STOPPED"
            return 200, json.dumps({"stopped": was_live})
        return 200, json.dumps(jobs[job_id])

    def _logs(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        if query.get("node_id") not in (self.board.head, WORKER):
            return 500, f"Agent for node id: {query.get('node_id')} doesn't exist."
        if path == "/api/v0/logs":
            folder = self.board.logs / query["node_id"]
            names = sorted(p.name for p in folder.glob(query["glob"]))
            return 200, json.dumps({"data": {"result": {"worker_out": names}}})
        file = self._file(query)
        if not file.is_file():
            return 500, f"A file is not found at: {file}"
        lines, count = file.read_bytes().splitlines(keepends=True), int(query["lines"])
        return 200, b"".join(lines if count == -1 else lines[-count:]).decode()

    def _file(self, query: dict[str, str]) -> Path:
        if query["node_id"] == self.board.head:
            return self.board.logs / query["filename"]
        return self.board.logs / query["node_id"] / query["filename"]

    def _stream(self, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        with self._file(query).open("rb") as file:
            while not self.board.is_over.is_set():
                limit = self.board.cut_streams_after
                if limit is not None and sent >= limit:
                    self.board.cut_streams_after = None
                    self.close_connection = True
                    return
                held = self.board.hold_streams_after
                limit = limit if held is None else held
                block = file.read(65536 if limit is None else min(65536, limit - sent))
                if not block:
                    # Where the client is gone, nothing is left to do.
                    if self._is_gone():
                        return
                    time.sleep(0.02)
                    continue
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
                sent += len(block)
        self.close_connection = True

    def _is_gone(self) -> bool:
        if isinstance(self.connection, ssl.SSLSocket):
            return False  # it cannot be peeked at; writing or the end of the test will tell
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.setblocking(True)

    def _say(
        self,
        status: int,
        text: str,
        kind: str = "text/plain",
        headers: dict[str, str] | None = None,
    ) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
