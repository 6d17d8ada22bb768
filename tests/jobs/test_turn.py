"""Whose turn it is, decided without a process."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.engines.record import EngineRecord, EngineSettings
from rle.errors import ConnectionError, JobHandlerError, ValidationError
from rle.jobs.alive import AliveLock
from rle.jobs.layout import job_folder
from rle.jobs.queue import Entry, Queue, Ticket
from rle.jobs.request import new_job_id
from rle.jobs.turn import Turn, line_before, max_running_jobs, unknown_before
from rle.runs.job_status import JobStatus
from tests.jobs.fake_ray import FakeJob, FakeRay

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUEUED, RUNNING, FAILED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED


def ticket(status, second):
    return Ticket(new_job_id(), status, NOON + timedelta(seconds=second), "train", "e", "ann")


def entry(job_id, second, status=QUEUED):
    return Entry(job_id=job_id, status=status, submitted_at=NOON + timedelta(seconds=second))


@pytest.mark.parametrize(
    ("others", "max_running", "ahead"),
    [
        ([], 1, 0),
        ([(FAILED, -1), (JobStatus.COMPLETED, -2)], 1, 0),
        ([(RUNNING, -1)], 1, 1),
        ([(RUNNING, 5)], 1, 1),
        ([(QUEUED, -1)], 1, 1),
        ([(QUEUED, 5)], 1, 0),
        ([(RUNNING, -3), (QUEUED, -2), (QUEUED, -1), (QUEUED, 1)], 1, 3),
        ([(RUNNING, -3)], 2, 0),
        ([(RUNNING, -3), (QUEUED, -2)], 2, 1),
        ([(RUNNING, -3), (RUNNING, -2), (QUEUED, -1)], 2, 2),
    ],
)
def test_who_comes_first(others, max_running, ahead):
    mine = ticket(QUEUED, 0)
    tickets = [mine, *(ticket(*other) for other in others)]
    assert line_before(mine, tickets, [], max_running).ahead == ahead
    assert line_before(mine, tickets, ["a driver"], max_running).ahead == ahead + (
        len([s for s, place in others if s is RUNNING or (s is QUEUED and place < 0)])
        >= max_running - 1
    )


@given(
    statuses=st.lists(st.sampled_from([QUEUED, RUNNING, FAILED]), min_size=1, max_size=12),
    max_running=st.integers(1, 4),
)
def test_of_those_that_wait_only_the_first_free_ones_may_start(statuses, max_running):
    tickets = [ticket(status, second) for second, status in enumerate(statuses)]
    waiting = [t for t in tickets if t.status is QUEUED]
    may_start = [t for t in waiting if line_before(t, tickets, [], max_running).ahead == 0]
    num_free = max(0, max_running - statuses.count(RUNNING))
    assert may_start == waiting[:num_free]


def test_jobs_that_ray_got_before_and_the_queue_does_not_know_come_first():
    mine, known = ticket(QUEUED, 0), ticket(QUEUED, -1)

    def job(second, status=RUNNING, **fields):
        return FakeJob(new_job_id(), status, "", NOON + timedelta(seconds=second), **fields)

    earlier, starting = job(-5), job(-4, QUEUED)
    others = [
        job(5),
        job(-3, FAILED),
        job(-2, is_rle=False),
        FakeJob(known.job_id, RUNNING, "", NOON - timedelta(seconds=1)),
        FakeJob(new_job_id(), RUNNING, "", None),
    ]
    found = unknown_before(mine, [mine, known], [earlier, starting, *others])
    assert found == [earlier.submission_id, starting.submission_id]
    same = FakeJob("0" + mine.job_id[1:], RUNNING, "", NOON)
    assert len(unknown_before(mine, [mine], [same])) == (same.submission_id < mine.job_id)


class Deaf(FakeRay):
    """Does not answer at first."""

    num_asked = 0

    def jobs(self):
        self.num_asked += 1
        if self.num_asked < 4:
            raise ConnectionError("no answer")
        return super().jobs()


@pytest.fixture
def jobs(tmp_path):
    return tmp_path / "engine" / "jobs"


def test_a_dashboard_that_does_not_answer_delays_the_turn(jobs, tmp_path):
    queue, job, told = Queue(jobs), new_job_id(), []
    queue.add(entry(job, 0))
    ray = Deaf(tmp_path / "ray")
    assert Turn(jobs, queue, ray, poll_s=0.01).wait(job, told.append, threading.Event())
    assert queue.ticket(job).status is RUNNING
    assert told == [1]
    assert ray.num_asked >= 4


def test_it_tells_how_many_come_first_as_that_changes(jobs, tmp_path):
    queue, told = Queue(jobs), []
    ids = [new_job_id() for _ in range(3)]
    folders = [job_folder(jobs, job) for job in ids]
    for folder in folders:
        folder.mkdir()
    for second, job in enumerate(ids):
        queue.add(entry(job, second))
    queue.move(ids[0], RUNNING)

    def heard(ahead):
        told.append(ahead)
        # Another queue: this one may be reading.
        Queue(jobs).move(ids[0] if ahead == 2 else ids[1], JobStatus.CANCELED)

    with AliveLock(folders[0]) as first, AliveLock(folders[1]) as second:
        assert first.acquire()
        assert second.acquire()
        waits = threading.Thread(
            target=lambda: Turn(jobs, Queue(jobs), FakeRay(tmp_path / "ray"), poll_s=0.01).wait(
                ids[2], heard, threading.Event()
            )
        )
        waits.start()
        # The driver of what ran has not left yet, and so keeps its GPU.
        waits.join(0.3)
        assert queue.ticket(ids[2]).status is QUEUED
        first.release()
        waits.join(20)
    assert queue.ticket(ids[2]).status is RUNNING
    assert told == [2, 1]


def test_the_wait_ends_when_the_job_does(jobs, tmp_path):
    queue, job, stop = Queue(jobs), new_job_id(), threading.Event()
    other = new_job_id()
    queue.add(entry(other, -1))
    queue.add(entry(job, 0))
    folder = job_folder(jobs, other)
    folder.mkdir()
    turn = Turn(jobs, queue, FakeRay(tmp_path / "ray"), poll_s=0.01)
    with AliveLock(folder) as lock:
        assert lock.acquire()
        assert not turn.wait(job, lambda ahead: stop.set(), stop)
        assert queue.ticket(job).status is QUEUED
        Queue(jobs).move(job, JobStatus.CANCELED)
        assert not turn.wait(job, print, threading.Event())


def test_how_many_may_run_is_in_the_engines_record_or_a_variable(jobs, monkeypatch):
    jobs.mkdir(parents=True)
    assert max_running_jobs(jobs) == 1
    monkeypatch.setenv("RLE_MAX_RUNNING_JOBS", "3")
    assert max_running_jobs(jobs) == 3
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("RLE_MAX_RUNNING_JOBS", wrong)
        with pytest.raises(JobHandlerError, match=f"RLE_MAX_RUNNING_JOBS .*{wrong}"):
            max_running_jobs(jobs)
    record = EngineRecord(
        name="e",
        id="0" * 8,
        backend="local",
        size="S",
        settings=EngineSettings(max_running_jobs=2),
        created_by="ann",
        created_on=NOON,
        updated_on=NOON,
    )
    (jobs.parent / "engine.json").write_text(record.to_json())
    assert max_running_jobs(jobs) == 2
    (jobs.parent / "engine.json").write_text("{")
    with pytest.raises(ValidationError):
        max_running_jobs(jobs)
