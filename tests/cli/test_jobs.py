"""`rle jobs`: what is printed, what a program reads, and the exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from rle.runs.events import ProgressEvent
from rle.runs.job_status import JobStatus
from tests.cli.fakes import JOB, FakeJob, FakeManager
from tests.cli.running import run


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr("rle.sdk.manager.JobManager", FakeManager)


@pytest.fixture
def job():
    FakeManager.job = FakeJob()
    return FakeManager.job


def ended(status):
    FakeManager.job = FakeJob(status)
    FakeManager.job.wait()
    return FakeManager.job


def test_list_is_a_table_or_json_of_one_engine():
    done = run("jobs", "list", "--engine", "e1")
    assert (done.exit_code, FakeManager.engine) == (0, "e1")
    assert JOB in done.stdout
    (listed,) = json.loads(run("jobs", "list", "--json", "--limit", "3").stdout)
    assert FakeManager.engine is None
    assert listed["job_id"] == JOB
    assert (listed["status"], listed["job_type"]) == ("QUEUED", "inference")
    assert listed["queued_at"] == "2026-01-02T12:00:00Z"
    assert "kind" not in listed
    assert json.loads(run("jobs", "list", "--status", "done", "--json").stdout) == []


def test_an_unknown_status_names_the_nearest():
    done = run("jobs", "list", "--status", "runing")
    assert done.exit_code == 2
    assert "Did you mean 'RUNNING'" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELED", 3), (None, 0)]
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_show_ends_with_the_code_of_the_status(job, status, code, form):
    if status is not None:
        ended(status)
    done = run("jobs", "show", JOB, *form)
    assert done.exit_code == code
    assert (status or "QUEUED") in done.stdout


def test_show_says_why_and_where_it_failed_and_what_happened():
    ended("FAILED")
    short = run("jobs", "show", JOB).stdout
    assert "halve the batch" in short
    assert "line 2" not in short
    long = run("jobs", "show", JOB, "--traceback", "--events").stdout
    assert "line 1\nline 2\n" in long
    assert '2026-01-02T12:00:00Z job {"job_id"' in long
    shown = json.loads(run("jobs", "show", JOB, "--traceback", "--events", "--json").stdout)
    assert shown["traceback"] == "line 1\nline 2\n"
    assert shown["events"][0]["status"] == "QUEUED"
    assert shown["engine"] == "e1"


def test_json_has_numbers_that_are_none_as_text(job):
    job.wait()
    job._state = job._state.model_copy(update={"metrics": {"a": float("nan"), "b": float("inf")}})
    shown = json.loads(run("jobs", "show", JOB, "--json").stdout, parse_constant=pytest.fail)
    assert shown["metrics"] == {"a": "NaN", "b": "Infinity"}
    assert shown["finished_at"] == "2026-01-02T12:00:00Z"


def test_what_a_job_says_cannot_move_the_cursor(job):
    job._state = job._state.model_copy(update={"warnings": ("\x1b[2Jgone",)})
    assert "\x1b" not in run("jobs", "show", JOB).stdout


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELED", 3)])
def test_show_can_wait_for_the_end(end, code):
    FakeManager.job = FakeJob(end)
    done = run("jobs", "show", JOB, "--wait")
    assert (done.exit_code, FakeManager.job.calls) == (code, ["wait"])
    assert f"status: {end}" in done.stdout


def test_show_can_follow_and_keeps_the_log_off_standard_output(job):
    done = run("jobs", "show", JOB, "--follow", "--json")
    assert json.loads(done.stdout)["status"] == "COMPLETED"
    assert "a line of the log" in done.stderr


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELED", 3)])
def test_logs_follow_to_the_end_and_have_its_code(end, code):
    FakeManager.job = FakeJob(end)
    done = run("jobs", "logs", JOB)
    assert (done.exit_code, done.stdout) == (code, "a line of the log\n")


def test_logs_that_are_not_followed_are_as_they_are(job):
    done = run("jobs", "logs", JOB, "--no-follow")
    assert (done.exit_code, done.stdout) == (0, "first\nlast\n")
    run("jobs", "logs", JOB, "--node", "n1", "--lines", "5")
    assert job.calls == [("get_logs", None, None), ("get_logs", "n1", 5)]
    assert run("jobs", "logs", JOB, "--lines", "1").stdout == "last\n"


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELED", 3)])
def test_logs_as_json_are_the_events_and_what_else_was_printed_once_the_job_has_ended(end, code):
    FakeManager.job = job = FakeJob(end)
    said = job.events()[0].to_json()
    job.get_logs = lambda node=None, lines=None: f"first\n{said}\nlast\n"
    done = run("jobs", "logs", JOB, "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["status"], told["lines"]) == (code, end, ["first", "last"])
    shown = json.loads(run("jobs", "show", JOB, "--events", "--json").stdout)
    assert told == shown | {"lines": told["lines"]}


def test_logs_as_json_need_not_wait(job):
    for part in ("--no-follow", "--lines=1", "--node=n1"):
        done = run("jobs", "logs", JOB, "--json", part)
        told = json.loads(done.stdout)
        assert (done.exit_code, told["status"]) == (0, "QUEUED")
        assert told["lines"] == (["last"] if "lines" in part else ["first", "last"])
    assert "wait" not in job.calls


def test_part_of_a_log_cannot_be_followed(job):
    done = run("jobs", "logs", JOB, "--lines", "5", "--follow")
    assert done.exit_code == 2
    assert "--follow" in done.stderr
    assert run("jobs", "logs", JOB, "--lines", "0").exit_code == 2


@pytest.mark.parametrize("command", [("logs",), ("show", "--wait"), ("show", "--follow")])
def test_ctrl_c_leaves_the_job_alone(command):
    FakeManager.job = FakeJob(interrupted=True)
    done = run("jobs", command[0], JOB, *command[1:])
    assert done.exit_code == 130
    assert "Traceback" not in done.stderr
    assert FakeManager.job.status == "QUEUED"


def test_cancel_says_so_or_why_not(job):
    done = run("jobs", "cancel", JOB, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"job_id": JOB, "canceled": True})
    assert run("jobs", "cancel", JOB).stdout == ""
    ended("COMPLETED")
    done = run("jobs", "cancel", JOB)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: Job {JOB} is COMPLETED.\n"


@pytest.mark.parametrize("command", ["show", "logs", "cancel"])
def test_an_id_that_is_none_or_unknown_is_one_line(job, command):
    for job_id, reason in {"../etc": "is no job id", JOB.replace("3", "4"): "has no job"}.items():
        done = run("jobs", command, job_id)
        assert (done.exit_code, done.stdout) == (2, "")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_running_job_shows_how_far_it_is(job):
    started = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
    progress = ProgressEvent(
        stage="train",
        step=5,
        num_steps=10,
        epoch=1,
        num_epochs=2,
        loss=0.5,
        time=started + timedelta(seconds=30),
    )
    job._state = job._state.model_copy(
        update={"status": JobStatus.RUNNING, "progress": progress, "stages": {"train": started}}
    )
    shown = run("jobs", "show", JOB).output
    assert "progress: train, epoch 1 of 2, step 5 of 10, loss 0.5000, 90 s left" in shown
    assert json.loads(run("jobs", "show", JOB, "--json").output)["progress"]["seconds_left"] == 90
