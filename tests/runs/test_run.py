from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from rle.errors import DataError
from rle.runs.events import ErrorEvent, RunStatus, StatusEvent, WarningEvent, read_events
from rle.runs.run import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


def statuses(path):
    return [e.status for e in read_events(path) if isinstance(e, StatusEvent)]


def test_a_run_that_ends_well_says_so_last(tmp_path):
    heard = []
    with recorded(tmp_path, listeners=(heard.append,), message="begins") as log:
        log(WarningEvent(message="hm"))
    assert statuses(log.path) == [RunStatus.RUNNING, RunStatus.COMPLETED]
    assert heard == list(read_events(log.path))


def test_a_run_that_fails_keeps_the_error_and_raises_it(tmp_path):
    with pytest.raises(DataError, match="bad"), recorded(tmp_path, listeners=(), message="") as log:
        raise DataError("bad label")
    assert statuses(log.path) == [RunStatus.RUNNING, RunStatus.FAILED]
    (error,) = [e for e in read_events(log.path) if isinstance(e, ErrorEvent)]
    assert (error.error, error.message) == ("DataError", "bad label")


def test_ctrl_c_cancels_a_run(tmp_path):
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, listeners=(), message="") as log:
        raise KeyboardInterrupt
    assert statuses(log.path) == [RunStatus.RUNNING, RunStatus.CANCELED]


def test_an_exit_cancels_a_run(tmp_path):
    with pytest.raises(SystemExit), recorded(tmp_path, listeners=(), message="") as log:
        sys.exit(3)
    last = list(read_events(log.path))[-1]
    assert (last.status, last.message) == (RunStatus.CANCELED, "canceled by an exit (3)")


def test_sigterm_cancels_a_run_and_ends_the_process_as_shells_expect(tmp_path):
    code = f"""
import os, signal, time
from pathlib import Path
from rle.runs.run import recorded
with recorded(Path({str(tmp_path)!r}), listeners=(), message=""):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 143
    assert "Traceback" not in done.stderr
    last = list(read_events(tmp_path / "events.jsonl"))[-1]
    assert (last.status, last.message) == (RunStatus.CANCELED, "canceled by SIGTERM")


@pytest.fixture
def unhandled_sigterm() -> Iterator[None]:
    """Nobody handles SIGTERM: Ray, used by an earlier test of this process, leaves a handler."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("unhandled_sigterm")
def test_sigterm_is_handed_back_and_a_handler_of_others_stays(tmp_path):
    with recorded(tmp_path, listeners=(), message=""):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append("theirs"))
    try:
        with recorded(tmp_path, listeners=(), message=""):
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["theirs"]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.usefixtures("unhandled_sigterm")
def test_a_run_in_another_thread_leaves_signals_alone(tmp_path):
    seen = []

    def work():
        with recorded(tmp_path, listeners=(), message=""):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
