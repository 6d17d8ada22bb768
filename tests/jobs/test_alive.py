"""Whether a driver lives, told by a lock that the kernel frees and by breaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rle.errors import StorageError
from rle.jobs import alive
from rle.jobs.alive import AliveLock, is_alive, kill_holder, stopped_breathing

HOLD = """
import os, pathlib, sys, time
from rle.jobs.alive import AliveLock
lock = AliveLock(pathlib.Path(sys.argv[1]), breath_s=0.05)
assert lock.acquire()
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(600)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    started = []

    def start(*args):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), *args], stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        for child in psutil.Process(process.pid).children() if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until(is_so):
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_nobody_lives_where_nothing_is(tmp_path):
    assert not is_alive(tmp_path)
    assert not stopped_breathing(tmp_path, after_s=0)
    assert kill_holder(tmp_path)


def test_one_holds_it_at_a_time_and_can_hand_it_on(tmp_path, monkeypatch):
    monkeypatch.setattr(alive, "_PATIENCE_S", 0.05)
    with AliveLock(tmp_path) as first, AliveLock(tmp_path) as second:
        assert first.acquire()
        assert is_alive(tmp_path)
        assert not second.acquire()
        first.release()
        assert not is_alive(tmp_path)
    with AliveLock(tmp_path) as third:
        assert third.acquire()
        assert is_alive(tmp_path)
    assert not is_alive(tmp_path)


def test_it_is_taken_although_somebody_asks_all_the_time(tmp_path, holder):
    for _ in range(3):
        process = holder()
        wait_until(lambda: is_alive(tmp_path))
        process.kill()
        wait_until(lambda: not is_alive(tmp_path))


def test_one_that_is_killed_is_dead_even_if_its_child_lives(tmp_path, holder):
    process = holder("fork")
    child = psutil.Process(process.pid).children()[0]
    process.kill()
    process.wait()
    assert not is_alive(tmp_path)
    assert child.is_running()
    child.kill()


def test_one_that_is_stopped_lives_and_breathes_no_more_and_can_be_killed(tmp_path, holder):
    process = holder()
    time.sleep(0.3)
    assert not stopped_breathing(tmp_path, after_s=10)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: stopped_breathing(tmp_path, after_s=0.5))
    assert is_alive(tmp_path)
    assert kill_holder(tmp_path)
    assert process.wait(10) == -signal.SIGKILL
    assert not stopped_breathing(tmp_path, after_s=0)


def test_breaths_do_not_hang_on_the_wall_clock(tmp_path, holder):
    holder()
    for moment in (0, time.time() + 10**6):
        os.utime(tmp_path / "alive.lock", (moment, moment))
        assert not stopped_breathing(tmp_path, after_s=10)


def test_another_process_with_the_same_pid_is_left_alone(tmp_path, holder):
    process = holder()
    path = tmp_path / "alive.lock"
    breath, pid, _ = path.read_text().split()
    process.kill()
    process.wait()
    bystander = holder("elsewhere")
    path.write_text(f"{breath} {bystander.pid:010d} {'1':>20}\n")
    alive._kill(alive._holder(tmp_path))
    assert bystander.poll() is None
    assert pid


def test_a_folder_that_is_gone_is_said(tmp_path):
    with pytest.raises(StorageError, match=r"alive\.lock"):
        AliveLock(tmp_path / "gone").acquire()
