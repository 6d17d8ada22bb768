"""How a driver finds its way about a head: its log, the link to the jobs, the dashboard."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rle.errors import ConnectionError
from rle.jobs import head
from rle.jobs.head import find_access, link_jobs, take_over_log

TAKE_OVER = """
import os, pathlib, sys
from rle.jobs.head import take_over_log
print("before")
sys.stdout.flush()
found = take_over_log(pathlib.Path(sys.argv[1]))
print("after", found)
sys.stdout.flush()
os.system("echo from a child; echo and its errors >&2")
"""


def run_with_log(log, folder):
    with log.open("ab") as file:
        command = [sys.executable, "-c", TAKE_OVER, str(folder)]
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=True)


def test_all_that_a_driver_prints_is_in_its_jobs_folder_and_where_ray_looks(tmp_path):
    folder, logs = tmp_path / "job", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    theirs = logs / "job-driver-1.log"
    theirs.write_text("Running entrypoint\n")
    run_with_log(theirs, folder)
    said = f"Running entrypoint\nbefore\nafter {logs}\nfrom a child\nand its errors\n"
    assert (folder / "log.txt").read_text() == said
    assert theirs.is_symlink()
    assert theirs.read_text() == said
    # A job that is submitted again, to another session, goes on in the same log.
    other = tmp_path / "others"
    other.mkdir()
    run_with_log(other / "job-driver-1.log", folder)
    assert (folder / "log.txt").read_text().startswith(said + "before\nafter")


def test_a_driver_that_ray_did_not_start_keeps_its_output(tmp_path):
    run_with_log(tmp_path / "mine.txt", tmp_path)
    assert "after None\nfrom a child" in (tmp_path / "mine.txt").read_text()
    assert not (tmp_path / "log.txt").exists()
    assert take_over_log(tmp_path) is None


def test_jobs_are_linked_once_and_a_link_to_nowhere_is_mended(tmp_path):
    jobs, gone = tmp_path / "jobs", tmp_path / "gone"
    jobs.mkdir()
    (tmp_path / "rle").symlink_to(gone)
    for _ in range(2):
        link_jobs(tmp_path, jobs)
        assert (tmp_path / "rle").resolve() == jobs.resolve()
    gone.mkdir()
    link_jobs(tmp_path, gone)
    assert (tmp_path / "rle").resolve() == jobs.resolve()


def test_the_dashboard_is_where_the_variable_says_and_the_token_where_ray_looks(monkeypatch):
    monkeypatch.setenv("RLE_DASHBOARD_ADDRESS", "http://127.0.0.1:8265/")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 40)
    access = find_access()
    assert access.address == "http://127.0.0.1:8265"
    assert access.token.get_secret_value() == "t" * 40
    assert "ttt" not in repr(access)


@pytest.mark.parametrize(
    ("script", "says"),
    [("print('noise\\nhttp://10.0.0.1:8265')", None), ("import nothing_there", "nothing_there")],
)
def test_else_ray_is_asked(monkeypatch, script, says):
    monkeypatch.delenv("RLE_DASHBOARD_ADDRESS", raising=False)
    monkeypatch.setattr(head, "_ASK_RAY", script)
    if says is None:
        assert find_access().address == "http://10.0.0.1:8265"
    else:
        with pytest.raises(ConnectionError, match=rf"{says}.*RLE_DASHBOARD_ADDRESS"):
            find_access()
