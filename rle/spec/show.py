"""Prints tables and messages to standard output, for the people at the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rle.connectors.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PLAIN_WIDTH = 160
"""Characters per line where standard output is no terminal."""


def show_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a titled table. Long values are folded, never cut."""
    table = Table(title=shown(title), title_justify="left", title_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(shown, row))
    show_table(table)


def show_table(table: Table) -> None:
    """Print a table as it is, wide where standard output is no terminal."""
    _console().print(table, markup=False)


def line_width() -> int:
    """Return the characters per line of what `show_table` prints."""
    return _console().width


def say(message: str) -> None:
    """Print one message as it is."""
    text = "\n".join(map(shown, message.split("\n")))
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def yes(flag: bool) -> str:
    """Return a tick or nothing."""
    return "✓" if flag else ""


def _console() -> Console:
    # Made anew each time, so that a redirected standard output is honoured.
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)
