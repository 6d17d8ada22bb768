"""What a JobMonitor says and does, over jobs in memory."""

from __future__ import annotations

import pytest

from rle.engines.record import EngineState
from rle.errors import (
    ConnectionError,
    JobFailedError,
    JobManagerError,
    JobMonitorError,
    JobTimeoutError,
    ValidationError,
)
from rle.jobs.request import MaterializeWork, new_job_id
from rle.runs.events import ErrorEvent
from rle.runs.job_status import JobStatus
from rle.sdk import waiting
from rle.sdk.monitor import JobMonitor
from tests.sdk.fake_jobs import (
    EXPERIMENT,
    RUN_ID,
    FakeJobs,
    canceled,
    completed,
    failed,
    lost_connection,
    moved,
    running,
    state_of,
)

PATHS = {"predictions": "SHOP.MAIN.PREDICTIONS_MAY", "embeddings": {}}


@pytest.fixture
def jobs():
    return FakeJobs()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(waiting, "SHORTEST_S", 0.001)
    monkeypatch.setattr(waiting, "LONGEST_S", 0.002)


def monitor(jobs, *states):
    return JobMonitor(jobs.add(*states), jobs.engine)


def test_a_status_has_everything_in_plain_values(jobs):
    job = monitor(jobs, running())
    status = job.get_status()
    assert status["job_id"] == job.job_id
    assert (status["engine"], status["status"], status["job_type"]) == ("lab", "RUNNING", "train")
    assert status["experiment_name"] == job.experiment_name == EXPERIMENT
    assert status["model_run_id"] == job.model_run_id == RUN_ID
    assert status["metrics"]["validation_roc_auc"] == 0.74311
    assert status["started_at"] < status["updated_at"]
    assert status["finished_at"] is status["result"] is status["error"] is None
    assert monitor(jobs, completed("predict")).get_status()["job_type"] == "inference"
    assert job.status == "RUNNING"


def test_before_there_is_a_model_its_id_is_an_error(jobs):
    with pytest.raises(JobMonitorError, match=r"No model has been trained.*train job and QUEUED"):
        _ = monitor(jobs, state_of("train")).model_run_id
    with pytest.raises(JobMonitorError, match=r"No model has been trained.*predict job"):
        _ = monitor(jobs, completed("predict")).model_run_id


def test_a_result_is_there_at_the_end_or_says_why_not(jobs):
    assert monitor(jobs, completed(result={"validation": 0.8})).result == {"validation": 0.8}
    with pytest.raises(JobMonitorError, match="no result yet: it is RUNNING"):
        _ = monitor(jobs, running()).result
    with pytest.raises(JobFailedError, match=r"MemoryError: The GPU is full.\nWhat to do: Halve"):
        _ = monitor(jobs, failed()).result
    with pytest.raises(RuntimeError, match="was canceled"):
        _ = monitor(jobs, canceled()).result


def test_an_error_keeps_its_advice_and_its_traceback_one_call_away(jobs):
    job = monitor(jobs, failed())
    error = job.error
    assert isinstance(error, ErrorEvent)
    assert (error.message, error.advice) == ("The GPU is full.", "Halve the batch.")
    assert error.traceback == "Traceback: line 7"
    assert "Halve the batch." in job.get_status()["error"]
    assert monitor(jobs, running()).error is None


def test_a_failure_without_a_word_is_still_an_error(jobs):
    silent = state_of("train", moved(JobStatus.FAILED, 3, message="the head was lost"))
    assert monitor(jobs, silent).error.message == "the head was lost"
    with pytest.raises(JobFailedError, match="the head was lost"):
        _ = monitor(jobs, silent).result


def test_waiting_returns_the_last_status_and_raises_for_none(jobs):
    assert monitor(jobs, state_of(), running(), completed()).wait() is JobStatus.COMPLETED
    assert monitor(jobs, running(), failed()).wait(timeout=60) is JobStatus.FAILED


def test_waiting_too_long_says_where_the_job_stands(jobs):
    job = monitor(jobs, running())
    with pytest.raises(TimeoutError, match=r"RUNNING, train epoch 3/10, step 40/100.*It goes on"):
        job.wait(timeout=0.01)
    with pytest.raises(JobTimeoutError):
        job.wait(timeout=0)
    for bad in (-1, True, float("nan"), "soon"):
        with pytest.raises(ValidationError, match="timeout"):
            job.wait(timeout=bad)


def test_waiting_outlives_an_engine_that_starts_again(jobs):
    assert monitor(jobs, running(), *[lost_connection()] * 3, completed()).wait() == "COMPLETED"


def test_waiting_gives_up_on_an_engine_that_stays_away(jobs, monkeypatch):
    monkeypatch.setattr(waiting, "OUTAGE_S", 0.01)
    with pytest.raises(ConnectionError, match="does not answer"):
        JobMonitor(jobs.add(lost_connection()), jobs.engine).wait()


def test_waiting_on_a_suspended_engine_says_how_to_resume_it(jobs):
    jobs.engine_state = EngineState.SUSPENDED
    with pytest.raises(JobMonitorError, match=r"suspended while job .* was QUEUED.*resume_gnn"):
        monitor(jobs, state_of()).wait()
    # It may have ended between the two looks.
    assert monitor(jobs, running(), completed()).wait() == "COMPLETED"


def test_canceling_twice_is_fine_and_a_job_that_ended_says_how(jobs):
    job = monitor(jobs, running())
    assert job.cancel()
    assert job.cancel()
    assert jobs.canceled == [job.job_id] * 2
    with pytest.raises(JobManagerError, match="is COMPLETED"):
        monitor(jobs, completed()).cancel()


def test_logs_nodes_and_events_are_the_engines(jobs):
    job = monitor(jobs, running())
    assert job.get_logs() == "node None, None lines"
    assert job.get_logs(node=job.nodes()[1], lines=5) == "node bb22, 5 lines"
    for bad in (0, -3, True, "5"):
        with pytest.raises(ValidationError, match="lines must be 1 or more"):
            job.get_logs(lines=bad)
    assert [event.type for event in job.events()] == ["job"]


def test_a_repr_says_what_the_job_is_doing(jobs):
    said = repr(monitor(jobs, running()))
    assert "train RUNNING: train epoch 3/10, step 40/100, loss 0.5123" in said
    assert "validation roc auc 0.7431" in said
    assert "2 min 38 s left" in said  # 50 s for 24%
    assert "running for" in said
    assert "on 'lab'" in said
    assert "2 jobs before this one" in repr(monitor(jobs, state_of()))
    assert "best validation roc auc 0.8100, ran for 1 min 00 s" in repr(monitor(jobs, completed()))
    assert "What to do: Halve the batch." in repr(monitor(jobs, failed()))
    assert "CANCELED" in repr(monitor(jobs, canceled()))


def test_a_repr_of_an_engine_that_is_gone_is_no_error(jobs):
    job = JobMonitor(jobs.add(lost_connection()), jobs.engine)
    assert "status unknown, Engine 'lab' at http://127.0.0.1:1 does not answer" in repr(job)
    assert "status unknown" in job._repr_html_()


def test_html_shows_all_and_escapes_all(jobs):
    html = monitor(jobs, running())._repr_html_()
    assert ">RUNNING</span>" in html
    assert "width:24.0%" in html  # two epochs and 40 of 100 steps, of ten epochs
    assert "validation roc auc" in html
    bad = failed(message="<script>alert(1)</script>\x1b[2J", advice="a < b")
    html = monitor(jobs, bad)._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "\x1b" not in html
    assert "a &lt; b" in html
    assert "Traceback: line 7" in html


def test_tables_that_the_job_made_are_named(jobs):
    done = completed("predict", {"export_paths": PATHS, "materialized": True})
    job = monitor(jobs, done)
    assert job.export_paths == job.materialize_results() == PATHS
    assert not jobs.requests  # nothing was submitted
    with pytest.raises(JobMonitorError, match="train job and has made no tables"):
        _ = monitor(jobs, completed()).export_paths


def kept(jobs):
    result = {"export_paths": None, "planned_paths": PATHS, "materialized": False}
    return monitor(jobs, running("predict"), completed("predict", result))


def test_kept_predictions_become_tables_once(jobs):
    job = kept(jobs)
    jobs.made = [completed("materialize", {"export_paths": PATHS})]
    assert job.materialize_results(timeout=10) == PATHS
    (request,) = jobs.requests.values()
    assert isinstance(request.work, MaterializeWork)
    assert request.work.source_job_id == job.job_id
    assert job.materialize_results() == PATHS
    assert len(jobs.requests) == 1


def test_kept_predictions_say_what_makes_them_tables(jobs):
    job = monitor(jobs, completed("predict", {"export_paths": None, "materialized": False}))
    with pytest.raises(JobMonitorError, match=r"as files. materialize_results\(\) makes"):
        _ = job.export_paths


def test_tables_that_another_process_made_are_no_error(jobs):
    job = kept(jobs)
    message = f"The tables of job {job.job_id} were made already, by job x at noon: T."
    jobs.made = [failed(error="JobHandlerError", message=message)]
    assert job.materialize_results() == PATHS
    assert job.export_paths == PATHS  # no longer "kept as files"


def test_what_stands_in_the_way_of_tables_is_said(jobs):
    with pytest.raises(JobMonitorError, match="train job: it has no output"):
        monitor(jobs, completed()).materialize_results()
    jobs.made = [failed(message="the disk is full")]
    with pytest.raises(JobFailedError, match="the disk is full"):
        kept(jobs).materialize_results()
    broken = failed().replace(kind="predict")
    with pytest.raises(RuntimeError, match="The GPU is full"):
        monitor(jobs, broken).materialize_results()


def test_only_a_completed_training_job_is_registered(jobs):
    with pytest.raises(JobMonitorError, match="predict job: it has trained no model"):
        monitor(jobs, completed("predict")).register_model("m")
    with pytest.raises(JobMonitorError, match="no result yet"):
        monitor(jobs, running()).register_model("m")
    assert monitor(jobs, completed("predict")).registered_models == ()


def test_a_model_in_another_mlflow_is_said_to_be_there(jobs):
    job = monitor(jobs, completed(result={"tracking": {"uri": "https://***@flow.example"}}))
    with pytest.raises(JobMonitorError, match=r"flow.example.*Set MLFLOW_TRACKING_URI"):
        job.register_model("m")
    with pytest.raises(JobMonitorError, match="MLFLOW_TRACKING_URI"):
        _ = job.registered_models


def test_an_id_must_look_like_one_and_be_known(jobs):
    for bad in ("", "../../etc/passwd", "x" * 36, None, 7):
        with pytest.raises(ValidationError, match="is no job id"):
            JobMonitor.from_id(bad, jobs.engine)
    with pytest.raises(JobManagerError, match="has no job"):
        JobMonitor.from_id(new_job_id(), jobs.engine)
    known = jobs.add(running())
    assert JobMonitor.from_id(known, jobs.engine).job_id == known


def test_without_engines_the_way_to_one_is_named():
    with pytest.raises(ConnectionError, match="no engine yet"):
        JobMonitor(new_job_id())
    with pytest.raises(ValidationError, match="name of an engine"):
        JobMonitor(new_job_id(), 7)
