"""The whole way from a laptop to an engine and back, on a real engine of this machine."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import rle
from rle.errors import (
    JobFailedError,
    JobManagerError,
    JobMonitorError,
    ModelManagerError,
    OutputExistsError,
    UnknownNameError,
)
from rle.runs.folders import home
from rle.runs.job_status import JobStatus
from tests.small_db import SmallDatabase

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 240


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return SmallDatabase.create(tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def trainer(on_engine, db):
    return rle.Trainer(connector=db.connector, config=db.config(), engine=on_engine.name)


@pytest.fixture(scope="module")
def trained(local_engine, db):
    """The id of a job that has trained a model, and what its stream has printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(local_engine.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        begun = time.monotonic()
        trainer = rle.Trainer(db.connector, db.config(n_epochs=2), engine=local_engine.name)
        job = trainer.fit(db.dataset())
        assert time.monotonic() - begun < 60  # it returns long before the model is trained
        assert job.status in ("CREATED", "QUEUED", "RUNNING")
        assert job.wait(timeout=PATIENCE_S) == "COMPLETED", job.error
        return job.job_id


@pytest.fixture
def job(on_engine, trained):
    return rle.JobMonitor.from_id(trained)


def test_a_trained_job_says_all_about_itself(job, on_engine):
    status = job.get_status()
    assert (status["engine"], status["status"]) == (on_engine.name, "COMPLETED")
    assert status["job_type"] == "train"
    assert status["queued_at"] <= status["started_at"] <= status["finished_at"]
    assert job.experiment_name == "small/binary_classification/churn"
    assert 0 <= job.result["validation"] <= 1
    assert job.result["model_run_id"] == job.model_run_id
    assert job.error is None
    assert "COMPLETED: best validation roc auc" in repr(job)
    assert ">COMPLETED</span>" in job._repr_html_()
    assert job.request.work.config.n_epochs == 2


def test_its_stream_shows_events_as_lines(job, capsys):
    job.stream_logs()
    out = capsys.readouterr().out
    assert out.startswith(f"job {job.job_id}: train small/")
    assert "train epoch 2/2: training loss" in out
    assert "validation roc auc" in out
    assert '{"type"' not in out
    assert f"job {job.job_id} COMPLETED: best validation roc auc" in out
    assert job.get_logs().count('{"type":"job"') >= 2
    assert [e.status for e in job.events() if e.type == "job"][-1] == "COMPLETED"


def test_another_process_finds_it_by_its_id(job):
    code = f"""
import sys, time
import rle
job = rle.JobMonitor.from_id({job.job_id!r})
job.get_status()
begun = time.process_time()
for _ in range(10):
    status = job.get_status()
print(status["status"], status["model_run_id"], (time.process_time() - begun) / 10)
heavy = {{"torch", "ray", "numba", "mlflow"}} & {{name.split(".")[0] for name in sys.modules}}
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, run_id, _ = done.stdout.split()
    assert (status, run_id) == ("COMPLETED", job.model_run_id)


def test_its_model_is_registered_once_per_name(job, capsys):
    version = job.register_model("leaver", version_name="may", comment="in May", schema="S")
    said = capsys.readouterr().out
    assert "MLflow keeps 'leaver' under its name alone" in said
    assert f"Successfully registered model 'leaver' with version '1' for job '{job.job_id}'" in said
    assert job.registered_models == (version,)
    with pytest.raises(ModelManagerError, match="registered as 'leaver' already"):
        job.register_model("leaver")


def test_its_model_predicts_in_another_job(job, trainer, db):
    run_id, dataset = job.model_run_id, db.dataset()
    predicting = trainer.predict("may", db.output, dataset=dataset, model_run_id=run_id)
    assert predicting.wait(timeout=PATIENCE_S) == "COMPLETED", predicting.error
    table = predicting.export_paths["predictions"]
    assert table == "small.main.PREDICTIONS_MAY"
    assert predicting.materialize_results() == predicting.export_paths
    assert db.query(f"SELECT count(*) FROM {table}") == [(60,)]
    with pytest.raises(JobMonitorError, match="predict job"):
        predicting.register_model("leaver")
    with pytest.raises(OutputExistsError):
        trainer.predict("may", db.output, dataset=dataset, model_run_id=run_id)


def test_kept_predictions_become_tables_when_asked(job, trainer, db):
    predicting = trainer.predict(
        "june",
        db.output,
        dataset=db.dataset(),
        model_run_id=job.model_run_id,
        materialize_results=False,
    )
    assert predicting.wait(timeout=PATIENCE_S) == "COMPLETED", predicting.error
    with pytest.raises(JobMonitorError, match="materialize_results"):
        _ = predicting.export_paths
    paths = predicting.materialize_results(timeout=PATIENCE_S)
    assert db.query(f"SELECT count(*) FROM {paths['predictions']}") == [(60,)]
    assert predicting.materialize_results() == paths


def test_a_running_job_is_canceled(on_engine, db, capsys):
    endless = db.config(n_epochs=100_000, patience=100_000)
    job = rle.Trainer(db.connector, endless, engine=on_engine.name).fit(db.dataset())
    manager = rle.JobManager(engine=on_engine.name)
    deadline = time.monotonic() + PATIENCE_S
    while "train epoch" not in repr(job):
        assert time.monotonic() < deadline, repr(job)
        time.sleep(0.2)
    assert "running for" in repr(job)
    assert [row["job_id"] for row in manager.show_jobs("RUNNING")] == [job.job_id]
    assert manager.cancel_job(job.job_id) is True
    assert job.wait(timeout=60) is JobStatus.CANCELED
    with pytest.raises(JobFailedError, match="was canceled"):
        _ = job.result
    assert job.status == "CANCELED"


def test_a_failed_job_says_why_and_keeps_the_traceback(trainer, db, job, capsys):
    unknown = "0" * 32
    with pytest.raises(UnknownNameError, match=unknown):  # the engine's MLflow is that of this home
        trainer.predict("july", db.output, dataset=db.dataset(), model_run_id=unknown)
    (home() / "runs" / unknown).mkdir()
    failing = trainer.predict("july", db.output, dataset=db.dataset(), model_run_id=unknown)
    assert failing.wait(timeout=PATIENCE_S) == "FAILED"
    failing.stream_logs()
    assert unknown in capsys.readouterr().out
    with pytest.raises(JobFailedError, match=unknown):
        _ = failing.result
    assert "Traceback" in failing.error.traceback
    with pytest.raises(JobManagerError, match="FAILED"):
        failing.cancel()
    rows = rle.JobManager(db.connector).list_jobs("FAILED")
    assert rows[0].job_id == failing.job_id
