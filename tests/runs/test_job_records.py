"""Jobs in MLflow: found by id after the engine is gone, and ended where nobody else could."""

from __future__ import annotations

import pytest

from rle.errors import ConnectionError, DataError
from rle.runs.events import MetricEvent, RunStatus, StatusEvent
from rle.runs.job_records import JobMark, end_job, find_job, job_records
from rle.runs.job_status import JobStatus
from rle.runs.registry import Registry
from rle.runs.tracked import job_record, record_failure
from rle.runs.tracking import JOB_TAG, Tracker, end_run

EXPERIMENT = "shop/binary_classification/churn"


@pytest.fixture(scope="module")
def place(tmp_path_factory, copy_mlflow):
    """One home for the whole file: connecting to a database costs."""
    folder = tmp_path_factory.mktemp("records")
    copy_mlflow(folder)
    return folder


@pytest.fixture(autouse=True)
def _same_home(place, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(place))


def mark(number, kind="predict"):
    job_id = f"{number:08x}-0000-4000-8000-000000000000"
    return JobMark(job_id=job_id, kind=kind, engine="mine", created_by="ada", request='{"a": 1}')


def run_of(record):
    return Registry()._client.get_run(record.run_id)


def test_a_job_without_a_model_is_kept_with_its_request_and_metrics():
    with job_record(EXPERIMENT, mark(1)) as tracker:
        tracker(MetricEvent(name="test_roc_auc", value=0.7, step=0))
        assert find_job(mark(1).job_id).status is JobStatus.RUNNING
    found = find_job(mark(1).job_id)
    assert (found.status, found.kind, found.engine, found.created_by) == (
        JobStatus.COMPLETED,
        "predict",
        "mine",
        "ada",
    )
    assert found.experiment_name == EXPERIMENT
    assert found.started_at <= found.finished_at
    assert found.model_run_id is None
    assert run_of(found).data.metrics == {"test_roc_auc": 0.7}
    files = Registry()._client.list_artifacts(found.run_id)
    assert [file.path for file in files] == ["request.json"]


def test_how_a_job_ended_is_kept_and_so_is_why():
    with pytest.raises(DataError), job_record(EXPERIMENT, mark(2)):
        raise DataError("row 7 is not a row")
    with pytest.raises(SystemExit), job_record(EXPERIMENT, mark(3)):
        raise SystemExit(143)
    with pytest.raises(KeyboardInterrupt), job_record(EXPERIMENT, mark(4)):
        raise KeyboardInterrupt
    failed = find_job(mark(2).job_id)
    assert failed.status is JobStatus.FAILED
    assert run_of(failed).data.tags["rle.error"] == "DataError: row 7 is not a row"
    assert find_job(mark(3).job_id).status is JobStatus.CANCELED
    assert find_job(mark(4).job_id).status is JobStatus.CANCELED


def test_a_job_that_failed_before_it_had_a_run_is_no_model():
    record_failure("shop/regression/spend", mark(5, "train"), DataError("no rows"))
    found = find_job(mark(5).job_id)
    assert (found.status, found.kind, found.model_run_id) == (JobStatus.FAILED, "train", None)
    assert Registry().models("shop/regression/spend") == ()


def test_a_password_in_an_address_is_not_kept():
    secret = DataError("postgresql://ada:hunter2@db/x is not there")
    record_failure(EXPERIMENT, mark(6), secret)
    assert "hunter2" not in run_of(find_job(mark(6).job_id)).data.tags["rle.error"]


def test_a_job_whose_driver_died_is_ended_once():
    given = mark(7, "train")
    Tracker(EXPERIMENT, params={}, tags={JOB_TAG: "train"} | given.tags)
    (run_id,) = end_job(given.job_id, JobStatus.FAILED)
    found = find_job(given.job_id)
    assert (found.status, found.model_run_id) == (JobStatus.FAILED, run_id)
    assert end_job(given.job_id, JobStatus.CANCELED) == []
    assert find_job(given.job_id).status is JobStatus.FAILED


def test_a_run_is_ended_once():
    tracker = Tracker(EXPERIMENT, params={}, tags={})
    assert end_run(tracker.run_id, RunStatus.CANCELED)
    assert not end_run(tracker.run_id, RunStatus.FAILED)
    assert Registry().model(tracker.run_id).status == "KILLED"


def test_jobs_are_listed_newest_first_and_by_experiment():
    for number in (8, 9):
        with job_record("other/regression/sales", mark(number)):
            pass
    listed = job_records(experiment_name="other/regression/sales")
    assert [record.job_id for record in listed] == [mark(9).job_id, mark(8).job_id]
    assert {mark(8).job_id, mark(9).job_id} <= {record.job_id for record in job_records()}
    assert job_records(experiment_name="no/such/experiment") == []


def test_runs_that_are_no_jobs_are_not_listed_and_unknown_ids_are_none():
    tracker = Tracker(EXPERIMENT, params={}, tags={JOB_TAG: "train"})
    tracker(StatusEvent(status=RunStatus.COMPLETED))
    assert tracker.run_id not in {record.run_id for record in job_records()}
    assert find_job("' OR 1=1") is None


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConnectionError) as caught:
        find_job(mark(1).job_id, uri="http://ada:hunter2@127.0.0.1:9")
    assert "hunter2" not in str(caught.value)
