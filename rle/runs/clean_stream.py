"""Takes secrets out of what a process prints and logs, line by line, and out of such a log."""

from __future__ import annotations

import io
import itertools
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from rle.runs.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable

_EVENT = '{"type":'
"""How a line begins that is an event, which was redacted as such and must stay JSON."""


def clean_output() -> None:
    """Take secrets out of all that this process prints or logs from now on, in Python.

    What native code writes to the file descriptors goes by. Twice is no more than once.
    """
    if isinstance(sys.stdout, CleanStream):
        return
    sys.stdout = cast("TextIO", CleanStream(sys.stdout))
    sys.stderr = cast("TextIO", CleanStream(sys.stderr))
    logging.setLogRecordFactory(_clean_records(logging.getLogRecordFactory()))


def clean_log(text: str) -> str:
    """Return a log without secrets; its events, which were written without, as they are."""
    if _EVENT not in text:
        return redact(text)
    lines = text.splitlines(keepends=True)
    groups = itertools.groupby(lines, key=lambda line: line.startswith(_EVENT))
    parts = ("".join(group) if is_event else redact("".join(group)) for is_event, group in groups)
    return "".join(parts)


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


def _clean_records(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    formatter = logging.Formatter()

    def make_clean(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - an argument may raise anything
            return record  # whoever handles it says what is wrong, and goes on
        if (clean := redact(message)) != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            # What formatters take instead of asking the exception.
            record.exc_text = redact(formatter.formatException(record.exc_info))
        return record

    return make_clean


def _last_line(text: str) -> tuple[str, str, str]:
    place = max(text.rfind("\n"), text.rfind("\r"))
    return (text[:place], text[place], text[place + 1 :]) if place >= 0 else ("", "", text)


def _clean(text: str) -> str:
    return text if text.startswith(_EVENT) and text.count("\n") <= 1 else redact(text)
