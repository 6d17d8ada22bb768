"""A client against a dashboard that fails when told to, far away and on this machine."""

from __future__ import annotations

import getpass
import threading
from datetime import UTC, datetime, timedelta

import pytest

from rle.engines.lookup import OpenEngine
from rle.engines.record import EngineState
from rle.errors import ConnectionError, JobManagerError, ValidationError
from rle.jobs.client import JobClient
from rle.jobs.queue import Entry, Queue
from rle.jobs.request import JobRequest, Versions, new_job_id
from rle.runs.events import JobEvent, ResultEvent
from rle.runs.job_records import JobMark
from rle.runs.job_status import JobStatus
from rle.runs.tracked import job_record
from tests.engines.dashboard import TOKEN, Answer
from tests.jobs.boards import EXPERIMENT, NOW, WORK

# Submitting


def test_a_job_is_handed_over_with_its_receipt_written(place):
    request = place.client.submit(WORK)
    asked = place.board.jobs[request.job_id]["asked"]
    assert asked["entrypoint"] == f"python -m rle.jobs.driver {request.job_id}"
    assert asked["metadata"]["rle_job"] == "1"
    assert asked["metadata"]["experiment"] == EXPERIMENT
    assert (request.work, request.has_code) == (WORK, False)
    assert request.created_by == getpass.getuser()
    assert place.client.request(request.job_id) == request


def test_code_travels_along_where_asked_for(far, tmp_path):
    (tmp_path / "code" / "plug_in").mkdir(parents=True)
    (tmp_path / "code" / "plug_in" / "__init__.py").touch()
    request = far.client.submit(WORK, upload_code=tmp_path / "code")
    (package,) = far.board.packages.values()
    assert request.has_code
    assert b"plug_in/__init__.py" in package
    kept = far.engine.folder / "jobs" / request.job_id / "code.zip"
    assert kept.read_bytes() == package


@pytest.mark.parametrize("answer", [Answer(400, "bad"), Answer(403, "no")])
def test_a_job_that_is_refused_leaves_no_receipt(place, answer):
    place.board.fail("POST /api/jobs/", answer)
    with pytest.raises(ConnectionError):
        place.client.submit(WORK)
    assert list((place.engine.folder / "jobs").glob("*/request.json")) == []


def test_an_engine_that_is_not_ready_is_told_before_anything_is_written(place):
    place.backend.state = EngineState.SUSPENDED
    with pytest.raises(ConnectionError, match="SUSPENDED"):
        place.client.submit(WORK)
    assert list((place.engine.folder / "jobs").glob("*/request.json")) == []


def test_a_job_whose_answer_was_lost_is_there_once(place):
    place.board.fail("POST /api/jobs/", Answer(is_cut=True, is_done=True))
    job_id = place.sent()
    assert list(place.board.jobs) == [job_id]


def test_a_job_that_was_lost_with_its_answer_is_sent_again_under_its_id(place):
    place.board.fail("POST /api/jobs/", Answer(is_cut=True))
    job_id = place.sent()
    assert list(place.board.jobs) == [job_id]
    assert sum(line == "POST /api/jobs/" for line in place.board.asked) == 2


def test_a_job_whose_fate_is_not_known_keeps_its_receipt_and_the_error_names_it(place):
    place.board.fail("POST /api/jobs/", Answer(500, "oh"), Answer(500, "oh"))
    with pytest.raises(ConnectionError, match="is not sure") as caught:
        place.client.submit(WORK)
    (receipt,) = (place.engine.folder / "jobs").glob("*/request.json")
    assert receipt.parent.name in str(caught.value)
    assert place.client.state(receipt.parent.name).status is JobStatus.CREATED


def test_an_id_that_is_taken_already_is_the_job_itself(here):
    # The head may have found the receipt and submitted the job before the laptop came to it.
    here.board.fail(
        "POST /api/jobs/",
        Answer(500, "RuntimeError: Job already exists", is_cut=True, is_done=True),
    )
    assert here.sent() in here.board.jobs


def test_secrets_and_too_much_code_are_refused_before_the_engine_is_asked(far, tmp_path):
    work = WORK.replace(experiment_name="s3://me:canary@x/y")
    with pytest.raises(ValidationError, match="secret"):
        far.client.submit(work)
    with pytest.raises(ValidationError, match="no folder"):
        far.client.submit(WORK, upload_code=tmp_path / "missing")
    assert far.board.asked == []


def test_the_token_is_in_no_file_and_no_metadata(far):
    job_id = far.sent()
    far.client.state(job_id)
    texts = [p.read_bytes() for p in far.engine.folder.rglob("*") if p.is_file()]
    assert not any(TOKEN.encode() in text for text in texts)
    assert TOKEN not in str(far.board.jobs)
    assert TOKEN not in repr(far.client)


# Where a job stands


def test_a_job_goes_from_the_hand_over_to_its_end(place):
    job_id = place.sent()
    state = place.client.state(job_id)
    assert (state.status, state.kind, state.experiment_name) == (
        JobStatus.QUEUED,
        "materialize",
        EXPERIMENT,
    )
    assert state.queued_at is not None
    place.board.jobs[job_id]["status"] = "RUNNING"
    assert place.client.state(job_id).status is JobStatus.QUEUED
    with place.recorder(job_id) as recorder:
        recorder(JobEvent(job_id=job_id, status=JobStatus.QUEUED, ahead=2))
        assert place.client.state(job_id).ahead == 2
        recorder(JobEvent(job_id=job_id, status=JobStatus.RUNNING))
        assert place.client.state(job_id).status is JobStatus.RUNNING
        recorder(ResultEvent(result={"metrics": {"mae": 1.5}}))
        recorder(JobEvent(job_id=job_id, status=JobStatus.COMPLETED))
    state = place.client.state(job_id)
    assert state.status is JobStatus.COMPLETED
    assert state.result == {"metrics": {"mae": 1.5}}


@pytest.mark.parametrize(
    ("ray_status", "status"),
    [
        ("FAILED", JobStatus.FAILED),
        ("STOPPED", JobStatus.CANCELED),
        ("SUCCEEDED", JobStatus.FAILED),
    ],
)
def test_a_driver_that_died_without_a_word_does_not_run_for_ever(place, ray_status, status):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING)
    place.board.jobs[job_id] |= {
        "status": ray_status,
        "message": "Job failed with exit code -9, last available logs (truncated):\n{}",
        "end_time": 1_800_000_000_000,
        "driver_exit_code": -9,
    }
    state = place.client.state(job_id)
    assert state.status is status
    assert state.finished_at == datetime.fromtimestamp(1_800_000_000, UTC)
    if ray_status == "FAILED":
        assert state.error.message
        assert state.message == state.error.message
    assert place.client.state(job_id) == state
    (summary,) = place.client.states()
    assert summary.message == "Job failed with exit code -9"
    if ray_status != "SUCCEEDED":  # in a list, a driver that ended well has just said so
        assert summary.status is status


def test_what_the_events_say_comes_before_what_is_guessed(place):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING)
    state_file = place.jobs / job_id / "state.json"
    before = state_file.read_bytes()
    place.say(job_id, JobStatus.COMPLETED)
    state_file.write_bytes(before)  # a driver killed between the two files
    place.board.jobs[job_id] |= {"status": "FAILED"}
    assert place.client.state(job_id).status is JobStatus.COMPLETED


def test_a_job_that_ran_on_a_head_that_was_restarted_is_failed(place):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING)
    place.board.jobs.clear()
    assert place.client.state(job_id).status is JobStatus.FAILED
    assert [job.status for job in place.client.states()] == [JobStatus.FAILED]


def test_a_job_that_waits_on_a_head_that_was_restarted_still_waits(place):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED)
    place.board.jobs.clear()
    assert place.client.state(job_id).status is JobStatus.QUEUED
    assert [job.status for job in place.client.states()] == [JobStatus.QUEUED]


def test_an_engine_on_this_machine_tells_of_its_jobs_while_it_is_suspended(here):
    ended, ran, waits = here.sent(), here.sent(), here.sent()
    here.say(ended, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    here.say(ran, JobStatus.QUEUED, JobStatus.RUNNING)
    here.backend.state = EngineState.SUSPENDED
    here.board.stop()
    statuses = {job_id: here.client.state(job_id).status for job_id in (ended, ran, waits)}
    assert statuses == {
        ended: JobStatus.COMPLETED,
        ran: JobStatus.FAILED,
        waits: JobStatus.CREATED,
    }
    assert {job.job_id for job in here.client.states()} == set(statuses)


def test_the_end_of_a_far_job_is_known_when_its_cluster_is_gone(far):
    ended, other = far.sent(), far.sent()
    far.say(ended, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    assert far.client.state(ended).status is JobStatus.COMPLETED
    far.board.stop()
    assert far.client.state(ended).status is JobStatus.COMPLETED
    with pytest.raises(ConnectionError, match="'far' at"):
        far.client.state(other)


def test_jobs_of_a_cluster_that_is_gone_are_still_listed(far):
    ended, other = far.sent(), far.sent()
    far.say(ended, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    far.client.state(ended)
    far.backend.state = EngineState.PENDING
    far.board.stop()
    listed = {job.job_id: job.status for job in far.client.states()}
    assert listed == {ended: JobStatus.COMPLETED, other: JobStatus.CREATED}


def test_an_unknown_job_is_an_error_that_says_so(place):
    with pytest.raises(JobManagerError, match=place.engine.name) as caught:
        place.client.state(new_job_id())
    assert caught.value.code == "unknown_job"


@pytest.mark.usefixtures("mlflow_there")
def test_a_job_that_only_mlflow_still_knows_is_found_there(far):
    job_id = new_job_id()
    mark = JobMark(job_id=job_id, kind="predict", engine="far", created_by="ada", request="{}")
    with job_record(EXPERIMENT, mark):
        pass
    state = far.client.state(job_id)
    assert (state.status, state.kind, state.created_by, state.experiment_name) == (
        JobStatus.COMPLETED,
        "predict",
        "ada",
        EXPERIMENT,
    )
    assert state.started_at <= state.finished_at


def test_a_job_of_another_engine_is_named_with_that_engine(far, tmp_path):
    job_id = far.sent()
    folder = far.engine.folder.parent / "second"
    folder.mkdir()
    (far.jobs / job_id).mkdir(exist_ok=True)
    record = far.engine.record.replace(name="second")
    far.board.jobs.clear()
    engine = OpenEngine(record=record, folder=folder, backend=far.backend)
    with JobClient(engine) as client, pytest.raises(JobManagerError, match="engine 'far'"):
        client.state(job_id)


def test_what_is_no_job_id_is_refused_before_anything_is_asked(place):
    client = place.client
    for ask in (client.state, client.request, client.cancel, client.events, client.log):
        with pytest.raises(ValidationError):
            ask("../../etc/passwd")
    assert place.board.asked == []


def test_a_request_that_another_laptop_sent_is_read_from_the_head(far):
    request = JobRequest(job_id=new_job_id(), work=WORK, versions=Versions.here())
    far.board.add_job(request.job_id)
    with pytest.raises(JobManagerError, match="not kept"):
        far.client.request(request.job_id)
    (far.jobs / request.job_id).mkdir()
    (far.jobs / request.job_id / "request.json").write_text(request.to_json())
    assert far.client.request(request.job_id) == request


def test_garbage_for_a_state_is_passed_over(far):
    job_id = far.sent()
    (far.jobs / job_id).mkdir()
    (far.jobs / job_id / "state.json").write_text("{")
    assert far.client.state(job_id).status is JobStatus.QUEUED


def test_a_damaged_event_hides_no_other_event_and_no_end(place):
    job_id = place.sent()
    place.board.add_job(job_id, "FAILED")
    folder = place.jobs / job_id
    folder.mkdir(exist_ok=True)
    events = [
        JobEvent(job_id=job_id, status=status).to_json().encode()
        for status in (JobStatus.RUNNING, JobStatus.COMPLETED)
    ]
    (folder / "events.jsonl").write_bytes(b"\n\0{]\n".join(events) + b"\n")
    found, _ = place.client.events(job_id)
    assert [event.status for event in found] == [JobStatus.RUNNING, JobStatus.COMPLETED]
    assert place.client.state(job_id).status is JobStatus.COMPLETED


# Lists


def test_jobs_are_listed_newest_first_by_status_and_number(place):
    ids = [new_job_id() for _ in range(4)]
    queue = Queue(place.jobs)
    for number, job_id in enumerate(ids):
        at = NOW + timedelta(minutes=number)
        for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)[: number + 1]:
            queue.add(Entry.of(job_id, None, status, submitted_at=at).replace(at=at))
        place.board.add_job(job_id)
    assert [job.job_id for job in place.client.states()] == ids[::-1]
    assert [job.job_id for job in place.client.states(limit=2)] == [ids[3], ids[2]]
    waiting = place.client.states(status=JobStatus.QUEUED)
    assert [(job.job_id, job.engine) for job in waiting] == [(ids[0], place.engine.name)]


def test_jobs_that_have_not_come_to_the_queue_are_listed(far):
    sent = far.sent()
    far.board.add_job("a-job-of-somebody-else", metadata={})
    lost = new_job_id()
    receipt = far.engine.folder / "jobs" / lost
    receipt.mkdir(parents=True)
    request = JobRequest(job_id=lost, work=WORK, versions=Versions.here())
    (receipt / "request.json").write_text(request.to_json())
    listed = {job.job_id: job for job in far.client.states()}
    assert listed.keys() == {sent, lost}
    assert listed[sent].status is JobStatus.QUEUED
    assert listed[lost].status is JobStatus.CREATED
    assert listed[sent].experiment_name == listed[lost].experiment_name == EXPERIMENT
    assert listed[sent].created_by == getpass.getuser()


# Canceling


def test_a_job_is_canceled_and_canceling_again_changes_nothing(place):
    job_id = place.sent()
    place.client.cancel(job_id)
    assert place.client.state(job_id).status is JobStatus.CANCELED
    place.client.cancel(job_id)


def test_two_cancels_at_once_are_both_fine(place):
    job_id = place.sent()
    errors = []

    def cancel() -> None:
        with JobClient(place.engine) as client:
            try:
                client.cancel(job_id)
            except JobManagerError as error:
                errors.append(error)

    threads = [threading.Thread(target=cancel) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
def test_a_job_that_ended_cannot_be_canceled(place, status):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING, status)
    place.board.jobs[job_id]["status"] = "SUCCEEDED"
    with pytest.raises(JobManagerError, match=f"{job_id} is {status}") as caught:
        place.client.cancel(job_id)
    assert caught.value.code == "job_ended"


def test_a_job_that_the_engine_never_got_is_canceled_here(place):
    job_id = place.sent()
    place.board.jobs.clear()
    place.client.cancel(job_id)
    assert place.client.state(job_id).status is JobStatus.CANCELED
    assert [job.status for job in place.client.states()] == [JobStatus.CANCELED]


def test_a_job_that_waits_on_a_suspended_engine_is_canceled_here(here):
    job_id = here.sent()
    here.say(job_id, JobStatus.QUEUED)
    here.backend.state = EngineState.SUSPENDED
    here.client.cancel(job_id)
    assert here.client.state(job_id).status is JobStatus.CANCELED
    # The queue knows it, too, so that it is not submitted again.
    assert Queue(here.jobs).ticket(job_id).status is JobStatus.CANCELED


def test_an_unknown_job_cannot_be_canceled(place):
    with pytest.raises(JobManagerError, match="has no job"):
        place.client.cancel(new_job_id())
