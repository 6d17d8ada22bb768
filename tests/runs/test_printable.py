from __future__ import annotations

import pytest

from rle.runs.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nünïcödé 🦆\n", "plain\ttext\nünïcödé 🦆\n"),
        ("a\x1b[2Jb\x1b[10;3Hc\x1b[?25ld", "abcd"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        ("\x1bP1$r\x1b\\a\x1b(Bb\x1bcc", "abc"),
        ("never ended \x1b]0;title\nnext\n", "never ended \nnext\n"),
        ("\x07bell\x08\x7f\x9b2J\x00", "bell"),
        ("left\u202eright\u2066", "leftright"),
        ("1%\r50%\r100%\n", "100%\n"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b", ""),
    ],
)
def test_what_a_terminal_would_act_on_is_taken_out(text, shown):
    assert printable(text) == shown


def test_colours_stay_where_they_are_wanted_and_end_with_the_text():
    assert printable("\x1b[1;31mred\x1b[2J!\n", colours=True) == "\x1b[1;31mred!\x1b[0m\n"
    assert printable("\x1b[2Jplain\n", colours=True) == "plain\n"


def test_taking_out_twice_changes_nothing_more():
    nested = "\x1b\x1b[2J[2Ja\x1b]0;\x1b]0;x\x07\x07b"
    once = printable(nested)
    assert "\x1b" not in once
    assert printable(once) == once


@pytest.mark.parametrize("sign", ["\x1b", "\x1b[", "\x00", "\x1bP"])
def test_a_line_of_a_million_signs_takes_no_minutes(sign):
    assert "\x1b" not in printable(sign * 1_000_000)
    assert printable("a\rb" + sign * 1_000_000).startswith("b")
