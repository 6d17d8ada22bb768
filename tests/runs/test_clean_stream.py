"""What is printed carries no secret, however it is cut into pieces."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from rle.runs.clean_stream import CleanStream, clean_log, clean_output


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


def test_all_that_is_printed_or_logged_from_now_on_is_redacted(
    behind: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", behind)
    monkeypatch.setattr("sys.stderr", behind)
    handler = logging.StreamHandler(logged := io.StringIO())
    logger = logging.getLogger("test_clean_stream")
    logger.addHandler(handler)
    factory = logging.getLogRecordFactory()
    try:
        clean_output()
        stream = sys.stdout
        clean_output()
        assert sys.stdout is stream
        print("printed tiger7tiger")  # noqa: T201
        logger.warning("logged %s, %d", "tiger7tiger", 1)
        monkeypatch.setattr(logging, "raiseExceptions", False)
        logger.warning("%(what)s", {"other": 1})  # whose fault it is, and nobody else's
        try:
            raise KeyError("raised tiger7tiger")
        except KeyError:
            logger.exception("why")
    finally:
        logging.setLogRecordFactory(factory)
        logger.removeHandler(handler)
    assert behind.getvalue() == "printed ***\n"
    assert logged.getvalue().startswith("logged ***, 1\nwhy\nTraceback")
    assert logged.getvalue().endswith("KeyError: 'raised ***'\n")


def test_a_log_is_cleaned_around_its_events(behind: io.StringIO) -> None:
    event = '{"type":"result","result":{"token":5}}\n'
    assert (
        clean_log(f"a tiger7tiger\n{event}token=abc1234\nlast") == f"a ***\n{event}token=***\nlast"
    )
    assert clean_log("password=abc") == "password=***"


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
