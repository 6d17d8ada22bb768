"""docs/cli.md against the command line itself: no command and no option is missing or invented."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from rle.cli.app import EXIT_CODES, app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group=None, name="rle"):
    """Yield (full name, command) of every command that does something."""
    group = group or typer.main.get_command(app)
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def options(command):
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}


def section(name):
    """Return the part of the page about a command: all parts whose title names it or its group."""
    first_two = " ".join(name.split()[:2])
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return "\n".join(part for part in parts if first_two in part.partition("\n")[0])


ALL = dict(commands())


@pytest.mark.parametrize("name", list(ALL))
def test_every_command_has_an_example_and_every_option_is_told(name):
    assert re.search(rf"^(id=\$\()?{name} ", PAGE, flags=re.MULTILINE), name
    about = section(name)
    if name == "rle predict":  # it shares the rows of a training job's options
        about += section("rle train")
    if name == "rle train":
        about += section("rle predict")
    missing = {o for o in options(ALL[name]) - {"--help"} if not re.search(rf"{o}(?![\w-])", about)}
    # Options of all jobs and of all output are told once for every command.
    assert not missing - ({"--engine"} if name.startswith("rle jobs") else set())


def test_the_page_names_no_option_that_is_not_there():
    known = {option for command in ALL.values() for option in options(command)}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGE))
    assert told <= known | {"--help", "--version"}


def examples():
    """Yield the words of each command line in a shell block."""
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.fullmatch(r"id=\$\((.*)\) .*", line)
            yield shlex.split(inner[1] if inner else line, comments=True)


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_every_example_is_understood(words):
    name = next(known for known in ALL if known.split() == words[: len(known.split())])
    with ALL[name].make_context(name, words[len(name.split()) :]):
        pass  # wrong usage would have raised


def test_every_json_example_is_json_and_the_exit_codes_are_those_of_help():
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        json.loads(block)
    rows = re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)
    assert rows == re.findall(r"\b(\d+) (?:done|it|a job|Ctrl)", EXIT_CODES)
