"""What is printed carries no secret, however it is cut into pieces."""

from __future__ import annotations

import io
import logging

import pytest

from rle.runs.clean_stream import CleanStream


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "tiger7tiger")
    return io.StringIO()


def test_lines_are_redacted_wherever_they_are_cut(behind: io.StringIO) -> None:
    clean = CleanStream(behind)
    text = "one tiger7tiger two\nthree tiger7tiger\r50 %\nfour"
    for char in text:
        clean.write(char)
    assert behind.getvalue() == "one *** two\nthree ***\r50 %\n"
    clean.flush()
    assert behind.getvalue() == "one *** two\nthree ***\r50 %\nfour"


def test_what_prints_and_logs_is_redacted(behind: io.StringIO) -> None:
    clean = CleanStream(behind)
    print("with", "tiger7tiger", file=clean)
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "password=%s", ("abc",), None)
    logging.StreamHandler(clean).handle(record)
    assert behind.getvalue() == "with ***\npassword=***\n"


def test_an_event_stays_json(behind: io.StringIO) -> None:
    line = '{"type":"result","result":{"token":5}}\n'
    CleanStream(behind).write(line)
    assert behind.getvalue() == line


def test_it_is_like_the_stream_behind(tmp_path) -> None:
    with (tmp_path / "x").open("w", encoding="utf-8") as file:
        clean = CleanStream(file)
        assert clean.encoding == "utf-8"
        assert clean.fileno() == file.fileno()
        assert (clean.isatty(), clean.writable()) == (False, True)
