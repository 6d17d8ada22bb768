from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from rle.errors import StorageError, ValidationError
from rle.jobs.receipts import Receipts
from rle.jobs.standing import first_state
from rle.runs.events import JobEvent
from rle.runs.job_status import JobStatus
from tests.jobs.test_package import request

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    return Receipts(tmp_path / "engines" / "mine")


def test_a_request_is_kept_with_its_code_where_only_its_user_can_look(receipts, tmp_path):
    asked = request()
    receipts.write(asked, b"zip")
    folder = tmp_path / "engines" / "mine" / "jobs" / asked.job_id
    assert receipts.read(asked.job_id) == asked
    assert (folder / "code.zip").read_bytes() == b"zip"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert receipts.all() == [asked.job_id]


def test_a_refused_job_leaves_nothing(receipts):
    asked = request()
    receipts.write(asked)
    receipts.remove(asked.job_id)
    receipts.remove(asked.job_id)
    assert receipts.read(asked.job_id) is None
    assert receipts.all() == []


def test_a_damaged_receipt_is_none(receipts, tmp_path):
    asked = request()
    receipts.write(asked)
    (tmp_path / "engines" / "mine" / "jobs" / asked.job_id / "request.json").write_text("{")
    assert receipts.read(asked.job_id) is None


def test_only_an_end_is_an_end(receipts):
    asked = request()
    state = first_state(asked.job_id, asked)
    receipts.keep_end(state)
    assert receipts.end(asked.job_id) is None


def test_how_a_job_ended_is_kept_once_and_stays(receipts):
    asked = request()
    state = first_state(asked.job_id, asked)
    ended = state.after(JobEvent(job_id=asked.job_id, status=JobStatus.COMPLETED))
    receipts.keep_end(ended)
    receipts.keep_end(state.after(JobEvent(job_id=asked.job_id, status=JobStatus.FAILED)))
    assert receipts.end(asked.job_id) == ended


def test_a_job_of_another_engine_of_the_same_home_is_found(receipts, tmp_path):
    asked = request()
    Receipts(tmp_path / "engines" / "other").write(asked)
    assert receipts.engine_of(asked.job_id) == "other"
    assert receipts.engine_of(request().job_id) is None


@pytest.mark.parametrize("job_id", ["../x", "", "x", None])
def test_what_is_no_job_id_is_never_a_path(receipts, job_id):
    for ask in (receipts.read, receipts.remove, receipts.end, receipts.engine_of):
        with pytest.raises(ValidationError):
            ask(job_id)


def test_a_home_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "engines").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="Making"):
        Receipts(tmp_path / "engines" / "mine").write(request())


def test_other_things_in_the_folder_are_no_jobs(receipts, tmp_path):
    assert receipts.all() == []
    folder = tmp_path / "engines" / "mine" / "jobs"
    folder.mkdir(parents=True)
    (folder / "queue.jsonl").touch()
    (folder / "odd").mkdir()
    assert receipts.all() == []
