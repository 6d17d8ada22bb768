"""Makes text of others safe to print: what it holds cannot move a cursor or rename a window."""

from __future__ import annotations

import re

_SUSPECT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Everything but tab and newline that a terminal acts on, and what turns text round."""
_COLOUR = r"\x1b\[[0-9;:]*m"
_ESCAPE = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # a title, a link, the clipboard
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"  # strings for the terminal itself
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # moves, erases, modes
)
# Tried once per line: from every character on, a long line would take minutes.
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n])", re.MULTILINE)
_KEPT = re.compile(f"({_COLOUR})")
_RESET = "\x1b[0m"


def printable(text: str, *, colours: bool = False) -> str:
    """Return `text` without control characters; tabs and line ends stay.

    Of a line that was written over with carriage returns, as progress bars do, the last state
    stays.

    Args:
        text: Any text; quick where there is nothing to take out.
        colours: Whether escape sequences that only set colours stay; they are undone at the end.
    """
    if _SUSPECT.search(text) is None:
        return text
    text = _OVERWRITTEN.sub("", text)
    if not colours:
        return _without_controls(text)
    pieces = _KEPT.split(text)
    if len(pieces) == 1:
        return _without_controls(text)
    pieces[::2] = map(_without_controls, pieces[::2])
    end = "\n" if pieces[-1].endswith("\n") else ""
    return "".join(pieces).removesuffix("\n") + _RESET + end


def _without_controls(text: str) -> str:
    return _SUSPECT.sub("", _ESCAPE.sub("", text))
