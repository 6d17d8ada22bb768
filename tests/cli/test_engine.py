"""`rle engine`: the Provider's answers as text and as JSON, and exit codes."""

from __future__ import annotations

import json

import pytest

from rle.engines import registry
from tests.cli.running import run
from tests.engines import fake_backend


@pytest.fixture(autouse=True)
def _backend(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "local", fake_backend.WHERE)


def read(*arguments):
    done = run("engine", *arguments, "--json")
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_an_engine_from_beginning_to_end():
    made = run("engine", "create", "one", "--set", "num_cpus=2", "--set", "auto_suspend_mins=60")
    assert (made.exit_code, made.stdout) == (0, "one: READY\n")
    shown = read("status", "one")
    assert (shown["state"], shown["backend"]) == ("READY", "local")
    assert (shown["settings"]["num_cpus"], shown["settings"]["auto_suspend_mins"]) == (2, 60)
    assert run("engine", "status", "one").exit_code == 0

    assert run("engine", "suspend", "one").stdout.startswith("one: SUSPENDED")
    stopped = run("engine", "status", "one")
    assert stopped.exit_code == 1
    assert "SUSPENDED" in stopped.stdout

    assert run("engine", "resume", "one").stdout == "one: READY\n"
    assert read("delete", "one", "--yes") == {"name": "one", "deleted": True}
    assert read("list") == []


def test_list_is_a_table_or_json_and_can_be_of_one_state():
    run("engine", "create", "one")
    run("engine", "create", "two")
    run("engine", "suspend", "two")
    table = run("engine", "list").stdout
    assert "one" in table
    assert "SUSPENDED" in table
    assert [engine["name"] for engine in read("list", "--state", "stopped")] == ["two"]
    wrong = run("engine", "list", "--state", "redy")
    assert wrong.exit_code == 2
    assert "Did you mean 'READY'" in wrong.stderr


def test_no_wait_returns_before_it_is_ready():
    assert read("create", "one", "--size", fake_backend.SLOW, "--no-wait")["state"] == "PENDING"
    late = run("engine", "resume", "one", "--timeout", "1")
    assert late.exit_code == 2
    assert "still PENDING after 1 s" in late.stderr
    assert run("engine", "resume", "one", "--no-wait").exit_code == 0


def test_what_cannot_be_made_leaves_nothing():
    for size, reason in {fake_backend.IMPOSSIBLE: "no such machine", "BROKEN": "no disk"}.items():
        done = run("engine", "create", "one", "--size", size)
        assert (done.exit_code, done.stdout) == (2, "")
        assert reason in done.stderr
    assert read("list") == []


@pytest.mark.parametrize("name", ["my engine", "it's", 'a"b', "../x", "", "é"])
def test_a_name_that_no_engine_may_have_is_refused(name):
    done = run("engine", "create", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "a letter, then" in done.stderr


def test_a_name_that_is_taken_or_unknown_is_one_line():
    run("engine", "create", "one")
    again = run("engine", "create", "one")
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    for command in (("status",), ("resume",), ("suspend",), ("delete", "--yes")):
        done = run("engine", command[0], "onee", *command[1:])
        assert (done.exit_code, done.stdout) == (2, "")
        assert "Did you mean 'one'" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--set", "num_cpus"), "name=value"),
        (("--set", "num_cpu=2"), "Did you mean 'num_cpus'"),
        (("--set", "num_cpus=0"), "num_cpus"),
        (("--token-variable", "TOKEN"), "cluster"),
        (("--address", "ray://head:10001"), "dashboard"),
        (("--timeout", "0"), "--timeout"),
    ],
)
def test_a_setting_that_cannot_be_is_named(arguments, reason):
    done = run("engine", "create", "one", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr


def test_delete_asks_and_does_nothing_where_nobody_agrees():
    run("engine", "create", "one")
    done = run("engine", "delete", "one")  # its standard input is empty
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert len(read("list")) == 1
