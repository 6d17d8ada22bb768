"""Sessions with the real driver: settings, renewal, sharing, forks, ends."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rle.connectors.snowflake import driver
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.driver import generation
from rle.connectors.snowflake.session import Session, close_sessions, session
from rle.errors import ConnectionError
from tests.snowflake.cutter import Cutter
from tests.snowflake.sign_in import ask, by_password, place, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.testing.fake_snowflake import FakeSnowflake


@pytest.fixture(autouse=True)
def _closed(snowflake_server: FakeSnowflake) -> Iterator[None]:
    close_sessions()
    yield
    close_sessions()


def num_sessions(server: FakeSnowflake) -> int:
    found: int = server.state()["sessions"]
    return found


# Settings


def test_a_session_says_what_it_is_for(snowflake_server: FakeSnowflake) -> None:
    connector = by_password(snowflake_server, query_tag="nightly")
    assert ask(connector, "SELECT 41 + 1 AS answer") == 42
    query = snowflake_server.queries()[-1]
    assert json.loads(query["tag"])["tag"] == "nightly"
    assert (query["role"], query["warehouse"]) == ("TRAINER", "WH")
    with session(connector) as opened:
        assert opened.current_user == snowflake_server.user
        assert opened.current_role == "TRAINER"
        assert opened.current_warehouse == "WH"


def test_values_are_bound_and_never_read_as_sql(snowflake_server: FakeSnowflake) -> None:
    odd = 'it\'s ? %s \\ ; DROP TABLE x -- "q"'
    with session(by_password(snowflake_server)) as opened:
        rows = opened.rows("SELECT ? AS a, ? AS b, '?' AS c, '%s' AS d", (odd, 7))
    assert rows == [{"a": odd, "b": 7, "c": "?", "d": "%s"}]


def test_a_file_is_put_as_it_is(snowflake_server: FakeSnowflake, tmp_path: Path) -> None:
    file = tmp_path / "it is a.bin"
    file.write_bytes(bytes(range(256)) * 10)
    with session(by_password(snowflake_server), private=True) as opened:
        opened.execute("CREATE TEMPORARY STAGE SHOP.PUBLIC.MINE")
        opened.put(file, "SHOP.PUBLIC.MINE")
        (row,) = opened.rows("LIST @SHOP.PUBLIC.MINE")
    assert int(row["size"]) == file.stat().st_size


def test_a_file_that_does_not_arrive_is_told(
    snowflake_server: FakeSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"status": "ERROR", "message": "403 of https://x/y?X-Amz-Signature=canary-5b"}
    monkeypatch.setattr(Session, "rows", lambda *_: [answer])
    (tmp_path / "a.bin").write_bytes(b"x")
    with (
        session(by_password(snowflake_server), doing="loading") as opened,
        pytest.raises(ConnectionError, match=r"Loading failed\..*a\.bin did not arriv") as told,
    ):
        opened.put(tmp_path / "a.bin", "SHOP.PUBLIC.MINE")
    assert "canary" not in str(told.value)


def test_the_drivers_own_log_and_ours_are_clean(
    snowflake_server: FakeSnowflake, caplog: pytest.LogCaptureFixture
) -> None:
    connector = by_password(snowflake_server)
    assert ask(connector)
    with pytest.raises(ConnectionError):
        ask(by_password(snowflake_server, password="canary-wrong-1"))
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert snowflake_server.password not in caplog.text


# Sharing and renewing


def test_a_process_has_one_session_for_an_account(snowflake_server: FakeSnowflake) -> None:
    before = num_sessions(snowflake_server)
    connector = by_password(snowflake_server)
    twin = SnowflakeConnector.from_json(connector.to_json())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda c: ask(c), [connector, twin] * 6))
    assert set(found) == {snowflake_server.user}
    assert num_sessions(snowflake_server) == before + 1
    ask(connector.replace(read_at=None))
    assert num_sessions(snowflake_server) == before + 1
    ask(connector.replace(role="PUBLIC"))
    assert num_sessions(snowflake_server) == before + 2
    close_sessions()
    assert num_sessions(snowflake_server) == before
    assert ask(connector) == snowflake_server.user


def test_nothing_is_opened_before_it_is_needed(snowflake_server: FakeSnowflake) -> None:
    before = num_sessions(snowflake_server)
    with session(by_password(snowflake_server)):
        assert num_sessions(snowflake_server) == before


@pytest.mark.parametrize("master", [False, True])
def test_an_expired_session_goes_on(snowflake_server: FakeSnowflake, *, master: bool) -> None:
    connector = by_password(snowflake_server)
    with session(connector) as opened:
        opened.execute("SELECT 1")
        snowflake_server.expire(session=True, master=master)
        assert opened.rows("SELECT 2 AS a") == [{"a": 2}]


def test_an_expired_session_is_renewed_once_by_many_threads(
    snowflake_server: FakeSnowflake,
) -> None:
    connector = by_password(snowflake_server)
    ask(connector)
    snowflake_server.expire(session=True, master=True)
    before = num_sessions(snowflake_server)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda _: ask(connector), range(12)))) == 12
    assert num_sessions(snowflake_server) <= before + 1


def test_threads_that_wait_for_a_sign_in_do_not_repeat_a_wrong_password(
    snowflake_server: FakeSnowflake,
) -> None:
    snowflake_server.fault("/session/v1/login-request", "slow", seconds=1)
    with Cutter(snowflake_server.port, path="/nothing", times=0) as proxy:
        connector = by_password(snowflake_server, password="canary-wrong-3", port=proxy.port)
        begun = threading.Barrier(6)

        def refused(_: int) -> str:
            begun.wait()
            with pytest.raises(ConnectionError, match="refuses the user name") as caught:
                ask(connector)
            return str(caught.value)

        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(refused, range(6)))) == 1
        assert proxy.paths.count("/session/v1/login-request") == 1
        with pytest.raises(ConnectionError, match="refuses the user name"):
            ask(connector)  # whoever asks later is not put off with what was
        assert proxy.paths.count("/session/v1/login-request") == 2


def test_the_clearest_of_several_refused_sign_ins_is_told(
    snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["HTTP 503: Service Unavailable", "login timed out after 8s", "login timed out"])

    def connect(*_: object, **__: object) -> None:
        raise driver.errors()[0](next(said))

    monkeypatch.setattr(driver, "connect", connect)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(ConnectionError, match="server failed inside"):
        ask(by_password(snowflake_server))
    assert next(said, None) is None  # it was tried three times


def test_a_private_session_is_never_another_one(snowflake_server: FakeSnowflake) -> None:
    with session(by_password(snowflake_server), private=True) as opened:
        opened.execute("SELECT 1")
        opened._link.close()
        with pytest.raises(ConnectionError, match="ended while it was in use"):
            opened.execute("SELECT 2")


@pytest.mark.parametrize(("sql", "times"), [("SELECT 1", 2), ("COMMIT", 1)])
def test_what_changes_something_is_not_sent_again_for_a_new_session(
    snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch, sql: str, times: int
) -> None:
    sent: list[str] = []
    real = driver.execute

    def execute(connection: Any, statement: str, params: Any) -> Any:
        sent.append(statement)
        if len(sent) == 1:  # meanwhile another thread found that the session had expired
            opened._link.renew(connection)
            raise driver.load().errors.OperationalError(msg="Connection reset by peer")
        return real(connection, statement, params)

    with session(by_password(snowflake_server)) as opened:
        assert opened.connection
        monkeypatch.setattr(driver, "execute", execute)
        with pytest.raises(ConnectionError) if times == 1 else contextlib.nullcontext():
            opened.execute(sql)
    assert sent == [sql] * times


@pytest.mark.parametrize("by", ["variable", "file"])
def test_a_token_that_was_rotated_meanwhile_is_read_again(
    snowflake_server: FakeSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    old, new = "canary-token-old-2", "canary-token-new-2"
    file = tmp_path / "token"

    def put(token: str) -> None:
        file.write_text(token)
        monkeypatch.setenv("SHOP_TOKEN", token)

    put(old)
    snowflake_server.add_user("ROTATED", oauth_tokens={old: True}, roles=["TRAINER"])
    source = {"oauth_token_variable": "SHOP_TOKEN"} if by == "variable" else {}
    source = source or {"oauth_token_path": str(file)}
    where = place(snowflake_server, user="ROTATED")
    connector = SnowflakeConnector(**where, **source, auth_method="oauth")
    with session(connector) as opened:
        opened.execute("SELECT 1")
        snowflake_server.add_user(
            "ROTATED", oauth_tokens={old: False, new: True}, roles=["TRAINER"]
        )
        snowflake_server.expire(session=True, master=True)
        put(new)
        assert opened.rows("SELECT 3 AS a") == [{"a": 3}]


def test_a_token_that_stays_expired_is_said(
    snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "canary-token-old-3")
    snowflake_server.add_user(
        "STALE", oauth_tokens={"canary-token-old-3": False}, roles=["TRAINER"]
    )
    where = place(snowflake_server, user="STALE")
    connector = SnowflakeConnector(**where, oauth_token_variable="SHOP_TOKEN", auth_method="oauth")
    with pytest.raises(ConnectionError, match=r"refuses the token.*Get a new one") as caught:
        ask(connector)
    assert "canary" not in str(caught.value)


def test_a_private_session_is_kept_alive_and_closed(snowflake_server: FakeSnowflake) -> None:
    connector = by_password(snowflake_server)
    before = num_sessions(snowflake_server)
    with session(connector, private=True) as one, session(connector, private=True) as two:
        assert one.connection is not two.connection
        one.execute("SELECT 1")
        two.execute("SELECT 1")
        assert num_sessions(snowflake_server) == before + 2
        if generation() < 5:
            assert one.connection.heartbeat_thread.is_alive()
    assert num_sessions(snowflake_server) == before
    assert not [thread for thread in threading.enumerate() if "HeartBeat" in repr(thread)]


def test_a_private_session_is_closed_after_an_error(snowflake_server: FakeSnowflake) -> None:
    before = num_sessions(snowflake_server)

    def fail() -> None:
        with session(by_password(snowflake_server), private=True) as opened:
            opened.execute("SELECT 1")
            raise KeyError("of the caller")

    with pytest.raises(KeyError):
        fail()
    assert num_sessions(snowflake_server) == before


def test_a_fork_leaves_its_parents_session_alone(snowflake_server: FakeSnowflake) -> None:
    code = f"""
import os, sys
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.session import session
from tests.snowflake.sign_in import ask
connector = SnowflakeConnector.from_json({by_password_in_variable(snowflake_server)!r})
first = ask(connector, "SELECT 1 AS a")
with session(connector) as opened:
    parent = opened.connection
    child = os.fork()
    if child == 0:
        try:
            answer = ask(connector, "SELECT 2 AS a")
        except ConnectionError as error:
            answer = "spawn" if "'spawn'" in str(error) else error
        sys.exit(0 if answer == {2 if generation() < 5 else "spawn"!r} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert opened.connection is parent
    print(opened.rows("SELECT 3 AS a"))
"""
    done = run(code, SHOP_PASSWORD=snowflake_server.password)
    assert done.strip() == "[{'a': 3}]"


def test_sessions_end_with_the_process(snowflake_server: FakeSnowflake) -> None:
    before = num_sessions(snowflake_server)
    code = f"""
import warnings
warnings.simplefilter("error")
from rle.connectors.snowflake.connector import SnowflakeConnector
from tests.snowflake.sign_in import ask
print(ask(SnowflakeConnector.from_json({by_password_in_variable(snowflake_server)!r})))
"""
    done = run(code, SHOP_PASSWORD=snowflake_server.password)
    assert done.strip() == snowflake_server.user
    assert num_sessions(snowflake_server) == before


def by_password_in_variable(server: FakeSnowflake) -> str:
    """The JSON of a connector, for a process where $SHOP_PASSWORD is set."""
    where = place(server)
    return SnowflakeConnector(**where, password_variable="SHOP_PASSWORD").to_json()
