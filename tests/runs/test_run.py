from __future__ import annotations

import pytest

from rle.errors import DataError
from rle.runs.events import ErrorEvent, RunStatus, StatusEvent, WarningEvent, read_events
from rle.runs.run import recorded


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
