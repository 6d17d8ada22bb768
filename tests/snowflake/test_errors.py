"""What Snowflake refuses, in words, as the server says it for real."""

from __future__ import annotations

import json
import pickle
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from rle.connectors.snowflake import driver
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.errors import explain
from rle.connectors.snowflake.session import close_sessions
from rle.errors import (
    ConnectionError,
    NotSeenError,
    PermissionError,
    UnknownNameError,
    ValidationError,
)
from tests.snowflake.sign_in import ask, by_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.testing.fake_snowflake import FakeSnowflake

CANARY = "canary-wrong-7f3a"
ROWS = pa.table({"ID": [1, 2]})


@pytest.fixture
def server(snowflake_server: FakeSnowflake) -> Iterator[FakeSnowflake]:
    close_sessions()
    yield snowflake_server
    close_sessions()


def test_a_wrong_password_is_tried_once(server: FakeSnowflake) -> None:
    with pytest.raises(ConnectionError, match="refuses the user name or the password") as caught:
        ask(by_password(server, password=CANARY))
    assert CANARY not in repr(caught.value)
    assert "ANNA" in str(caught.value)


def test_a_locked_user(server: FakeSnowflake) -> None:
    server.add_user("LOCKED", password=server.password, is_locked=True, roles=["TRAINER"])
    with pytest.raises(ConnectionError, match=r"has locked the user.*ALTER USER LOCKED SET"):
        ask(by_password(server, user="LOCKED"))


def test_a_disabled_user_is_not_told_to_wait(server: FakeSnowflake) -> None:
    server.add_user("BARRED", password=server.password, is_disabled=True, roles=["TRAINER"])
    with pytest.raises(ConnectionError, match=r"ALTER USER BARRED SET DISABLED = FALSE;") as caught:
        ask(by_password(server, user="BARRED"))
    assert "15 minutes" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (500, "server failed inside"),
        (404, "does not answer under this account's name"),
        (403, "does not answer under this account's name"),
    ],
)
def test_what_stops_a_sign_in_is_told_by_the_status(
    server: FakeSnowflake, status: int, means: str
) -> None:
    server.fault("/session/v1/login-request", "http", status=status, times=1000)
    with pytest.raises(ConnectionError, match=means) as caught:
        ask(by_password(server))
    assert ("account's name" in str(caught.value)) == (status in (403, 404))


def test_as_many_sessions_as_are_allowed(server: FakeSnowflake) -> None:
    server.settings(max_sessions=0)
    with pytest.raises(ConnectionError, match="as many sessions or queries of this user"):
        ask(by_password(server))


def test_a_gateway_that_fails_for_a_moment_is_asked_again(server: FakeSnowflake) -> None:
    connector = by_password(server)
    ask(connector)
    # More often than generation 5 itself asks; generation 4 asks for as long as it may.
    server.fault("/queries", "http", status=503, times=2 if driver.generation() < 5 else 5)
    assert ask(connector, "SELECT 5 AS a") == 5


@pytest.mark.parametrize(
    ("role", "shown"),
    [("NOSUCH", "NOSUCH"), ("nosuch", "NOSUCH"), ('"no such"', '"no such"'), ("no;", '"no;"')],
)
def test_an_unknown_role(server: FakeSnowflake, role: str, shown: str) -> None:
    with pytest.raises(PermissionError, match=f"GRANT ROLE {shown} TO USER ANNA;"):
        ask(by_password(server, role=role))


def test_an_unknown_warehouse(server: FakeSnowflake) -> None:
    with pytest.raises(ConnectionError, match=r"ON WAREHOUSE NOSUCH TO ROLE TRAINER;"):
        by_password(server, warehouse="NOSUCH").check_access()


def test_a_suspended_warehouse_is_resumed(server: FakeSnowflake) -> None:
    server.put("ORDERS", ROWS)
    server.add_warehouse("SLEEPY", is_suspended=True, resumes=True)
    connector = by_password(server, warehouse="SLEEPY")
    assert ask(connector, "SELECT COUNT(*) AS n FROM SHOP.PUBLIC.ORDERS") == 2


def test_a_warehouse_that_does_not_resume_by_itself_is_resumed(server: FakeSnowflake) -> None:
    server.put("ORDERS", ROWS)
    server.add_warehouse("DOZING", is_suspended=True, resumes=False)
    connector = by_password(server, warehouse="dozing")
    assert ask(connector, "SELECT COUNT(*) AS n FROM SHOP.PUBLIC.ORDERS") == 2
    server.add_warehouse("DOZING", is_suspended=True, resumes=False)
    server.revoke("OPERATE", "WAREHOUSE", "DOZING")
    with pytest.raises(ConnectionError, match=r"may not resume it.*OPERATE ON WAREHOUSE DOZING"):
        ask(connector, "SELECT COUNT(*) AS n FROM SHOP.PUBLIC.ORDERS")


def test_the_users_own_warehouse_is_resumed(server: FakeSnowflake) -> None:
    server.put("ORDERS", ROWS)
    server.add_warehouse("NAPPING", is_suspended=True, resumes=False)
    roles = ["TRAINER"]
    server.add_user("NAPPER", password=server.password, roles=roles, warehouse="NAPPING")
    connector = by_password(server, user="NAPPER", warehouse=None)
    assert ask(connector, "SELECT COUNT(*) AS n FROM SHOP.PUBLIC.ORDERS") == 2


def test_a_warehouse_without_credits(server: FakeSnowflake) -> None:
    server.put("ORDERS", ROWS)
    server.add_warehouse("POOR", is_suspended=True, resumes=True, quota_is_used=True)
    with pytest.raises(ConnectionError, match="credits are used up"):
        ask(by_password(server, warehouse="POOR"), "SELECT COUNT(*) AS n FROM SHOP.PUBLIC.ORDERS")


def test_an_address_where_nobody_answers_is_named(server: FakeSnowflake) -> None:
    connector = by_password(server, port=1, login_timeout_s=2)
    with pytest.raises(ConnectionError, match=r"address called is http://127\.0\.0\.1:1\."):
        connector.check_access()


def test_a_missing_grant_names_the_statement(server: FakeSnowflake) -> None:
    server.put("ORDERS", ROWS)
    connector = by_password(server)
    connector.probe("SHOP.PUBLIC.ORDERS")
    server.revoke("SELECT", "TABLE", "SHOP.PUBLIC.ORDERS")
    with pytest.raises(PermissionError) as caught:
        connector.probe("shop.public.orders")
    assert "GRANT SELECT ON TABLE SHOP.PUBLIC.ORDERS TO ROLE TRAINER;" in str(caught.value)


def test_one_closed_table_of_ten_is_named(server: FakeSnowflake) -> None:
    names = [f"SHOP.PUBLIC.T{i}" for i in range(10)]
    for name in names:
        server.put(name.rpartition(".")[2], ROWS)
    server.revoke("SELECT", "TABLE", "SHOP.PUBLIC.T7")
    connector = by_password(server)
    with pytest.raises(PermissionError, match=r"SHOP\.PUBLIC\.T7.*GRANT SELECT ON TABLE"):
        connector.probe_tables([*names, *names])
    server.reset()
    assert connector.probe_tables([*names, *names]) == names


def test_what_is_not_seen_may_be_gone_or_closed(server: FakeSnowflake) -> None:
    connector = by_password(server)
    with pytest.raises(NotSeenError) as caught:
        connector.probe("SHOP.PUBLIC.NOSUCH")
    assert isinstance(caught.value, UnknownNameError)
    assert isinstance(caught.value, PermissionError)
    assert "GRANT SELECT ON TABLE SHOP.PUBLIC.NOSUCH TO ROLE TRAINER;" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not connector.exists("SHOP.PUBLIC.NOSUCH")


def test_a_server_that_fails_once_is_asked_again(server: FakeSnowflake) -> None:
    connector = by_password(server)
    ask(connector)
    for kind in ("http", "cut", "drop"):
        server.fault("/queries", kind, times=1)
        assert ask(connector, "SELECT 5 AS a") == 5


def test_a_server_that_fails_for_ever_is_given_up(server: FakeSnowflake) -> None:
    connector = by_password(server, network_timeout_s=4)
    ask(connector)
    server.fault("/queries", "http", times=10_000)
    begun = time.monotonic()
    with pytest.raises(ConnectionError, match="failed inside, again and again"):
        ask(connector)
    # Against minutes: what is measured is that it ends, with the setting of four seconds.
    assert time.monotonic() - begun < 40


def test_a_bad_statement_is_refused_at_once(server: FakeSnowflake) -> None:
    with pytest.raises(ValidationError, match=r"Asking failed\. Snowflake says: 001003"):
        ask(by_password(server), "SELEC 1")


@pytest.mark.parametrize(
    "answer",
    [b'{"success": true, "data": null}', b'{"success": true}', b"[1, 2]", b"<html>Log in</html>"],
)
def test_another_kind_of_server_is_told_from_snowflake(answer: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        serving = Thread(target=other.serve_forever)
        serving.start()
        try:
            connector = SnowflakeConnector(
                account="acme",
                user="ANN",
                password=CANARY,
                host="127.0.0.1",
                port=other.server_port,
                protocol="http",
                login_timeout_s=2,
                network_timeout_s=2,
            )
            with pytest.raises(ConnectionError, match=r"Check (host, port|the account)"):
                connector.check_access()
        finally:
            other.shutdown()
            serving.join()


def test_rows_that_are_no_json_are_none_of_snowflakes() -> None:
    class Garbled:
        def fetchall(self) -> object:
            return json.loads("<html>Log in first</html>")

    with pytest.raises(driver.errors()) as caught:
        driver.fetch_all(Garbled())
    assert "none of Snowflake's" in str(explain(caught.value, doing="asking"))
