"""Clusters at an address: what is wrong is said at once, and the token goes nowhere else."""

from __future__ import annotations

import json
import socket
import threading
import tomllib
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from rle.engines import address as module
from rle.engines.address import AddressBackend, checked_address, find_token, is_in_the_clear
from rle.engines.record import EngineRecord, EngineSettings, EngineState, TokenSource
from rle.errors import ConnectionError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "canary-token-4b1d"
BACKEND = AddressBackend()

Answer = tuple[int, dict[str, str], bytes]


class Dashboard:
    """A web server that answers every GET as it is told, and keeps what it was sent."""

    def __init__(self, answer: Callable[[Dashboard, str | None], Answer]) -> None:
        self.seen: list[tuple[str, str | None]] = []
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.headers.get("Authorization")
                dashboard.seen.append((self.path, sent))
                status, headers, body = answer(dashboard, sent)
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(answer: Callable[[Dashboard, str | None], Answer]) -> Iterator[Dashboard]:
    dashboard = Dashboard(answer)
    try:
        yield dashboard
    finally:
        dashboard.close()


def ray(version: str = "2.60.0", token: str | None = TOKEN) -> Any:
    """Answer as Ray does, with token authentication unless `token` is None."""

    def answer(dashboard: Dashboard, sent: str | None) -> Answer:
        if token is not None and sent != f"Bearer {token}":
            return (401 if sent is None else 403), {}, b"Unauthorized"
        body = json.dumps({"version": "4", "ray_version": version}).encode()
        return 200, {"Content-Type": "application/json"}, body

    return answer


def always(status: int, body: bytes = b"", **headers: str) -> Any:
    return lambda dashboard, sent: (status, headers, body)


def record(address: str | None, **settings: Any) -> EngineRecord:
    now = datetime.now(UTC)
    return EngineRecord(
        name="prod",
        id="0a1b2c3d",
        backend="address",
        size="HIGHMEM_X64_S",
        settings=EngineSettings(**settings),
        address=address,
        token=TokenSource(variable="PROD_TOKEN"),
        created_by="ann",
        created_on=now,
        updated_on=now,
    )


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROD_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)


def refused(address: str, match: str) -> str:
    """What is said, with all that hangs on it, of a cluster that must not be taken."""
    with pytest.raises(ConnectionError, match=match) as caught:
        BACKEND.check(record(address))
    said = "\n".join(traceback.format_exception(caught.value))
    assert TOKEN not in said
    assert "prod" in str(caught.value)
    assert address.partition("://")[2] in str(caught.value)
    return said


def test_a_cluster_that_answers_is_ready(tmp_path: Path) -> None:
    with serving(ray()) as dashboard:
        prod = record(dashboard.url + "/")
        BACKEND.check(prod)
        BACKEND.create(prod, tmp_path)
        assert BACKEND.status(prod, tmp_path).state is EngineState.READY
        access = BACKEND.access(prod, tmp_path)
    assert access.address == dashboard.url
    assert access.token is not None
    assert access.token.get_secret_value() == TOKEN
    assert TOKEN not in repr(access)
    assert dashboard.seen[0] == ("/api/version", f"Bearer {TOKEN}")
    assert BACKEND.jobs_folder(prod, tmp_path) is None


def test_a_wrong_token_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ray(token="another")) as dashboard:
        match = r"refused the token \(HTTP 403\)\. It is the one in the variable PROD_TOKEN;"
        refused(dashboard.url, match)
        monkeypatch.setenv("PROD_TOKEN", "")
        with pytest.raises(ConnectionError, match="the variable PROD_TOKEN, which holds none"):
            BACKEND.check(record(dashboard.url))


def test_a_missing_token_is_told() -> None:
    with serving(ray()) as dashboard:
        prod = record(dashboard.url).replace(token=TokenSource())
        with pytest.raises(ConnectionError, match=r"asks for a token .* Name its place"):
            BACKEND.check(prod)


def test_a_cluster_without_authentication_needs_no_token(tmp_path: Path) -> None:
    with serving(ray(token=None)) as dashboard:
        prod = record(dashboard.url).replace(token=TokenSource())
        BACKEND.check(prod)
        assert BACKEND.access(prod, tmp_path).token is None
        assert dashboard.seen[0][1] is None


def test_an_old_ray_is_told() -> None:
    with serving(ray("2.49.2")) as dashboard:
        refused(dashboard.url, r"runs Ray 2\.49\.2; jobs need 2\.50 or newer")
    with serving(ray("unknown")) as dashboard:
        refused(dashboard.url, "runs Ray unknown; jobs need")


def test_the_oldest_ray_is_the_one_that_the_package_asks_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = next(Requirement(line) for line in project["dependencies"] if line.startswith("ray["))
    assert str(wanted.specifier) == ">=" + ".".join(map(str, module.OLDEST_RAY))


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (always(200, b"<html>Welcome</html>", **{"Content-Type": "text/html"}), "text/html"),
        (always(200, b"[1, 2]"), "Is it the URL of a Ray dashboard"),
        (always(200, b'{"version": "4"}'), "Is it the URL of a Ray dashboard"),
        (always(404, b"not here"), "Is it the URL of a Ray dashboard"),
        (always(500, b"broken"), "HTTP 500"),
        (always(502, b"<html>Bad gateway</html>"), "HTTP 502"),
    ],
)
def test_what_is_no_ray_dashboard_is_told(answer: Any, match: str) -> None:
    with serving(answer) as dashboard:
        refused(dashboard.url, match)


def test_a_redirect_gets_no_token() -> None:
    with serving(ray()) as elsewhere:
        with serving(always(302, Location=f"{elsewhere.url}/api/version")) as dashboard:
            refused(dashboard.url, f"redirects to {elsewhere.url}")
        assert elsewhere.seen == []


def test_a_socket_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused(f"http://127.0.0.1:{listener.getsockname()[1]}", r"no answer within 0\.2 s")


def test_a_server_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    is_over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not is_over.wait(0.05):  # each byte well within the limit
                connection.send(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,))
        server.start()
        try:
            refused(f"http://127.0.0.1:{listener.getsockname()[1]}", r"no answer within 0\.3 s")
        finally:
            is_over.set()
            server.join()


def test_an_address_where_nothing_listens_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    prod = record(f"http://127.0.0.1:{port}")
    assert prod.address is not None
    refused(prod.address, "refused the connection")
    status = BACKEND.status(prod, tmp_path)
    assert status.state is EngineState.PENDING
    assert f"127.0.0.1:{port}" in status.message
    with pytest.raises(ConnectionError, match="refused the connection"):
        BACKEND.resume(prod, tmp_path)


def test_an_engine_set_aside_is_suspended_and_the_cluster_asked_nothing(tmp_path: Path) -> None:
    with serving(ray()) as dashboard:
        prod = record(dashboard.url)
        BACKEND.suspend(prod, tmp_path)
        BACKEND.suspend(prod, tmp_path)
        status = BACKEND.status(prod, tmp_path)
        assert status.state is EngineState.SUSPENDED
        assert "the cluster itself is not touched" in status.message
        with pytest.raises(ConnectionError, match="'prod' is SUSPENDED"):
            BACKEND.access(prod, tmp_path)
        assert dashboard.seen == []
        BACKEND.resume(prod, tmp_path)
        assert BACKEND.status(prod, tmp_path).state is EngineState.READY
        before = len(dashboard.seen)
        BACKEND.delete(prod, tmp_path)
        assert len(dashboard.seen) == before


def test_a_cluster_that_is_gone_stays_set_aside(tmp_path: Path) -> None:
    with serving(ray()) as dashboard:
        prod = record(dashboard.url)
    BACKEND.suspend(prod, tmp_path)
    with pytest.raises(ConnectionError, match="prod"):
        BACKEND.resume(prod, tmp_path)
    assert BACKEND.status(prod, tmp_path).state is EngineState.SUSPENDED


def test_status_is_never_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROD_TOKEN")
    status = BACKEND.status(record("http://127.0.0.1:1"), tmp_path)
    assert status.state is EngineState.PENDING
    assert "PROD_TOKEN" in status.message


@pytest.mark.parametrize(
    ("address", "match"),
    [
        (None, "needs address"),
        ("", "needs address"),
        ("127.0.0.1:8265", "lacks its beginning: http:// or https://"),
        ("ray://head:10001", "is for Ray's client"),
        ("ftp://head:8265", "is no URL of a dashboard"),
        ("http://", "is no URL of a dashboard"),
        ("http://:8265", "is no URL of a dashboard"),
        ("http://head:0", "is no URL of a dashboard"),
        ("http://head:99999", "is no URL"),
        ("http://head:port", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://head:8265/a/../b", "path that is not plain"),
        ("http://head:8265//b", "path that is not plain"),
        ("http://head:8265/%2e%2e/b", "path that is not plain"),
        ("http://head:8265/?next=1", "no . and no # belongs"),
        ("http://head:8265/#jobs", "no . and no # belongs"),
        ("http://head:8265\\@evil", "a blank or a control"),
        ("http://head :8265", "a blank or a control"),
        ("http://head:8265\n", "a blank or a control"),
        ("http://head\r\nX: y", "a blank or a control"),
    ],
)
def test_what_is_no_address_is_told(address: str | None, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        BACKEND.check(record(address))


@pytest.mark.parametrize("address", ["http://ann:hunter2@head:8265", "ann:hunter2@head:8265"])
def test_a_password_in_the_address_is_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError, match="may hold no user and no password") as caught:
        BACKEND.check(record(address))
    assert "hunter2" not in "\n".join(traceback.format_exception(caught.value))


def test_a_token_in_the_query_is_not_repeated() -> None:
    with pytest.raises(ValidationError, match="belongs to it") as caught:
        checked_address("http://head:8265/ray?token=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://head",
        "HTTPS://head.example:8265/",
        "https://gate.example/ray-1/blue_2",
        "http://[::1]:8265",
    ],
)
def test_addresses_may_have_a_port_and_a_plain_path(address: str) -> None:
    assert checked_address(address).hostname


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8265", False),
        ("http://127.9.9.9", False),
        ("http://localhost:8265", False),
        ("http://[::1]:8265", False),
        ("https://head:8265", False),
        ("http://head:8265", True),
        ("http://10.0.0.7:8265", True),
        ("http://127.0.0.1.example:8265", True),
    ],
)
def test_plain_http_is_in_the_clear_unless_it_stays_here(address: str, expected: bool) -> None:
    assert is_in_the_clear(checked_address(address)) == expected


def test_a_token_in_the_clear_is_warned_of_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with serving(ray()) as dashboard:
        with pytest.warns(UserWarning, match=r"travels unencrypted to .*ssh -L") as caught:
            BACKEND.check(record(dashboard.url))
        assert [TOKEN in str(one.message) for one in caught] == [False]
        with pytest.raises(UserWarning, match="unencrypted"):
            BACKEND.check(record(dashboard.url))
        assert len(dashboard.seen) == 1


def test_settings_of_a_machine_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"num_workers, num_cpus cannot be set from here"):
        BACKEND.check(record("http://127.0.0.1:1", num_workers=2, num_cpus=4))
    with serving(ray()) as dashboard:
        BACKEND.check(record(dashboard.url, auto_suspend_mins=15))  # the default


def test_a_token_is_found_where_ray_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_token(TokenSource()) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("usual\n")
    (tmp_path / "other").write_text("from-path\n")
    assert found(TokenSource()) == "usual"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert found(TokenSource()) == "from-path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-variable")
    assert found(TokenSource()) == "from-variable"
    assert found(TokenSource(path=str(tmp_path / "other"))) == "from-path"
    assert found(TokenSource(variable="PROD_TOKEN")) == TOKEN


def found(source: TokenSource) -> str:
    token = find_token(source)
    assert token is not None
    return token.get_secret_value()
