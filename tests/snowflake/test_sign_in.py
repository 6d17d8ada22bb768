"""Each way to sign in, with the real driver."""

from __future__ import annotations

import json
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from rle.connectors.snowflake import driver
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.session import close_sessions
from rle.errors import ConnectionError, ValidationError
from tests.snowflake.sign_in import PASSPHRASE, ask, by_password, make_key, place, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.testing.fake_snowflake import FakeSnowflake


@pytest.fixture(autouse=True)
def _closed(snowflake_server: FakeSnowflake) -> Iterator[None]:
    close_sessions()
    yield
    close_sessions()


def test_by_password(snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", snowflake_server.password)
    connector = by_password(snowflake_server)
    assert connector.password_variable == "SHOP_PASSWORD"
    assert ask(connector) == snowflake_server.user


@pytest.mark.parametrize("encrypted", [False, True])
def test_by_key_pair(
    snowflake_server: FakeSnowflake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    encrypted: bool,
) -> None:
    file, public = make_key(tmp_path, encrypted=encrypted)
    snowflake_server.add_user("KEYED", public_key=public, roles=["TRAINER"])
    config: dict[str, Any] = {"private_key_path": str(file), "auth_method": "key_pair"}
    if encrypted:
        monkeypatch.setenv("KEY_PHRASE", PASSPHRASE)
        config["private_key_passphrase_variable"] = "KEY_PHRASE"
    connector = SnowflakeConnector(**place(snowflake_server, user="KEYED"), **config)
    assert ask(connector) == "KEYED"


def test_a_key_that_is_not_the_users(snowflake_server: FakeSnowflake, tmp_path: Path) -> None:
    file, _ = make_key(tmp_path, encrypted=False)
    (tmp_path / "other").mkdir()
    _, other = make_key(tmp_path / "other", encrypted=False)
    snowflake_server.add_user("MISKEYED", public_key=other, roles=["TRAINER"])
    config = place(snowflake_server, user="MISKEYED")
    connector = SnowflakeConnector(**config, private_key_path=file, auth_method="key_pair")
    with pytest.raises(ConnectionError, match=r"refuses the signed key.*RSA_PUBLIC_KEY_FP"):
        ask(connector)


@pytest.mark.parametrize("by", ["value", "variable", "file"])
def test_by_token(
    snowflake_server: FakeSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    token = "canary-token-good-1"
    snowflake_server.add_user("OAUTHED", oauth_tokens={token: True}, roles=["TRAINER"])
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("SHOP_TOKEN", token)
    config = {
        "value": {"oauth_token": token},
        "variable": {"oauth_token_variable": "SHOP_TOKEN"},
        "file": {"oauth_token_path": tmp_path / "token"},
    }[by]
    where = place(snowflake_server, user="OAUTHED")
    assert ask(SnowflakeConnector(**where, **config, auth_method="oauth")) == "OAUTHED"


def test_by_profile(
    snowflake_server: FakeSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "connections.toml").write_text(
        f"""
        [work]
        account = "{snowflake_server.account}"
        user = "{snowflake_server.user}"
        password = "{snowflake_server.password}"
        host = "{snowflake_server.host}"
        port = {snowflake_server.port}
        protocol = "http"
        role = "PUBLIC"
        """
    )
    (tmp_path / "connections.toml").chmod(0o600)
    # The driver looks for the file when it is loaded.
    code = """
from rle.connectors.snowflake.connector import SnowflakeConnector
from tests.snowflake.sign_in import ask
profile = SnowflakeConnector(connection_name="work", warehouse="WH")
print(ask(profile), ask(profile, "SELECT CURRENT_ROLE() AS r"))
print(ask(profile.replace(role="TRAINER"), "SELECT CURRENT_ROLE() AS r"))
try:
    ask(profile.replace(connection_name="wrok"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = run(code, SNOWFLAKE_HOME=str(tmp_path))
    lines = done.splitlines()
    assert lines[0] == f"{snowflake_server.user} PUBLIC"
    assert lines[1] == "TRAINER"
    assert "There is no such profile" in lines[2]
    assert "(wrok)" in lines[2]
    assert snowflake_server.password not in done


def test_a_profile_without_its_keys_passphrase_is_told(
    snowflake_server: FakeSnowflake, tmp_path: Path
) -> None:
    file, _ = make_key(tmp_path, encrypted=True)
    (tmp_path / "connections.toml").write_text(
        f"""
        [work]
        account = "{snowflake_server.account}"
        user = "{snowflake_server.user}"
        authenticator = "SNOWFLAKE_JWT"
        private_key_file = "{file}"
        host = "{snowflake_server.host}"
        port = {snowflake_server.port}
        protocol = "http"
        """
    )
    (tmp_path / "connections.toml").chmod(0o600)
    code = """
from rle.connectors.snowflake.connector import SnowflakeConnector
from tests.snowflake.sign_in import ask
try:
    ask(SnowflakeConnector(connection_name="work", warehouse="WH"))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run(code, SNOWFLAKE_HOME=str(tmp_path))
    assert "private key" in said.lower()


def test_by_the_session_of_a_notebook(
    snowflake_server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = SnowflakeConnector(app_name="RLE", auth_method="active_session")
    with pytest.raises(ValidationError, match="snowflake-snowpark-python"):
        ask(connector)
    theirs = driver.connect(by_password(snowflake_server), keep_alive=False)
    told: list[dict[str, Any]] = []

    def cursor() -> Any:
        made = type(theirs).cursor(theirs)
        run = made.execute

        def execute(*args: Any, **options: Any) -> Any:
            told.append(options)
            return run(*args, **options)

        made.execute = execute
        return made

    monkeypatch.setattr(theirs, "cursor", cursor)
    context = types.ModuleType("snowflake.snowpark.context")
    context.get_active_session = lambda: types.SimpleNamespace(  # type: ignore[attr-defined]
        connection=theirs
    )
    monkeypatch.setitem(sys.modules, "snowflake.snowpark", types.ModuleType("snowpark"))
    monkeypatch.setitem(sys.modules, "snowflake.snowpark.context", context)
    assert ask(connector) == snowflake_server.user
    assert json.loads(told[0]["_statement_params"]["QUERY_TAG"])["app"] == "gnn-rle"
    close_sessions()
    assert not theirs.is_closed()
    theirs.close()
