"""Drivers as processes: in order, never two at once, and whatever kills them, the rest go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from rle.engines.record import EngineRecord, EngineSettings
from rle.jobs.layout import EVENTS, job_folder
from rle.jobs.reconcile import reconcile
from rle.runs.events import JobEvent, read_events
from rle.runs.job_status import JobStatus
from tests.jobs.fake_ray import FakeHead, put


@pytest.fixture
def head(tmp_path):
    with FakeHead(tmp_path) as head:
        yield head


def statuses(head, job_id):
    events = read_events(job_folder(head.jobs, job_id) / EVENTS)
    found = [event.status for event in events if isinstance(event, JobEvent)]
    return [
        status for place, status in enumerate(found) if place == 0 or found[place - 1] != status
    ]


def test_ten_at_once_run_in_order_one_after_another_and_once_each(head):
    now = time.time()
    # Three in the same millisecond: the job id decides.
    jobs = [head.submit("sleep 0.02", submitted_at=now + max(0, n - 2) / 1000) for n in range(10)]
    head.wait_for(*jobs)
    order = sorted(jobs[:3]) + jobs[3:]
    assert head.order() == order
    assert head.trace() == [(what, job) for job in order for what in ("start", "end")]
    for job in jobs:
        assert head.state(job).status is head.ticket(job).status is JobStatus.COMPLETED
        assert head.state(job).result == {"did": "sleep"}
        assert head.state(job).metrics == {"loss": 1.0}
        assert statuses(head, job) == ["QUEUED", "RUNNING", "COMPLETED"]


def test_two_may_run_at_the_same_time_and_never_three(head):
    now = datetime.now(UTC)
    record = EngineRecord(
        name="two", id="1", backend="local", size="HIGHMEM_X64_S", created_by="ann",
        settings=EngineSettings(max_running_jobs=2), created_on=now, updated_on=now,
    )  # fmt: skip
    head.engine.mkdir(exist_ok=True)
    (head.engine / "engine.json").write_text(record.to_json())
    jobs = [head.submit("gate") for _ in range(5)]
    head.wait_for(*jobs[:2], status=JobStatus.RUNNING)
    head.wait_for(*jobs[2:], status=JobStatus.QUEUED)
    head.wait_until(lambda: (head.engine / "trace").exists() and len(head.trace()) == 2)
    # Each of the others has looked while two were at work.
    head.wait_until(lambda: [head.state(job).ahead for job in jobs[2:]] == [1, 2, 3])
    assert [head.state(job).status for job in jobs[:2]] == [JobStatus.RUNNING] * 2
    assert len(head.trace()) == 2
    head.go()
    head.wait_for(*jobs)
    # A third at work would have failed.
    assert {head.state(job).status for job in jobs} == {JobStatus.COMPLETED}
    running, most = 0, 0
    for what, _ in head.trace():
        running += 1 if what == "start" else -1
        most = max(most, running)
    assert most == 2
    assert set(head.order()) == set(jobs)


def test_a_killed_driver_is_failed_with_its_reason_and_the_others_go_on(head):
    first = head.submit("die")
    head.wait_until(lambda: head.ticket(first) is not None)
    others = [head.submit() for _ in range(3)]
    head.wait_for(*others)
    assert head.order() == [first, *others]
    assert head.ticket(first).status is head.state(first).status is JobStatus.FAILED
    error = head.state(first).error
    assert "9" in error.message
    assert head.state(first).result is None
    assert statuses(head, first) == ["QUEUED", "RUNNING", "FAILED"]


def test_one_that_is_killed_while_it_waits_does_not_hold_up_the_rest(head):
    first = head.submit("gate")
    head.wait_for(first, status=JobStatus.RUNNING)
    waiting = [head.submit() for _ in range(3)]
    head.wait_for(*waiting, status=JobStatus.QUEUED)
    head.kill(waiting[0])
    head.go()
    head.wait_for(first, *waiting)
    assert head.order() == [first, *waiting[1:]]
    assert statuses(head, waiting[0]) == ["QUEUED", "FAILED"]
    assert head.state(waiting[0]).error is not None


def test_one_that_stops_breathing_loses_its_turn(tmp_path):
    with FakeHead(tmp_path, breath_limit_s=6.0) as head:
        stuck = head.submit("halt")
        head.wait_until(lambda: head.ticket(stuck) is not None)
        following = head.submit()
        head.wait_for(stuck, following)
        assert head.order() == [stuck, following]
        assert head.state(stuck).status is JobStatus.FAILED
        assert "6 s" in head.state(stuck).error.message
        head.wait_gone(stuck)


def test_after_a_restart_what_ran_has_failed_and_what_waited_goes_on_in_order(head):
    running = head.submit("sleep 60")
    head.wait_for(running, status=JobStatus.RUNNING)
    waiting = [head.submit("sleep 0.02") for _ in range(3)]
    head.wait_for(*waiting, status=JobStatus.QUEUED)
    # Got by the former session, its driver had no time to say so.
    unknown = head.request()
    head.restart()
    (head.engine / "working").unlink()
    done = reconcile(head.jobs, head.ray)
    assert len(done) == 5
    assert reconcile(head.jobs, head.ray) == []
    head.wait_for(running, *waiting, unknown)
    assert head.ticket(running).status is JobStatus.FAILED
    assert "restarted" in head.state(running).error.message
    assert head.order() == [running, *waiting, unknown]
    assert all(head.state(job).status is JobStatus.COMPLETED for job in (*waiting, unknown))


@pytest.mark.parametrize("do", ["sleep 60", "run", "native"])
def test_a_running_job_is_canceled_at_once(head, do):
    job = head.submit(do)
    head.wait_until(lambda: (head.engine / "trace").exists())
    time.sleep(0.1)
    head.drivers[job].stopped = True
    head.drivers[job].process.send_signal(signal.SIGTERM)
    head.wait_for(job)
    # One that sits in native code has said so before anything could be cleaned up.
    assert do != "native" or head.drivers[job].process.poll() is None
    assert head.ticket(job).status is head.state(job).status is JobStatus.CANCELED
    assert head.drivers[job].process.wait(10) == 143
    assert statuses(head, job) == ["QUEUED", "RUNNING", "CANCELED"]
    head.wait_gone(job)


def test_a_waiting_job_is_canceled_and_two_cancels_say_it_once(head):
    running = head.submit("gate")
    head.wait_for(running, status=JobStatus.RUNNING)
    waiting, last = head.submit(), head.submit()
    head.wait_for(waiting, last, status=JobStatus.QUEUED)
    head.drivers[waiting].stopped = True
    for _ in range(2):
        head.drivers[waiting].process.send_signal(signal.SIGTERM)
    head.wait_for(waiting)
    head.go()
    head.wait_for(running, waiting, last)
    assert statuses(head, waiting) == ["QUEUED", "CANCELED"]
    events = list(read_events(job_folder(head.jobs, waiting) / EVENTS))
    assert [getattr(event, "status", None) for event in events].count(JobStatus.CANCELED) == 1
    assert head.order() == [running, last]


def test_sigterm_while_it_starts_ends_canceled(head):
    """At any moment: before Python hears signals Ray alone knows, and the next driver says it."""
    for delay_s in (0.0, 0.1, 0.2, 0.3, 0.4):
        job = head.submit("sleep 60")
        head.wait_until(lambda job=job: job in head.drivers)
        time.sleep(delay_s)
        head.stop(job)
    last = head.submit()
    head.wait_for(last)
    reconcile(head.jobs, head.ray)
    assert all(
        ticket.status is JobStatus.CANCELED and head.state(ticket.job_id).status is ticket.status
        for ticket in (head.ticket(job) for job in head.drivers if job != last)
    )


def test_a_failure_says_why_and_what_helps(head):
    job = head.submit("fail")
    head.wait_for(job)
    state = head.state(job)
    assert (state.status, state.error.error) == (JobStatus.FAILED, "MemoryError")
    assert "drive.py" in state.error.traceback
    assert head.drivers[job].process.wait(10) == 1


def test_work_that_exits_has_failed(head):
    job = head.submit("exit 0")
    head.wait_for(job)
    assert head.state(job).status is JobStatus.FAILED
    assert head.drivers[job].process.wait(10) == 1


def test_no_child_is_left(head):
    job = head.submit("child")
    head.wait_for(job)
    head.wait_gone(job)
    assert not psutil.pid_exists(int((head.engine / "child").read_text()))


def test_a_second_driver_of_a_job_changes_nothing(head):
    job = head.submit("gate")
    head.wait_for(job, status=JobStatus.RUNNING)
    folder = job_folder(head.jobs, job)
    before = (folder / EVENTS).read_bytes()
    second = head._start(job).process
    assert second.wait(20) == 1
    head.go()
    head.wait_for(job)
    assert (folder / EVENTS).read_bytes().startswith(before)
    assert statuses(head, job) == ["QUEUED", "RUNNING", "COMPLETED"]
    assert head.order() == [job]


def test_a_job_that_has_ended_is_not_done_again(head):
    job = head.submit()
    head.wait_for(job)
    head.wait_gone(job)
    again = head._start(job).process
    assert again.wait(20) == 1
    assert head.order() == [job]


def test_a_damaged_request_fails_its_job(head):
    job = head.request()
    (job_folder(head.jobs, job) / "request.json").write_text('{"format": 1')
    put(head.ray.folder / "jobs" / f"{job}.json", status="PENDING", submitted_at=time.time())
    head.wait_for(job)
    assert head.state(job).status is JobStatus.FAILED
    assert head.state(job).error.error == "JobHandlerError"


def test_a_driver_that_waits_is_small(head):
    running = head.submit("gate")
    head.wait_for(running, status=JobStatus.RUNNING)
    waiting = head.submit()
    head.wait_for(waiting, status=JobStatus.QUEUED)
    pid = head.drivers[waiting].process.pid
    assert psutil.Process(pid).memory_info().rss < 100 * 2**20
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert not any(f"/{name}/" in maps for name in ("torch", "ray", "numpy", "pyarrow"))
    os.kill(pid, signal.SIGTERM)


@pytest.fixture
def head_on_small_disk(tmp_path):
    """A head whose engine folder lies on a disk of two megabytes."""
    folder = tmp_path / "engine"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    with FakeHead(tmp_path) as head:
        yield head
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_job_that_fills_the_disk_fails_and_says_so(head_on_small_disk):
    head = head_on_small_disk
    job = head.submit("chatter")
    head.wait_for(job)
    head.wait_gone(job)
    assert head.ticket(job).status is head.state(job).status is JobStatus.FAILED
    assert head.state(job).error.error == "StorageError"
    assert "Free some space" in head.state(job).error.message
    assert statuses(head, job) == ["QUEUED", "RUNNING", "FAILED"]
