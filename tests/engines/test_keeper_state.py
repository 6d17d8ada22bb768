"""What a keeper says is whole for every reader, and its lock shows whether it lives."""

from __future__ import annotations

import os

import pytest

from rle.engines import keeper_state
from rle.engines.keeper_state import KeeperState, is_kept, log_tail, read_state, take_lock
from rle.engines.record import EngineState

READY = KeeperState(state=EngineState.READY, pid=1, address="http://127.0.0.1:1")


def test_what_is_said_is_read(tmp_path):
    assert read_state(tmp_path) is None
    keeper_state.write_state(tmp_path, READY)
    assert read_state(tmp_path) == READY
    assert [path.name for path in tmp_path.iterdir()] == ["keeper.json"]


def test_what_cannot_be_written_leaves_what_was_said(tmp_path, monkeypatch):
    keeper_state.write_state(tmp_path, READY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        keeper_state.write_state(tmp_path, READY.replace(state=EngineState.PENDING))
    assert read_state(tmp_path) == READY
    assert [path.name for path in tmp_path.iterdir()] == ["keeper.json"]


def test_the_lock_is_one_and_free_once_all_who_hold_it_let_go(tmp_path):
    assert not is_kept(tmp_path)
    lock = take_lock(tmp_path)
    assert lock is not None
    handed_over = os.dup(lock)
    assert is_kept(tmp_path)
    assert take_lock(tmp_path) is None
    os.close(lock)
    assert is_kept(tmp_path)
    os.close(handed_over)
    assert not is_kept(tmp_path)


def test_the_end_of_a_log_has_no_colours(tmp_path):
    assert log_tail(tmp_path) == ""
    lines = [f"line {number}" for number in range(30)]
    (tmp_path / "keeper.log").write_text("\n".join([*lines, "\x1b[31mred\x1b[0m end", ""]))
    assert log_tail(tmp_path, num_lines=2) == "line 29\nred end"
    assert log_tail(tmp_path, offset=(tmp_path / "keeper.log").stat().st_size) == ""
