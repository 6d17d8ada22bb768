"""What a job says, where it lands: events, log and state; without secrets, and on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from rle.errors import StorageError
from rle.jobs import recorder as recorder_module
from rle.jobs.recorder import Recorder, read_state
from rle.jobs.request import new_job_id
from rle.jobs.state import JobState
from rle.runs.events import (
    ErrorEvent,
    JobEvent,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    ResultEvent,
    RunEvent,
    WarningEvent,
    read_events,
)
from rle.runs.job_status import JobStatus

JOB = new_job_id()
START = JobState(job_id=JOB, kind="train", experiment_name="a/b/c", created_by="ann")


def moved(status, **fields):
    return JobEvent(job_id=JOB, status=status, **fields)


def progress(step, *, num_steps=100, stage="train", **fields):
    return ProgressEvent(stage=stage, step=step, num_steps=num_steps, **fields)


def events(folder):
    return list(read_events(folder / "events.jsonl"))


def state(folder):
    return JobState.from_json((folder / "state.json").read_bytes())


def wait_until(is_so):
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_life_is_in_the_events_the_log_and_the_state(tmp_path, capsys):
    told = [
        moved(JobStatus.QUEUED),
        moved(JobStatus.RUNNING),
        RunEvent(model_run_id="r1", experiment_name="a/b/c"),
        MetricEvent(name="loss", value=float("nan"), step=1),
        WarningEvent(message="hm"),
        ResultEvent(result={"x": 1}),
        moved(JobStatus.COMPLETED),
    ]
    with Recorder(tmp_path, START) as recorder:
        for event in told:
            recorder(event)
            if isinstance(event, JobEvent | RunEvent | ResultEvent):
                assert state(tmp_path).to_json() == recorder.state.to_json()
    assert (tmp_path / "events.jsonl").read_text() == capsys.readouterr().out
    assert [event.type for event in events(tmp_path)] == [event.type for event in told]
    final = state(tmp_path)
    assert (final.status, final.model_run_id, final.result) == ("COMPLETED", "r1", {"x": 1})
    assert final.warnings == ("hm",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "state.json"]


def test_secrets_are_taken_out_everywhere(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CANARY_PASSWORD", "ca-nary-4711")
    with Recorder(tmp_path, START) as recorder:
        recorder(ErrorEvent(error="E", message="ca-nary-4711", traceback="x=ca-nary-4711"))
        recorder.last_words(ResultEvent(result={"a": ["ca-nary-4711"]}))
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "4711" not in written + capsys.readouterr().out
    assert "***" in written


def test_progress_is_thinned_out_and_the_last_of_each_stage_stays(tmp_path):
    with Recorder(tmp_path, START) as recorder:
        for step in range(1, 51):
            recorder(progress(step, stage="ingest"))
            recorder(MetricEvent(name="loss", value=step, step=step))
        for step in range(1, 101):
            recorder(progress(step))
        recorder(ReportEvent(name="r", text="t"))
    told = [event for event in events(tmp_path) if isinstance(event, ProgressEvent)]
    stages = {stage: [e.step for e in told if e.stage == stage] for stage in ("ingest", "train")}
    assert stages["ingest"][-1] == 50
    assert stages["train"][-1] == 100
    assert all(steps == sorted(set(steps)) for steps in stages.values())
    assert len(told) < 30
    assert sum(isinstance(event, MetricEvent) for event in events(tmp_path)) == 50


def test_what_waits_is_written_although_nothing_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "STATE_EVERY_S", 0.05)
    with Recorder(tmp_path, START) as recorder:
        recorder(moved(JobStatus.RUNNING))
        recorder(progress(1))
        recorder(progress(2))
        recorder(MetricEvent(name="loss", value=1.0, step=1))
        wait_until(lambda: state(tmp_path).progress and state(tmp_path).progress.step == 2)
        assert state(tmp_path).metrics == {"loss": 1.0}


def test_threads_do_not_mix_their_lines(tmp_path):
    with Recorder(tmp_path, START, is_mirrored=False) as recorder:
        threads = [
            threading.Thread(
                target=lambda n=n: [
                    recorder(MetricEvent(name=f"m{n}", value=i, step=i)) for i in range(100)
                ]
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(events(tmp_path)) == 400
    assert state(tmp_path).metrics == {f"m{n}": 99.0 for n in range(4)}


def test_it_goes_on_where_a_killed_driver_stopped(tmp_path):
    with Recorder(tmp_path, START) as recorder:
        recorder(moved(JobStatus.QUEUED))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"type":"job","status":"COMPL')
    with Recorder(tmp_path, START) as recorder:
        assert recorder.state.status is JobStatus.QUEUED
        recorder(moved(JobStatus.FAILED, message="it died"))
    assert [event.status for event in events(tmp_path)] == ["QUEUED", "FAILED"]
    assert read_state(tmp_path, START).message == "it died"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096) == 4096:
            pass


def tell_much(recorder):
    for step in range(100):
        recorder(ReportEvent(name="r", text="y" * 1000 + str(step)))


def test_on_a_full_disk_the_job_hears_of_it_and_still_says_its_last_words(small_disk):
    recorder = Recorder(small_disk, START, is_mirrored=False)
    recorder(moved(JobStatus.RUNNING))
    fill(small_disk / "other")
    with pytest.raises(StorageError, match="Free some space"):
        tell_much(recorder)
    # What was written can be read: no half line is left.
    assert events(small_disk)[0].status is JobStatus.RUNNING
    # Each further event is refused again; none hangs.
    with pytest.raises(StorageError):
        recorder(ReportEvent(name="r", text="y" * 9000))
    recorder.last_words(
        ErrorEvent(error="StorageError", message="the disk is full"),
        moved(JobStatus.FAILED, message="the disk is full"),
    )
    recorder.close()
    assert state(small_disk).status is JobStatus.FAILED
    assert state(small_disk).error.message == "the disk is full"
    assert [event.type for event in events(small_disk)][-2:] == ["error", "job"]


def test_state_is_always_whole(tmp_path):
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            if (tmp_path / "state.json").exists():
                seen.append(json.loads((tmp_path / "state.json").read_bytes())["message"])

    reader = threading.Thread(target=read)
    reader.start()
    with Recorder(tmp_path, START, is_mirrored=False) as recorder:
        for n in range(200):
            recorder(moved(JobStatus.QUEUED, message="m" * 5000 + str(n), ahead=1))
    stop.set()
    reader.join()
    assert all(message.startswith("mmm") for message in seen)
