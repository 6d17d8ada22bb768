"""JobManager and JobHandler over jobs in memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rle.errors import JobManagerError, UnknownNameError, ValidationError
from rle.jobs.request import MaterializeWork, new_job_id
from rle.runs.job_status import JobStatus
from rle.sdk import manager as manager_module
from rle.sdk.handler import JobHandler
from rle.sdk.manager import JobManager
from rle.spec import show
from tests.sdk.fake_jobs import EXPERIMENT, FakeJobs, completed, failed, running, state_of


@pytest.fixture
def jobs():
    return FakeJobs()


@pytest.fixture
def manager(jobs):
    return JobManager(engine=jobs.engine)


def test_jobs_are_shown_and_returned(jobs, manager, capsys):
    ids = [jobs.add(completed()), jobs.add(running("predict")), jobs.add(failed())]
    rows = manager.show_jobs()
    out = capsys.readouterr().out
    assert [row["job_id"] for row in rows] == ids
    assert [row["status"] for row in rows] == ["COMPLETED", "RUNNING", "FAILED"]
    assert [row["job_type"] for row in rows] == ["train", "inference", "train"]
    assert rows[0]["duration"] == 60.0
    assert rows[0]["experiment_name"] == EXPERIMENT
    assert "3 jobs of engine lab" in out
    for job_id in ids:
        assert job_id in out
    assert repr(rows) == "<3 jobs>"


def test_jobs_are_chosen_by_status_and_number(jobs, manager, capsys):
    for state in (completed(), running(), completed()):
        jobs.add(state)
    assert [job.status for job in manager.list_jobs("completed")] == [JobStatus.COMPLETED] * 2
    assert len(manager.show_jobs(status="succeeded", limit=1)) == 1
    assert manager.list_jobs(JobStatus.FAILED) == []
    with pytest.raises(UnknownNameError, match="Did you mean 'RUNNING'"):
        manager.list_jobs("runing")
    for bad in (0, -1, True, "x", 1.5):
        with pytest.raises(ValidationError, match="limit"):
            manager.list_jobs(limit=bad)
    assert "1 job of engine lab" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_narrow_terminal_gets_fewer_columns_and_a_line_per_job(
    jobs, manager, capsys, monkeypatch, width
):
    ids = [jobs.add(completed()), jobs.add(running("train_inference"))]
    monkeypatch.setattr(show, "PLAIN_WIDTH", width)
    manager.show_jobs()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert ("experiment" in lines[2]) == (width == 160)
    for job_id, status in zip(ids, ("COMPLETED", "RUNNING"), strict=True):
        (line,) = [line for line in lines if job_id in line]
        assert status in line


def test_a_long_message_is_cut_in_a_list(jobs, manager, capsys):
    jobs.add(running().replace(message="no such table, " * 100))
    manager.show_jobs()
    assert len(capsys.readouterr().out.splitlines()) == 6  # title, header and one row, with rules


def test_a_table_of_no_jobs_is_no_error(manager, capsys):
    assert manager.show_jobs() == []
    assert "0 jobs of engine lab" in capsys.readouterr().out


def test_what_a_job_says_cannot_take_over_the_terminal(jobs, manager, capsys):
    jobs.add(running().replace(experiment_name="a/b\x1b[2J[red]/c", message="\x1b]0;owned\x07"))
    manager.show_jobs()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]" in out


def test_a_notebook_shows_html_that_escapes_all(jobs, manager, monkeypatch):
    shown = []
    monkeypatch.setattr(manager_module, "in_notebook", lambda: True)
    monkeypatch.setattr(manager_module, "show_html", shown.append)
    job_id = jobs.add(running().replace(message="<script>"))
    manager.show_jobs()
    assert f"<code>{job_id}</code>" in shown[0]
    assert ">RUNNING</span>" in shown[0]
    assert "&lt;script&gt;" in shown[0]


def test_a_job_is_fetched_and_canceled_by_its_id(jobs, manager):
    job_id = jobs.add(running())
    job = manager.fetch_job(job_id)
    assert (job.job_id, job.engine, job.get_status()["job_type"]) == (job_id, "lab", "train")
    assert manager.cancel_job(job_id) is True
    assert jobs.canceled == [job_id]


def test_an_engine_in_the_place_of_a_connector_is_told_where_it_belongs():
    for cls in (JobManager, JobHandler):
        with pytest.raises(ValidationError, match=r"not 'lab'\. The name of an engine"):
            cls("lab")


def test_code_to_upload_is_a_folder_or_none(jobs, tmp_path):
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name=EXPERIMENT)
    JobHandler(engine=jobs.engine, upload_code=str(tmp_path)).submit(work)
    assert jobs.uploads == [tmp_path]
    for bad in (str(tmp_path / "gone"), tmp_path / "gone", None, 1):
        with pytest.raises(ValidationError, match="upload_code must be"):
            JobHandler(engine=jobs.engine, upload_code=bad)


def test_a_job_that_is_not_there_or_no_id_is_an_error(jobs, manager):
    for call in (manager.fetch_job, manager.cancel_job):
        with pytest.raises(JobManagerError, match="has no job"):
            call(new_job_id())
        with pytest.raises(ValidationError, match="is no job id"):
            call("01bbe3b2-0205-0e72")
    with pytest.raises(JobManagerError, match="is COMPLETED"):
        manager.cancel_job(jobs.add(completed()))


def test_work_is_handed_over_as_it_stands(jobs):
    handler = JobHandler(engine=jobs.engine, upload_code=True)
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name=EXPERIMENT)
    job = handler.submit(work)
    assert job.request.work == work
    assert handler.submit(job.request.work).job_id != job.job_id
    assert jobs.uploads == [True, True]
    assert repr(handler) == "<JobHandler of engine 'lab'>"
    with pytest.raises(ValidationError, match="work must be one of TrainWork"):
        handler.submit({"kind": "train"})
    with pytest.raises(ValidationError, match="connector must be a connector"):
        JobHandler(connector="SHOP")


def test_jobs_are_watched_without_loading_what_trains():
    code = """
import sys
import rle
rle.Trainer, rle.JobManager, rle.JobHandler
from tests.sdk.fake_jobs import FakeJobs, running
jobs = FakeJobs()
job = rle.JobMonitor(jobs.add(running()), jobs.engine)
repr(job), job._repr_html_(), job.get_status()
jobs.log_parts = [b"one\\n"]
jobs.history[job.job_id].append(running().replace(status="COMPLETED"))
job.stream_logs()
rle.JobManager(engine=jobs.engine).show_jobs()
heavy = {"torch", "ray", "numba", "mlflow"} & {name.split(".")[0] for name in sys.modules}
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_queued_job_says_its_place(jobs, manager, capsys):
    jobs.add(state_of("train"))
    (row,) = manager.show_jobs()
    assert row["duration"] is None
    assert row["started_at"] is None
