"""No secret gets out, and ordinary text stays as it is."""

from __future__ import annotations

import json
import string
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rle.runs import events
from rle.runs.events import (
    ErrorEvent,
    EventLog,
    MetricEvent,
    ReportEvent,
    ResultEvent,
    read_events,
)
from rle.runs.redact import MARK, hide, redact, redacted_event, redacted_json

if TYPE_CHECKING:
    from pathlib import Path

KEY = "\n".join(
    [
        "-----BEGIN PRIVATE KEY-----",
        *["MIIEvQIBADANBgkqhkiG9w0B" * 2] * 4,
        "-----END PRIVATE KEY-----",
    ]
)
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJBQ0NULlVTRVIifQ.c2lnbmF0dXJl-X_0"
SESSION = "ver:1-hint:9035468288-ETMsDgAAAZjPQ0m6ABRBRVMvQ0JDL1BLQ1M1UGFkZGluZw=="


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("cannot reach postgresql://joe:tiger7@db:5432/x", "tiger7"),
        ("cannot reach http://joe:ti@ger7@db/x", "ger7"),
        ("git clone https://x-access-token:abc123@github.com/a/b", "abc123"),
        ("password=hunter2, user=joe", "hunter2"),
        ("PGPASSWORD=hunter2 psql", "hunter2"),
        ("ALTER USER joe SET PASSWORD = 'hun ter2' COMMENT = 'x'", "ter2"),
        ("connect(user='joe', password='hunter2')", "hunter2"),
        ('{"user": "joe", "password": "hun\\"ter2"}', "ter2"),
        ("{'oauth_token': 'abc', 'user': 'joe'}", "abc"),
        (json.dumps({"body": json.dumps({"secret": "zzz-z"})}), "zzz-z"),
        ("api_key: sk12345678", "sk12345678"),
        ("--token=abcdef", "abcdef"),
        ("Authorization: Bearer 0123abcd", "0123abcd"),
        ("{'Authorization': 'Bearer 0123abcd', 'Accept': '*/*'}", "0123abcd"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("sent 'Bearer d0gf00dcafe'", "d0gf00dcafe"),
        (f"JWT token is invalid: {JWT}", "eyJpc3"),
        (f'Snowflake Token="{SESSION}"', "ETMs"),
        (f"the key\n{KEY}\nis no key", "MIIEv"),
        (repr(f"the key\n{KEY}"), "MIIEv"),
        ("GET https://b.s3/x?X-Amz-Signature=abc123&X-Amz-Expires=9", "abc123"),
        ("token hf_" + "a1" * 17, "a1a1"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, secret: str) -> None:
    clean = redact(text)
    assert secret not in clean
    assert MARK in clean
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "wrong token: give the name of another variable",
        "the password is missing; give one, or private_key_path=",
        "token=None, password=None, secret=False",
        "token=TokenSource(variable='RAY_AUTH_TOKEN', path=None)",
        "password=SecretStr('**********')",
        '{"token": {"variable": "RAY_AUTH_TOKEN", "path": null}}',
        '{"primary_key": "orders.id", "foreign_key": "user_id"}',
        "primary_key='id' key=7 tokens=128 num_tokens=4096",
        "TOKENIZERS_PARALLELISM=false",
        "Bearer authentication is needed",
        "The file must begin with -----BEGIN PRIVATE KEY----- and have a passphrase.",
        "private_key_path='/home/joe/key.p8'",
        "https://example.com/a@b?mail=joe@example.com",
        "mail joe@example.com, see git@github.com:a/b.git",
        "password: ",
        "Known: 'password', 'token'.",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name",
    ["SNOWFLAKE_PASSWORD", "RAY_AUTH_TOKEN", "MY_SECRET", "AWS_SECRET_ACCESS_KEY", "API_KEY",
     "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "DB_CREDENTIALS", "PGPASSWORD", "MYSQL_PWD", "apitoken"],
)  # fmt: skip
def test_the_value_of_a_secret_variable_goes_wherever_it_stands(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = 'p"ä ss\\/w'
    assert redact(f"<{value}>") == f"<{value}>"
    monkeypatch.setenv(name, value)
    for form in (value, json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value),
                 quote(value, safe="")):  # fmt: skip
        assert "ss" not in redact(f"it was <{form}>").removeprefix("it was")
    monkeypatch.setenv(name, "another-one")
    assert redact(value) == value
    assert redact("another-one") == MARK


@pytest.mark.parametrize(
    "name", ["MAX_TOKENS", "TOKENIZERS", "RAY_AUTH_MODE", "TOKEN_TYPE", "SECRET_NAME", "KEYBOARD"]
)
def test_a_plain_variable_is_no_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "ordinary")
    assert redact("an ordinary day") == "an ordinary day"


def test_a_short_value_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "table")
    assert redact("the table orders") == "the table orders"


@pytest.mark.parametrize("password", ["tiger7tiger", "ti/ger7tiger", "ti@ger7tiger"])
def test_the_password_of_an_address_in_a_variable_goes(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://joe:{password}@db:5000")
    assert redact(f"login of joe with {password} failed") == f"login of joe with {MARK} failed"


def test_files_of_secrets_are_read_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    assert redact("it is first-token") == f"it is {MARK}"
    file.write_text("the-second-token\n")
    assert redact("it is the-second-token") == f"it is {MARK}"
    file.unlink()
    assert redact("it is the-second-token") == "it is the-second-token"


def test_the_token_file_of_ray_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0c0ffee0")
    assert redact("x 0c0ffee0 y") == f"x {MARK} y"


def test_each_line_of_a_key_in_a_variable_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY", KEY)
    for line in KEY.splitlines()[1:-1]:
        assert redact(f"> {line}") == f"> {MARK}"


def test_a_hidden_value_goes() -> None:
    hide("typed-by-hand-1")
    hide("x")
    assert redact("it was typed-by-hand-1, x") == f"it was {MARK}, x"


WORDS = st.sampled_from(
    ["orders", "password", "token", ":", "=", " ", "\n", '"', "'", "\\", "//", "@", "https://a/",
     "{", "}", "[", "***", "=>", "secret", "api_key", "Bearer ", "Authorization: ", "abc123", JWT,
     SESSION, KEY, "joe:tiger7@h", "-----BEGIN PRIVATE KEY-----", "?sig=", "None", "é", "0.25"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=12).map("".join))
def test_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.text(st.characters(exclude_characters="@:=", exclude_categories=["Cs"]), max_size=200))
def test_text_without_signs_of_a_secret_comes_back(text: str) -> None:
    assert redact(text) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.text(string.ascii_letters + string.digits + "\"'\\@/ %", min_size=8).filter(
        lambda text: text == text.strip() and len(text) >= 8
    ),
    around=st.text(max_size=20),
)
def test_no_known_secret_survives_in_an_exception(
    secret: str, around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", secret)
    try:
        raise ValueError(around, secret)
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert repr(secret)[1:-1] not in redact(text)


def test_redacted_json_keeps_what_is_no_text_and_marks_what_a_key_gives_away() -> None:
    value = {"password": "x", "rows": 3, "loss": 0.5, "none": None, "ok": True,
             "deep": [{"api_key": "y"}, "token=abc", ["plain"]],
             "primary_key": "id", "pwd": None}  # fmt: skip
    assert redacted_json(value) == {
        "password": MARK, "rows": 3, "loss": 0.5, "none": None, "ok": True,
        "deep": [{"api_key": MARK}, f"token={MARK}", ["plain"]], "primary_key": "id", "pwd": None,
    }  # fmt: skip


def _examples() -> list[Any]:
    text = "password=hunter2"
    fields: dict[str, Any] = {
        "status": "running", "step": 1, "num_steps": 2, "value": 0.5,
        "result": {"a": [text], "password": "hunter2"},
    }  # fmt: skip
    made = []
    for cls in (events.StatusEvent, events.RunEvent, ResultEvent, events.ProgressEvent, MetricEvent,
                ReportEvent, events.WarningEvent, ErrorEvent, events.ArtifactEvent):  # fmt: skip
        given_ = {
            name: fields.get(name, text)
            for name, field in cls.model_fields.items()
            if name not in ("type", "time") and (field.is_required() or field.annotation is str)
        }
        made.append(cls(**given_))
    made.append(events.JobEvent(job_id=text, status="QUEUED", message=text))
    return made


@pytest.mark.parametrize("event", _examples(), ids=lambda event: event.type)
def test_no_event_carries_a_secret(event: Any) -> None:
    clean = redacted_event(event)
    assert "hunter2" not in clean.to_json()
    assert (clean.type, clean.time) == (event.type, event.time)
    assert redacted_event(clean) is clean


def test_what_is_written_down_carries_no_secret(tmp_path: Path) -> None:
    heard: list[Any] = []
    with EventLog(tmp_path, listeners=(heard.append,)) as log:
        log(ErrorEvent(error="E", message="password=hunter2", traceback="http://a:hunter2@b"))
    assert "hunter2" not in (tmp_path / events.FILE_NAME).read_text()
    assert heard == list(read_events(tmp_path / events.FILE_NAME))
