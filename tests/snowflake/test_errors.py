"""What Snowflake refuses, in words: what the server says for real, and recorded texts."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from rle.connectors.snowflake import SnowflakeConnector
from rle.connectors.snowflake_errors import explain, find, text_of
from rle.connectors.snowflake_failures import FAILURES
from rle.connectors.snowflake_names import TableName
from rle.connectors.snowflake_remedies import Where
from rle.connectors.snowflake_session import close_sessions
from rle.errors import (
    ConnectionError,
    DataError,
    NotSeenError,
    OutputExistsError,
    PermissionError,
    RLEError,
    UnknownNameError,
    ValidationError,
)
from tests.snowflake.sign_in import ask, by_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.testing.fake_snowflake import FakeSnowflake

CANARY = "canary-wrong-7f3a"
ROWS = pa.table({"ID": [1, 2]})
ORDERS = TableName("SHOP", "PUBLIC", "ORDERS")
WHERE = Where(account="acme", user="ANN", role="READER", warehouse="SMALL", table=ORDERS)


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


@pytest.mark.parametrize("status", [502, 503, 504, 599])
def test_a_gateway_that_fails_once_is_asked_again(server: FakeSnowflake, status: int) -> None:
    connector = by_password(server)
    ask(connector)
    # More often than the driver itself asks.
    server.fault("/queries", "http", status=status, times=5)
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
    connector = by_password(server)
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


def said(text: str, **more: Any) -> Any:
    error = RuntimeError(text)
    vars(error).update(SimpleNamespace(**more).__dict__)
    return explain(error, doing="reading SHOP.PUBLIC.ORDERS", where=WHERE)


@pytest.mark.parametrize(
    ("text", "kind", "helps"),
    [
        (
            (
                "000707 (02000): Time travel data is not available for table ORDERS. The requested "
                "time is either beyond the allowed time travel period or before the object "
                "creation time."
            ),
            ValidationError,
            "(ORDERS) Choose a later read_at, or None",
        ),
        (
            (
                "003001 (42501): SQL access control error:\n"
                "Insufficient privileges to operate on schema 'PUBLIC'"
            ),
            PermissionError,
            "GRANT CREATE TABLE ON SCHEMA SHOP.PUBLIC TO ROLE READER;",
        ),
        (
            (
                "003001 (42501): SQL access control error:\n"
                "Insufficient privileges to operate on view 'ORDERS'"
            ),
            PermissionError,
            "GRANT SELECT ON VIEW SHOP.PUBLIC.ORDERS TO ROLE READER;",
        ),
        (
            (
                "003001 (42501): SQL access control error:\n"
                "Insufficient privileges to operate on warehouse 'SMALL'"
            ),
            PermissionError,
            "GRANT USAGE ON WAREHOUSE SMALL TO ROLE READER;",
        ),
        (
            (
                "002003 (02000): SQL compilation error:\n"
                "Database 'SHOP' does not exist or not authorized."
            ),
            NotSeenError,
            "GRANT USAGE ON DATABASE SHOP TO ROLE READER;",
        ),
        (
            (
                "002037 (42601): SQL compilation error:\nFailure during expansion of view 'V': SQL "
                "compilation error:\nObject 'SHOP.PUBLIC.GONE' does not exist or not authorized."
            ),
            DataError,
            "Repair the view",
        ),
        (
            "000606 (57P03): No active warehouse selected in the current session.",
            ConnectionError,
            "OPERATE ON WAREHOUSE SMALL TO ROLE READER;",
        ),
        (
            (
                "090073 (22000): Warehouse 'SMALL' cannot be resumed because resource monitor 'M' "
                "has exceeded its quota."
            ),
            ConnectionError,
            "raise the monitor's quota",
        ),
        (
            (
                "000630 (57014): Statement reached its statement or warehouse timeout of 5 "
                "second(s) and was canceled."
            ),
            ConnectionError,
            "statement_timeout_s",
        ),
        (
            "250001 (08001): Failed to connect to DB: x:443. MFA with TOTP is required.",
            ConnectionError,
            "key_pair",
        ),
        ("002002 (42710): Object 'X' already exists.", OutputExistsError, "another output alias"),
        ("000904 (42000): error line 1\ninvalid identifier 'PRICE'", DataError, "(PRICE)"),
        (
            "250001 (08001): Could not connect to Snowflake backend after 2 attempt(s).Aborting",
            ConnectionError,
            "account identifier",
        ),
        ("390112: Your session has expired.", ConnectionError, "signs in anew"),
    ],
)
def test_recorded_answers(text: str, kind: type[RLEError], helps: str) -> None:
    error = said(text)
    assert type(error) is kind
    assert helps in str(error)
    assert type(pickle.loads(pickle.dumps(error))) is kind


@pytest.mark.parametrize(
    ("kind", "name", "granted"),
    [
        ("table", "orders", 'SELECT ON TABLE SHOP.PUBLIC."orders"'),
        ("table", "SHOP.PUBLIC.OTHER", "SELECT ON TABLE SHOP.PUBLIC.OTHER"),
        ("warehouse", "orders", "USAGE ON WAREHOUSE orders"),
    ],
)
def test_a_grant_names_what_was_asked_for_where_that_is_meant(
    kind: str, name: str, granted: str
) -> None:
    where = replace(WHERE, table=TableName("SHOP", "PUBLIC", "orders"))
    refused = f"003001 (42501): Insufficient privileges to operate on {kind} '{name}'"
    error = explain(RuntimeError(refused), doing="reading", where=where)
    assert f"GRANT {granted} TO ROLE READER;" in str(error)


def test_an_unknown_answer_is_quoted_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", CANARY)
    error = said(f"000001: odd: password={CANARY} https://x/y?X-Amz-Signature=abcdef", sqlstate="X")
    assert "Snowflake says: 000001: odd" in str(error)
    assert CANARY not in str(error)
    assert "abcdef" not in str(error)
    assert isinstance(said("000002: bad number", sqlstate="22018"), DataError)


def test_a_terminal_shows_what_a_server_says_and_obeys_nothing() -> None:
    odd = "\x1b]0;mine\x07red \x1b[31m\r\nerror: all is well\x00\u202e\x9b2J"
    for text in (
        f"000904 (42000): {odd}",
        f"002003 (02000): Object 'SHOP.PUBLIC.{odd}' does not exist or not authorized.",
        f"003001 (42501): Insufficient privileges to operate on schema '\"{odd}\"'",
    ):
        shown = str(said(text))
        assert shown.isprintable(), shown
        assert "\u202e" not in shown


def test_of_an_endless_answer_the_beginning_is_looked_at() -> None:
    said = RuntimeError("000904 (42000): " + "password: 390100 Object 'x' " * 200_000)
    assert len(text_of(said)) < 30_000


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


@pytest.mark.parametrize("number", ["390100", "390112", "290500", "429", "000604", "002003"])
def test_a_number_in_a_row_is_no_code(number: str) -> None:
    for text in (
        f"100038 (22018): 01b2-3c: Numeric value '{number}' is not recognized",
        f"001003 (42000): SQL compilation error:\nsyntax error line {number} at position 1",
        f"IndexError: index {number} is out of bounds for axis 0 with size {number}",
    ):
        assert find(text) is None
        assert f"Snowflake says: {' '.join(text.split())}" in str(said(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("390100 (08001): Failed to connect to DB: x:443. Refused.", "password"),
        ("250001 (08001): None: 390144 (08001): Failed to connect to DB: x:443.", "key"),
        ("250001 (08001): Failed to login: Login error: Refused., code: 390101", "disabled"),
        ("000006: Invalid Snowflake response. end of file before message length reached", "cut"),
        (
            (
                "250001 (08001): Failed to login: Invalid Snowflake response. Snowflake responded "
                "with error status: 404 Not Found, message: Unexpected response, body length 23."
            ),
            "warehouse_unreachable",
        ),
    ],
)
def test_codes_are_found_where_the_drivers_put_them(text: str, name: str) -> None:
    found = find(text)
    assert found is not None
    assert found[0].name == name


def test_ours_come_back_as_they_are() -> None:
    ours = DataError("as it was")
    assert explain(ours, doing="x") is ours


def test_every_row_of_the_table_gives_advice() -> None:
    for failure in FAILURES:
        assert failure.means.endswith(".")
        assert isinstance(failure.advice, str) or callable(failure.advice)
    assert find("all is well") is None
