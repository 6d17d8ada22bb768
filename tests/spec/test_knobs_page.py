"""docs/knobs.md has every setting once, with the default and the meaning that the code has.

`python -m tests.spec.test_knobs_page` puts defaults and meanings right after a change; when to
change a setting is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from rle.spec.config import TrainerConfig

PAGE = Path(__file__).parents[2] / "docs" / "knobs.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<default>.*?) \| (?P<meaning>.*) \| (?P<when>.*) \|$")


def rows() -> list[re.Match[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [found for line in lines if (found := ROW.match(line))]


def default_of(name: str) -> str:
    default = TrainerConfig.model_fields[name].default
    if default is PydanticUndefined:
        return "must be given"
    return f"`{list(default) if isinstance(default, tuple) else default!r}`"


def meaning_of(name: str) -> str:
    return " ".join((TrainerConfig.model_fields[name].description or "").split())


def row_of(name: str, when: str) -> str:
    return f"| `{name}` | {default_of(name)} | {meaning_of(name)} | {when} |"


def test_every_setting_is_on_the_page_once() -> None:
    names = [row["name"] for row in rows()]
    assert sorted(names) == sorted(TrainerConfig.model_fields)


def test_defaults_and_meanings_are_those_of_the_code() -> None:
    for row in rows():
        assert row[0] == row_of(row["name"], row["when"])


def test_every_setting_says_when_to_change_it() -> None:
    assert [row["name"] for row in rows() if not row["when"].strip()] == []


def rewrite() -> None:
    """Put defaults and meanings right, and leave the rest."""
    text = PAGE.read_text(encoding="utf-8")
    for row in rows():
        text = text.replace(row[0], row_of(row["name"], row["when"]))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
