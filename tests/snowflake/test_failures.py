"""What Snowflake's answers mean, by texts that were recorded."""

from __future__ import annotations

import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rle.connectors.snowflake.errors import explain, find, text_of
from rle.connectors.snowflake.failures import FAILURES
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.remedies import Where
from rle.errors import (
    ConnectionError,
    DataError,
    NotSeenError,
    OutputExistsError,
    PermissionError,
    RLEError,
    ValidationError,
)

CANARY = "canary-wrong-7f3a"
ORDERS = TableName("SHOP", "PUBLIC", "ORDERS")
WHERE = Where(account="acme", user="ANN", role="READER", warehouse="SMALL", table=ORDERS)


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


@pytest.mark.parametrize(
    "text",
    [
        "290502: HTTP 502: Bad Gateway",
        "580599: 290599: HTTP n/a",
        (
            "000004: HTTP request failed after retries: query request. max attempts (4) reached; "
            "last status 504 Gateway Timeout (request_id=21d44538-0f77-4711-a51a-45a4fa3c916a)"
        ),
        (
            "250001 (08001): Failed to login: HTTP request failed after retries: login request. "
            "max attempts (4) reached; last status 503 Service Unavailable"
        ),
    ],
)
def test_every_failure_of_a_server_may_pass(text: str) -> None:
    found = find(text)
    assert found is not None
    assert found[0].name == "server_error"
    assert found[0].is_passing
