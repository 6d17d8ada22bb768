"""The Snowflake connector as a value: what it carries, and that a secret is never among it."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

import rle
from rle.connectors.registry import AnyConnector, connector_class
from rle.connectors.snowflake import secrets
from rle.connectors.snowflake.connector import SnowflakeConnector, SnowflakeConnectorDirectAccess
from rle.connectors.snowflake.driver import query_tag
from rle.connectors.snowflake.settings import SnowflakeSettings
from rle.errors import UnknownNameError, ValidationError
from rle.jobs.no_secrets import check_no_secrets
from rle.values import Value

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-7f3a-secret"
WHO: dict[str, Any] = {"account": "acme", "user": "ann", "warehouse": "SMALL", "app_name": "RLE"}


class Holder(Value):
    connector: AnyConnector


def everything_shown(connector: SnowflakeConnector) -> str:
    shown = [repr(connector), str(connector), connector.to_json(), str(connector.model_dump())]
    return " ".join([*shown, str(vars(connector)), repr(pickle.dumps(connector))])


def test_the_config_of_a_tutorial_makes_a_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", CANARY)
    connector = SnowflakeConnector(**WHO, password=CANARY, auth_method="password")
    assert connector.password_variable == "PASSWORD"
    assert connector.kind == "snowflake"
    assert CANARY not in everything_shown(connector)
    assert connector.credentials().connect_arguments()["password"] == CANARY
    assert connector_class("snowflake") is SnowflakeConnector


@pytest.mark.parametrize(
    "config",
    [
        {"password": CANARY},
        {"password": SecretStr(CANARY)},
        {"oauth_token": CANARY, "auth_method": "OAuth"},
        {"oauth_token_path": "/run/token", "auth_method": "oauth"},
        {"oauth_token_variable": "TOKEN", "auth_method": "oauth", "role": "R"},
        {"private_key_path": "~/key.pem", "auth_method": "key_pair"},
        {
            "private_key_path": "~/key.pem",
            "private_key_passphrase": CANARY,
            "auth_method": "key_pair",
        },
        {"auth_method": "browser", "read_at": None, "query_tag": "nightly"},
        {"auth_method": "active_session", "read_at": "2026-01-31T12:00:00"},
        {"connection_name": "work", "host": "127.0.0.1", "port": 80, "protocol": "http"},
    ],
)  # fmt: skip
def test_it_equals_its_json_and_its_pickle(config: dict[str, Any]) -> None:
    connector = SnowflakeConnector(**WHO, **config)
    back = SnowflakeConnector.from_json(connector.to_json())
    assert back == connector
    assert hash(back) == hash(connector)
    assert pickle.loads(pickle.dumps(connector)) == connector
    assert connector.replace(role="OTHER") != connector
    holder = Holder(connector=connector)
    assert Holder.from_json(holder.to_json()) == holder
    assert CANARY not in everything_shown(connector)
    assert CANARY not in holder.to_json()


def test_provider_takes_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOW_TOKEN", CANARY)
    for config in (
        {**WHO, "password": "typed-in-9", "role": "R", "auth_method": "password"},
        {**WHO, "oauth_token_variable": "SNOW_TOKEN", "auth_method": "oauth", "port": 444},
        {"connection_name": "work"},
    ):
        assert rle.SnowflakeConnector(**config) is not None
        assert CANARY not in repr(rle.Provider(**config))
        assert rle.SnowflakeSettings(**config) == rle.SnowflakeSettings(**config)


def test_a_secret_is_found_in_the_likeliest_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYTHING", CANARY)
    assert SnowflakeConnector(**WHO, password=CANARY).password_variable == "ANYTHING"
    monkeypatch.setenv("ZZ_PASSWORD", CANARY)
    assert SnowflakeConnector(**WHO, password=CANARY).password_variable == "ZZ_PASSWORD"
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", CANARY)
    assert SnowflakeConnector(**WHO, password=CANARY).password_variable == "SNOWFLAKE_PASSWORD"


def test_a_variable_of_the_system_is_not_taken_for_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "weak-as-a-name")
    monkeypatch.setenv("LEVEL", "1")
    for weak in ("weak-as-a-name", "1"):
        name = SnowflakeConnector(**WHO, password=weak).password_variable
        assert secrets.is_kept_here(name)


def test_a_secret_in_no_variable_works_in_this_process_only() -> None:
    connector = SnowflakeConnector(**WHO, password=CANARY)
    assert secrets.is_kept_here(connector.password_variable)
    assert connector == SnowflakeConnector(**WHO, password=CANARY)
    assert connector != SnowflakeConnector(**WHO, password=CANARY + "2")
    assert connector.credentials().connect_arguments()["password"] == CANARY
    code = (
        "from rle.connectors.snowflake.connector import SnowflakeConnector as C\n"
        f"c = C.from_json({connector.to_json()!r})\n"
        "try:\n    c.credentials()\nexcept ValueError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "given as a value in another process" in done.stdout
    assert "password_variable" in done.stdout


def test_a_variable_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = SnowflakeConnector(**WHO, password_variable="WAREHOUSE_PASSWORD")
    with pytest.raises(ValidationError, match="WAREHOUSE_PASSWORD, which is not set"):
        connector.credentials()
    for value in ("first-9-secret", "second-9-secret"):
        monkeypatch.setenv("WAREHOUSE_PASSWORD", value)
        assert connector.credentials().connect_arguments()["password"] == value


def test_a_token_file_is_read_when_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    connector = SnowflakeConnector(**WHO, oauth_token_path=file, auth_method="oauth")
    with pytest.raises(ValidationError, match=r"token' cannot be read: No such file"):
        connector.credentials()
    file.write_text("")
    with pytest.raises(ValidationError, match="empty file"):
        connector.credentials()
    for wrong in (f"id,{CANARY}\n1,a b\n", CANARY * 5000):
        file.write_text(wrong)
        with pytest.raises(ValidationError, match="one token and nothing else") as caught:
            connector.credentials()
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    for value in ("first-9-secret", "second-9-secret"):
        file.write_text(value + "\n")
        assert connector.credentials().connect_arguments()["token"] == value


def test_the_token_file_of_a_container_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setattr(secrets, "TOKEN_FILE", file)
    with pytest.raises(ValidationError, match="oauth_token"):
        SnowflakeConnector(account="acme", auth_method="oauth")
    file.write_text(CANARY)
    monkeypatch.setenv("SNOWFLAKE_HOST", "acme.internal")
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "acme")
    connector = SnowflakeConnector(auth_method="oauth", warehouse="SMALL")
    assert connector.oauth_token_path == str(file)
    assert (connector.account, connector.host) == ("acme", "acme.internal")
    assert CANARY not in everything_shown(connector)
    named = SnowflakeConnector(account="a", oauth_token_variable="T", auth_method="oauth")
    assert named.oauth_token_path is None
    profile = SnowflakeConnector(connection_name="work", auth_method="oauth")
    assert (profile.oauth_token_path, profile.account) == (None, None)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"account": "acme", "user": "ann"}, "password is missing"),
        ({"account": "acme", "user": "ann", "password": ""}, "password is missing"),
        ({"account": "acme", "user": "ann", "password": None}, "reads as None"),
        ({"auth_method": "browser"}, "account and user are missing"),
        ({**WHO, "password": 5}, "password must be text, not int"),
        ({**WHO, "password": CANARY, "password_variable": "P"}, "not both"),
        ({**WHO, "password_variable": CANARY}, "the name of an environment variable"),
        ({**WHO, "password": CANARY, "auth_method": "ldap"}, "must be one of 'password'"),
        ({**WHO, "password": CANARY, "port": 99999}, "port"),
        ({**WHO, "password": CANARY, "protocol": "ftp"}, "protocol"),
        ({**WHO, "password": CANARY, "login_timeout_s": 0}, "login_timeout_s"),
        ({**WHO, "password": CANARY, "read_at": "noon"}, 'must be "start", None or a moment'),
        ({"connection_name": "work", "password": CANARY}, "Leave one of them out"),
        ({"connection_name": ""}, "account and user and password are missing"),
        ({"connection_name": "wo\nrk"}, r"control character in it: 'wo\\nrk'"),
        ({**WHO, "password": CANARY, "user": "a\x1b[31m"}, "user has a control character"),
        ({**WHO, "password": CANARY, "account": "my acme"}, "such as MYORG-MYACCOUNT, not 'my"),
        ({**WHO, "password": CANARY, "account": "elsewhere.example/?"}, "account must be an ident"),
        ({**WHO, "password": CANARY, "account": f"u:{CANARY}@acme"}, "account must be an ident"),
        (
            {**WHO, "password": CANARY, "account": "Acme-1.snowflakecomputing.com"},
            "give the identifier alone: account='acme-1'",
        ),
        (
            {**WHO, "password": CANARY, "account": "https://x1.eu-1.snowflakecomputing.com/app"},
            "give the identifier alone: account='x1.eu-1'",
        ),
        ({**WHO, "password": CANARY, "host": "https://acme"}, "host must be the name of a mach"),
        ({**WHO, "password": CANARY, "host": "acme.example:443"}, "goes into port"),
        ({**WHO, "password": CANARY, "host": f"u:{CANARY}@acme"}, "host must be the name"),
        ({**WHO, "password": CANARY, "login_timeout_s": 10**12}, "login_timeout_s"),
        ({**WHO, "password": CANARY, "network_timeout_s": 10**12}, "network_timeout_s"),
        ({**WHO, "password": CANARY, "statement_timeout_s": 604_801}, "statement_timeout_s"),
        (
            {**WHO, "password": CANARY, "read_at": "9999-12-31T23:59:59-23:00"},
            'must be "start", None or a moment',
        ),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_with_it(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SnowflakeConnector(**config)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_with_colons_goes_in_brackets(host: str) -> None:
    made = SnowflakeConnector(**WHO, password=CANARY, host=host)
    assert made.host == "[::1]"
    assert SnowflakeConnector.from_json(made.to_json()) == made


def test_an_empty_name_is_none() -> None:
    empty = {"role": "", "warehouse": "", "host": "", "connection_name": ""}
    made = SnowflakeConnector(account="acme", user="ann", password=CANARY, **empty)
    assert made == SnowflakeConnector(account="acme", user="ann", password=CANARY)


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'password'") as caught:
        SnowflakeConnector(**WHO, pasword=CANARY)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        SnowflakeConnector(**WHO, password=CANARY).credentials()
    assert CANARY not in caplog.text


def test_a_job_refuses_a_secret_that_it_could_not_have() -> None:
    connector = SnowflakeConnector(**WHO, password=CANARY)

    class Request(Value):
        connector: AnyConnector

    with pytest.raises(ValidationError, match=r"password was given as a value") as caught:
        check_no_secrets(Request(connector=connector))  # type: ignore[arg-type]
    assert "password_variable" in str(caught.value)
    assert CANARY not in str(caught.value)
    named = connector.replace(password_variable="WAREHOUSE_PASSWORD")
    check_no_secrets(Request(connector=named))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "host", "port", "protocol"),
    [
        ("https://acme.example", "acme.example", None, "https"),
        ("http://127.0.0.1:8080/", "127.0.0.1", 8080, "http"),
        ("acme.example:444", "acme.example", 444, "https"),
    ],
)
def test_direct_access_takes_an_address(
    url: str, host: str, port: int | None, protocol: str
) -> None:
    made = SnowflakeConnectorDirectAccess(**WHO, password=CANARY, endpoint_url=url)
    assert (made.host, made.port, made.protocol) == (host, port, protocol)
    assert SnowflakeConnector.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "url", ["", "ftp://x", f"https://ann:{CANARY}@acme", "https://acme/path", "https://a:b", 7]
)
def test_direct_access_refuses_what_is_no_address(url: Any) -> None:
    with pytest.raises(ValidationError, match="endpoint_url must be the address") as caught:
        SnowflakeConnectorDirectAccess(**WHO, password=CANARY, endpoint_url=url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_tag_is_json_whatever_is_in_it() -> None:
    settings = SnowflakeSettings(**WHO, password=CANARY, query_tag='a "night" job')
    assert '"app": "gnn-rle"' in query_tag(settings)
    assert r"\"night\"" in query_tag(settings)


def test_the_engine_is_no_part_of_the_value() -> None:
    connector = SnowflakeConnector(**WHO, password=CANARY)
    assert "engine" not in connector.to_json()
    with pytest.raises(rle.ConnectionError, match="no_such_engine"):
        SnowflakeConnector(**WHO, password=CANARY, engine_name="no_such_engine")


def test_making_one_loads_no_driver() -> None:
    code = (
        "import sys, rle\n"
        "c = rle.SnowflakeConnector(account='a', user='u', password='p')\n"
        "rle.SnowflakeConnector.from_json(c.to_json())\n"
        "print([m for m in ('snowflake', 'ray', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_driver_names_the_extra() -> None:
    code = (
        "import sys\nsys.modules['snowflake'] = None\n"
        "import rle\n"
        "c = rle.SnowflakeConnector(account='a', user='u', password='p')\n"
        "try:\n    c.check_access()\nexcept ValueError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'gnn-rle[snowflake]'" in done.stdout
