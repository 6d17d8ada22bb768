"""Engines as users manage them, over a backend that is as quick as a file."""

from __future__ import annotations

import os
import pickle
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import rle
from rle.engines import manage, registry
from rle.engines.record import EngineSettings
from rle.engines.store import EngineStore
from rle.errors import ConnectionError, UnknownNameError, ValidationError
from rle.runs.redact import redact
from tests.engines import fake_backend
from tests.engines.fake_backend import BROKEN, IMPOSSIBLE, SLOW, FakeBackend

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
CANARY = "canary-9c21-secret"


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever backend is named, the fake one is there; its engines can be of the fake's sizes."""
    for name in registry.BUILT_IN:
        monkeypatch.setitem(registry.BUILT_IN, name, fake_backend.WHERE)
    monkeypatch.setattr(manage, "_SHORTEST_PAUSE_S", 0.001)


@pytest.fixture
def provider() -> rle.Provider:
    return rle.Provider()


def left_over() -> list[str]:
    """What is in the folder of all engines, but for the fake's own list."""
    place = EngineStore().place
    names = sorted(path.name for path in place.iterdir()) if place.exists() else []
    return [name for name in names if name != ".deleted"]


def test_nothing_is_needed_for_engines_of_this_machine(provider: rle.Provider) -> None:
    assert provider.credentials is None
    assert repr(provider) == "Provider()"
    assert provider.list_gnns() == []


def test_a_warehouse_is_signed_in_to_with_what_the_method_needs() -> None:
    provider = rle.Provider(account="acme", user="ann", password=CANARY, app_name="RLE")
    assert provider.credentials is not None
    assert repr(provider) == "Provider(account='acme', user='ann', method='password')"
    assert CANARY not in str(vars(provider))
    assert CANARY not in redact(f"cannot sign in with {CANARY}")
    with pytest.raises(TypeError, match="are not pickled"):
        pickle.dumps(provider)
    with pytest.raises(ValueError, match="password is missing"):
        rle.Provider(account="acme", user="ann")
    with pytest.raises(ValueError, match="user and password are missing"):
        rle.Provider(account="acme", user=os.environ.get("NO_SUCH_VARIABLE"))
    with pytest.raises(ValidationError, match="must be one of 'password', 'key_pair'"):
        rle.Provider(account="acme", auth_method="ldap")
    with pytest.raises(UnknownNameError, match="Did you mean 'account'"):
        rle.Provider(acount="acme")


def test_an_engine_is_made_and_ready(provider: rle.Provider) -> None:
    before = datetime.now(UTC)
    made = provider.create_gnn("prod", "GPU_NV_S", settings={"auto_suspend_mins": 30})
    assert list(made) == [
        "name",
        "id",
        "size",
        "state",
        "created_by",
        "created_on",
        "updated_on",
        "settings",
        "backend",
        "address",
        "message",
    ]
    assert (made["name"], made["size"], made["state"]) == ("prod", "GPU_NV_S", "READY")
    assert made["settings"]["auto_suspend_mins"] == 30
    assert made["backend"] == "local"
    assert made["address"] == "http://127.0.0.1:1"
    assert before <= made["created_on"] == made["updated_on"] <= datetime.now(UTC)
    assert int(made["id"], 16) >= 0
    assert provider.get_gnn("prod") == made
    assert rle.Provider().list_gnns() == [made]


def test_defaults_are_those_promised(provider: rle.Provider) -> None:
    made = provider.create_gnn(name="prod")
    assert made["size"] == "HIGHMEM_X64_S"
    assert made["settings"] == EngineSettings().model_dump()
    assert (
        provider.create_gnn("b", settings=EngineSettings(num_workers=2))["settings"]["num_workers"]
        == 2
    )


def test_an_address_means_the_address_backend(
    provider: rle.Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = provider.create_gnn("prod", address="https://head:8265", token_path="token")
    assert made["backend"] == "address"
    assert made["address"] == "https://head:8265"
    record = EngineStore().get("prod")
    assert record is not None
    assert record.token.path == str(tmp_path / "token")
    provider.create_gnn("other", address="https://head:8265", token_variable="PROD_TOKEN")
    with pytest.raises(ValidationError, match="has backend 'address', not 'local'"):
        provider.create_gnn("third", backend="local", address="https://head:8265")
    with pytest.raises(UnknownNameError, match="Did you mean 'address'"):
        provider.create_gnn("third", backend="adress")


def test_a_token_is_named_once_and_never_given(
    provider: rle.Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match="token_variable or token_path"):
        provider.create_gnn("prod", address="https://h", token_variable="T", token_path="t")
    with pytest.raises(ValidationError, match="makes its own token"):
        provider.create_gnn("prod", token_variable="T")
    with pytest.raises(ValidationError, match="may be the token itself") as caught:
        provider.create_gnn("prod", address="https://h", token_variable=CANARY)
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("prod_token", CANARY)
    assert provider.create_gnn("prod", address="https://h", token_variable="prod_token")
    assert CANARY not in (EngineStore().folder("prod") / "engine.json").read_text()


@pytest.mark.parametrize(
    "name", ["my engine", "it's", 'a"b', "a;b", "", "../up", "ünï", "1st", "a" * 64, None, 7]
)
def test_a_name_that_no_engine_may_have(provider: rle.Provider, name: Any) -> None:
    with pytest.raises(ValidationError, match="An engine's name is a letter"):
        provider.create_gnn(name)
    assert provider.get_gnn(name) is None
    assert provider.delete_gnn(name) is False
    with pytest.raises(ValidationError, match="no engine named"):
        provider.resume_gnn(name=name)
    assert left_over() == []


def test_a_name_is_taken_once(provider: rle.Provider) -> None:
    first = provider.create_gnn("prod")
    with pytest.raises(ValidationError, match="'prod' already exists"):
        provider.create_gnn("prod", size=IMPOSSIBLE)
    assert provider.get_gnn("prod") == first


def test_of_many_that_make_the_same_engine_one_wins(provider: rle.Provider) -> None:
    barrier = threading.Barrier(8)

    def make(_: int) -> str:
        barrier.wait()
        try:
            return str(provider.create_gnn("prod")["id"])
        except ValidationError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(make, range(8)))
    ids = [text for text in said if "already exists" not in text]
    assert len(ids) == 1
    found = provider.get_gnn("prod")
    assert found is not None
    assert [found["id"], found["state"]] == [ids[0], "READY"]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"auto_suspend_min": 5}, "Did you mean 'auto_suspend_mins'"),
        ({"auto_suspend_mins": -1}, "auto_suspend_mins"),
        ({"max_running_jobs": 0}, "max_running_jobs"),
        ({"dashboard_port": 80000}, "dashboard_port.*65535"),
        (5, "settings must be a dict.*not int"),
    ],
)
def test_settings_are_checked_first(provider: rle.Provider, settings: Any, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        provider.create_gnn("prod", settings=settings)
    assert left_over() == []


def test_what_cannot_be_is_not_begun(provider: rle.Provider) -> None:
    with pytest.raises(ValidationError, match="no such machine"):
        provider.create_gnn("prod", size=IMPOSSIBLE)
    assert left_over() == []


def test_a_failed_start_leaves_nothing(provider: rle.Provider) -> None:
    with pytest.raises(ConnectionError, match=r"'prod' did not start, .* It has no disk\."):
        provider.create_gnn("prod", size=BROKEN)
    with pytest.raises(ConnectionError, match=r"PENDING after 0\.02 s, so it was removed"):
        provider.create_gnn("prod", size=SLOW, timeout_s=0.02)
    assert left_over() == []
    assert provider.create_gnn("prod")["state"] == "READY"


def test_ctrl_c_while_it_starts_leaves_nothing(
    provider: rle.Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeBackend, "status", interrupted)
    with pytest.raises(KeyboardInterrupt):
        provider.create_gnn("prod")
    assert left_over() == []
    assert (EngineStore().place / ".deleted").read_text() == "prod\n"


def test_one_need_not_wait(provider: rle.Provider) -> None:
    made = provider.create_gnn("prod", size=SLOW, wait=False)
    assert (made["state"], made["message"]) == ("PENDING", "It starts.")
    with pytest.raises(ConnectionError, match="'prod' is still PENDING after 0 s"):
        provider.wait_until_ready("prod", timeout_s=0)
    fake_backend.say(EngineStore().folder("prod"), "READY")
    assert provider.wait_until_ready("prod")["state"] == "READY"


def test_an_engine_sleeps_and_wakes(provider: rle.Provider) -> None:
    made = provider.create_gnn("prod")
    assert provider.suspend_gnn(name="prod") is True
    slept = provider.get_gnn("prod")
    assert slept is not None
    assert (slept["state"], slept["message"]) == ("SUSPENDED", "It was told to.")
    assert slept["updated_on"] > made["updated_on"]
    assert slept["created_on"] == made["created_on"]
    with pytest.raises(ConnectionError, match=r"'prod' is SUSPENDED\. It was told to"):
        provider.wait_until_ready("prod")
    assert provider.resume_gnn(name="prod") is True
    woken = provider.wait_until_ready("prod", timeout_s=5)
    assert woken["state"] == "READY"
    assert woken["id"] == made["id"]
    assert provider.resume_gnn(name="prod") is True  # it runs already


def test_engines_are_listed_by_state(provider: rle.Provider) -> None:
    for name in ("one", "two", "three"):
        provider.create_gnn(name)
    provider.suspend_gnn("two")
    provider.create_gnn("four", size=SLOW, wait=False)

    def names(state: str | None) -> list[str]:
        return [engine["name"] for engine in provider.list_gnns(state=state)]

    assert names(None) == ["one", "two", "three", "four"]
    assert names("READY") == names("ready") == names("Running") == ["one", "three"]
    assert names("suspended") == names("STOPPED") == ["two"]
    assert names("pending") == ["four"]
    with pytest.raises(UnknownNameError, match="Did you mean 'READY'"):
        provider.list_gnns(state="redy")


def test_engines_that_are_slow_to_answer_are_asked_together(
    provider: rle.Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        provider.create_gnn(name)
    together = threading.Barrier(3, timeout=20)
    real = FakeBackend.status

    def status(backend: FakeBackend, record: Any, folder: Any) -> Any:
        together.wait()  # raises where one is asked after the other
        return real(backend, record, folder)

    monkeypatch.setattr(FakeBackend, "status", status)
    assert len(provider.list_gnns()) == 3


def test_unknown_engines_are_named(provider: rle.Provider) -> None:
    provider.create_gnn("prod")
    assert provider.get_gnn("prdo") is None
    for call in (provider.resume_gnn, provider.suspend_gnn, provider.wait_until_ready):
        with pytest.raises(ValidationError, match=r"named 'prdo'\. Did you mean 'prod'"):
            call(name="prdo")


def test_deleting_says_when_there_is_nothing(
    provider: rle.Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.create_gnn("prod")
    assert provider.delete_gnn(name="prod") is True
    assert capsys.readouterr().out == ""
    assert left_over() == []
    assert provider.delete_gnn(name="prod") is False
    assert "There is no engine named 'prod'" in capsys.readouterr().out


@pytest.mark.parametrize("timeout_s", [-1, "5", True, float("nan"), None])
def test_a_timeout_is_a_number_of_seconds(provider: rle.Provider, timeout_s: Any) -> None:
    with pytest.raises(ValidationError, match="timeout_s must be seconds"):
        provider.create_gnn("prod", timeout_s=timeout_s)
    with pytest.raises(ValidationError, match="timeout_s must be seconds"):
        provider.wait_until_ready("prod", timeout_s=timeout_s)


def test_a_terminal_shows_what_is_waited_for(
    provider: rle.Provider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.create_gnn("quiet")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: True)
    monkeypatch.setenv("TERM", "xterm")
    provider.create_gnn("prod")
    assert "Engine prod starts" in capsys.readouterr().err


def test_a_damaged_file_is_named(provider: rle.Provider) -> None:
    provider.create_gnn("prod")
    (EngineStore().folder("prod") / "engine.json").write_text("{}")
    with pytest.raises(ValidationError, match=r"engine\.json is damaged"):
        provider.get_gnn("prod")


def test_a_user_without_a_name_can_make_engines(
    provider: rle.Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000730000")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert provider.create_gnn("prod")["created_by"] == f"uid {os.getuid()}"


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RLE_ENGINE", raising=False)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert "READY" in capsys.readouterr().out


def test_the_page_has_every_setting_with_its_default() -> None:
    found = re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", PAGE.read_text(), flags=re.MULTILINE)
    fields = EngineSettings.model_fields
    shown = {name: text.strip() for name, text in found if name in fields}
    assert shown == {name: f"{field.default}".removesuffix(".0") for name, field in fields.items()}
