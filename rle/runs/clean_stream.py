"""A stream like sys.stdout that takes secrets out of what is printed, line by line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rle.runs.redact import redact

if TYPE_CHECKING:
    from typing import TextIO

_EVENT = '{"type":'
"""How a line begins that is an event, which was redacted as such and must stay JSON."""


class CleanStream(io.TextIOBase):
    """Passes text on without secrets. A line waits until it ends, or until `flush`.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream behind."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream behind handles what it cannot encode."""
        return self._stream.errors

    def write(self, text: str, /) -> int:
        """Take `text`; lines that are whole, or end to be drawn over, go on."""
        whole, end, rest = _last_line(self._waiting + text)
        self._waiting = rest
        if end:
            self._stream.write(_clean(whole + end))
        return len(text)

    def flush(self) -> None:
        """Pass on what waits, and flush the stream behind."""
        waiting, self._waiting = self._waiting, ""
        if waiting:
            self._stream.write(_clean(waiting))
        self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream behind is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the stream behind, which redacts nothing."""
        return self._stream.fileno()


def _last_line(text: str) -> tuple[str, str, str]:
    place = max(text.rfind("\n"), text.rfind("\r"))
    return (text[:place], text[place], text[place + 1 :]) if place >= 0 else ("", "", text)


def _clean(text: str) -> str:
    return text if text.startswith(_EVENT) and text.count("\n") <= 1 else redact(text)
