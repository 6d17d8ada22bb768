"""What is made of jobs whose drivers are dead, from what they left and what Ray knows."""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime, timedelta

import pytest

from rle.errors import ConnectionError
from rle.jobs.alive import AliveLock
from rle.jobs.layout import PACKAGE, REQUEST, STATE, job_folder, jobs_folder
from rle.jobs.open_runs import OpenRuns
from rle.jobs.queue import Entry, Queue
from rle.jobs.reconcile import _start, reconcile
from rle.jobs.recorder import Recorder
from rle.jobs.request import JobRequest, MaterializeWork, Versions, new_job_id
from rle.jobs.state import JobState
from rle.runs import tracking
from rle.runs.events import JobEvent, ResultEvent, read_events
from rle.runs.job_status import JobStatus
from tests.jobs.fake_ray import FakeRay, put

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING
CANCELED, FAILED, COMPLETED = JobStatus.CANCELED, JobStatus.FAILED, JobStatus.COMPLETED


class Engine:
    """An engine's folder and what Ray says; no driver lives."""

    def __init__(self, folder):
        self.jobs = jobs_folder(folder / "engine")
        self.ray = FakeRay(folder / "ray")
        self.queue = Queue(self.jobs)

    def request(self, *, has_code=False):
        work = MaterializeWork(source_job_id=new_job_id(), experiment_name="a/b/c")
        request = JobRequest(
            job_id=new_job_id(), work=work, versions=Versions.here(), has_code=has_code
        )
        folder = job_folder(self.jobs, request.job_id)
        folder.mkdir(parents=True)
        (folder / REQUEST).write_text(request.to_json())
        return request

    def job(self, *statuses, ray=None, message="", has_code=False, second=0, exit_code=1):
        request = self.request(has_code=has_code)
        moment = NOON + timedelta(seconds=second)
        for status in statuses:
            self.queue.add(Entry.of(request.job_id, request, status, submitted_at=moment))
            self.tell(request.job_id, JobEvent(job_id=request.job_id, status=status))
        if ray:
            self.say(request.job_id, ray, message=message, exit_code=exit_code)
        return request.job_id

    def say(self, job_id, status, **fields):
        path = self.ray.folder / "jobs" / f"{job_id}.json"
        put(path, status=status, submitted_at=NOON.timestamp(), **fields)

    def tell(self, job_id, *events):
        folder = job_folder(self.jobs, job_id)
        with Recorder(folder, _start(self.queue.ticket(job_id)), is_mirrored=False) as recorder:
            for event in events:
                recorder(event)

    def reconcile(self, **fields):
        return reconcile(self.jobs, self.ray, verdict_s=0.3, **fields)

    def state(self, job_id):
        return JobState.from_json((job_folder(self.jobs, job_id) / STATE).read_bytes())

    def status(self, job_id):
        """Where the job stands, which the queue and its own files must agree on."""
        status = Queue(self.jobs).ticket(job_id).status
        assert self.state(job_id).status is status
        return status

    def submitted(self):
        files = (self.ray.folder / "jobs").glob("*.json")
        raws = [(json.loads(path.read_text()), path.stem) for path in files]
        pending = [(raw["submitted_at"], job) for raw, job in raws if raw["status"] == "PENDING"]
        return [job for _, job in sorted(pending)]


@pytest.fixture
def engine(tmp_path):
    return Engine(tmp_path)


@pytest.mark.parametrize("before", [(QUEUED,), (QUEUED, RUNNING)])
@pytest.mark.parametrize(
    ("ray", "after"),
    [("STOPPED", CANCELED), ("FAILED", FAILED), ("SUCCEEDED", FAILED)],
)
def test_a_dead_driver_ends_as_ray_says(engine, before, ray, after):
    job = engine.job(*before, ray=ray, message="worker ran out of luck")
    (done,) = engine.reconcile()
    assert job in done
    assert engine.status(job) is after
    assert (engine.state(job).error is not None) == (after is FAILED)
    size = (job_folder(engine.jobs, job) / "events.jsonl").stat().st_size
    assert engine.reconcile() == []
    assert (job_folder(engine.jobs, job) / "events.jsonl").stat().st_size == size


def test_one_that_ran_and_that_ray_still_takes_for_alive_has_failed_after_a_while(engine):
    job = engine.job(QUEUED, RUNNING, ray="RUNNING")
    engine.reconcile()
    assert engine.status(job) is FAILED


def test_one_whose_driver_starts_is_left_alone(engine):
    job = engine.job(QUEUED, ray="PENDING")
    assert engine.reconcile() == []
    assert engine.status(job) is QUEUED


def test_one_that_lives_is_left_alone_whatever_ray_says(engine):
    job = engine.job(QUEUED, RUNNING, ray="FAILED")
    with AliveLock(job_folder(engine.jobs, job)) as lock:
        assert lock.acquire()
        assert engine.reconcile() == []
        assert engine.status(job) is RUNNING


def test_what_ended_and_died_before_the_queue_had_it_keeps_its_end(engine):
    job = engine.job(QUEUED, RUNNING, ray="FAILED")
    done = [ResultEvent(result={"a": 1}), JobEvent(job_id=job, status=COMPLETED, message="done")]
    engine.tell(job, *done)
    (job_folder(engine.jobs, job) / STATE).unlink()
    engine.reconcile()
    assert engine.status(job) is COMPLETED
    assert engine.state(job).result == {"a": 1}
    assert engine.queue.ticket(job).message == "done"


def test_a_damaged_line_among_the_events_stops_nobody(engine):
    job, other = engine.job(QUEUED, RUNNING, ray="FAILED"), engine.job(QUEUED, ray="STOPPED")
    with (job_folder(engine.jobs, job) / "events.jsonl").open("ab") as file:
        file.write(b"\x00\x00\n{torn")
    engine.reconcile()
    assert engine.status(job) is FAILED
    assert engine.status(other) is CANCELED


def test_a_restarted_head_fails_what_ran_and_gets_again_what_waited(engine):
    engine.reconcile()
    jobs = [engine.job(QUEUED, RUNNING), *(engine.job(QUEUED, second=n) for n in (1, 3, 2))]
    early, late = (engine.request().job_id for _ in range(2))
    (engine.ray.folder / "session").write_text("another")
    assert len(engine.reconcile()) == 6
    assert engine.status(jobs[0]) is FAILED
    assert "restarted" in engine.state(jobs[0]).error.message
    assert sorted(engine.submitted()) == sorted([*jobs[1:], early, late])
    waiting = [t.job_id for t in Queue(engine.jobs).tickets() if t.status is QUEUED]
    assert waiting == [jobs[1], jobs[3], jobs[2], *sorted([early, late], key=waiting.index)]
    assert engine.reconcile() == []


def test_a_receipt_alone_is_no_job_yet(engine):
    engine.reconcile()
    job = engine.request().job_id
    assert engine.reconcile() == []
    assert engine.submitted() == []
    assert engine.queue.ticket(job) is None


def test_code_that_travelled_is_submitted_again_and_missed_where_it_is_gone(engine):
    kept, gone = engine.job(QUEUED, has_code=True), engine.job(QUEUED, has_code=True)
    (job_folder(engine.jobs, kept) / PACKAGE).write_bytes(b"zip")
    engine.reconcile()
    assert engine.submitted() == [kept]
    assert engine.status(gone) is FAILED
    assert "submitted again" in engine.state(gone).error.message


@pytest.mark.parametrize(("ray", "after"), [("STOPPED", CANCELED), ("FAILED", FAILED)])
def test_a_job_that_ended_before_its_driver_could_speak_gets_into_the_queue(engine, ray, after):
    job = engine.request().job_id
    engine.say(job, ray, message="the disk was gone", exit_code=1)
    engine.reconcile()
    assert engine.status(job) is after
    assert engine.queue.ticket(job).experiment_name == "a/b/c"
    assert engine.reconcile() == []


def test_jobs_of_others_are_not_ours(engine):
    path = engine.ray.folder / "jobs" / "raysubmit_1.json"
    put(path, status="FAILED", submitted_at=NOON.timestamp())
    assert engine.reconcile() == []


def test_two_at_once_do_it_once(engine):
    job = engine.job(QUEUED, RUNNING, ray="FAILED")
    with (engine.jobs / "reconcile.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert engine.reconcile() == []
    assert len(engine.reconcile()) == 1
    events = read_events(job_folder(engine.jobs, job) / "events.jsonl")
    assert [event.type for event in events].count("error") == 1


def test_without_ray_nothing_is_decided(engine):
    job = engine.job(QUEUED, RUNNING)

    def jobs():
        raise ConnectionError("no answer")

    engine.ray.jobs = jobs
    with pytest.raises(ConnectionError):
        engine.reconcile()
    assert engine.queue.ticket(job).status is RUNNING


def test_runs_that_the_dead_left_open_end_in_mlflow_as_their_jobs_did(engine, mlflow_there):
    client = tracking.connect(tracking.default_uri())
    runs, ends = OpenRuns(engine.jobs), (CANCELED, FAILED, COMPLETED)
    ids = [client.create_run("0").info.run_id for _ in range(5)]
    jobs = [engine.job(QUEUED, RUNNING, status) for status in ends]
    living = engine.job(QUEUED, RUNNING)
    for run_id, job in zip(ids, (*jobs, living, jobs[0]), strict=True):
        runs.note(run_id, job)
    runs.forget(ids[4])
    with AliveLock(job_folder(engine.jobs, living)) as lock:
        assert lock.acquire()
        assert sorted(runs.end_left(engine.queue)) == sorted(ids[:3])
        assert runs.end_left(engine.queue) == []
    said = [client.get_run(run_id).info.status for run_id in ids]
    assert said == ["KILLED", "FAILED", "FINISHED", "RUNNING", "RUNNING"]
