"""The journal goes forward only, whatever is asked of it, and survives crashes and full disks."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.errors import StorageError
from rle.jobs import lines, queue
from rle.jobs.queue import Entry, Queue, fold_journal, last_ended
from rle.jobs.request import new_job_id
from rle.runs.job_status import JobStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(job_id, status=JobStatus.QUEUED, *, second=0, **fields):
    return Entry(
        job_id=job_id, status=status, submitted_at=NOON + timedelta(seconds=second), **fields
    )


def journal(jobs):
    return (jobs / "queue.jsonl").read_bytes()


def test_a_job_goes_through_its_life(tmp_path):
    jobs, job = Queue(tmp_path), new_job_id()
    assert jobs.add(entry(job, kind="train", experiment_name="käse/x/y", created_by="ann"))
    assert jobs.move(job, JobStatus.RUNNING)
    assert jobs.move(job, JobStatus.COMPLETED, "completed in 3 s")
    ticket = Queue(tmp_path).ticket(job)
    assert (ticket.status, ticket.message) == (JobStatus.COMPLETED, "completed in 3 s")
    assert (ticket.kind, ticket.experiment_name, ticket.created_by) == ("train", "käse/x/y", "ann")
    assert ticket.queued_at <= ticket.started_at <= ticket.finished_at
    assert fold_journal(journal(tmp_path)) == jobs.tickets() == [ticket]


def test_order_is_by_submission_then_id_and_a_later_entry_does_not_change_it(tmp_path):
    jobs, (a, b, c) = Queue(tmp_path), sorted(new_job_id() for _ in range(3))
    for job, second in ((c, 5), (b, 7), (a, 7)):
        jobs.add(entry(job, second=second))
    jobs.add(entry(c, JobStatus.RUNNING, second=99))
    assert [ticket.job_id for ticket in jobs.tickets()] == [c, a, b]


def test_what_does_not_go_forward_is_not_written(tmp_path):
    jobs, job = Queue(tmp_path), new_job_id()
    jobs.add(entry(job))
    jobs.move(job, JobStatus.CANCELED)
    before = journal(tmp_path)
    for status in JobStatus:
        assert not jobs.move(job, status)
    assert not jobs.move(new_job_id(), JobStatus.RUNNING)
    assert journal(tmp_path) == before


@pytest.mark.parametrize("torn", [b"{", b'{"job_id": "', b'{"job_id":"x","status":"FAI'])
def test_a_torn_last_line_is_never_read_and_cut_off_by_the_next(tmp_path, torn):
    jobs, job = Queue(tmp_path), new_job_id()
    jobs.add(entry(job))
    whole = journal(tmp_path)
    # Also where what a crash left would, with the next line, be a line of its own.
    for cut in (torn, whole[:-1]):
        (tmp_path / "queue.jsonl").write_bytes(whole + cut)
        assert [t.status for t in fold_journal(whole + cut)] == [JobStatus.QUEUED]
        fresh = Queue(tmp_path)
        assert fresh.ticket(job).status is JobStatus.QUEUED
        assert fresh.move(job, JobStatus.RUNNING)
        assert journal(tmp_path).startswith(whole + b'{"job_id"')
        assert fresh.ticket(job).status is JobStatus.RUNNING
        assert Queue(tmp_path).ticket(job).status is JobStatus.RUNNING


def test_a_damaged_line_in_the_middle_is_left_out(tmp_path):
    jobs, one, two = Queue(tmp_path), new_job_id(), new_job_id()
    jobs.add(entry(one))
    with (tmp_path / "queue.jsonl").open("ab") as file:
        file.write(b"\x00\xff{]\n")
    jobs.add(entry(two))
    assert {ticket.job_id for ticket in fold_journal(journal(tmp_path))} == {one, two}


@pytest.mark.parametrize(
    "damaged",
    [
        {"submitted_at": "2026-03-01T12:00:00"},  # without a zone it has no place among the others
        {"at": "2026-03-01T12:00:00"},
        {"job_id": "../../x"},
    ],
)
def test_a_line_that_would_stop_the_queue_is_left_out(tmp_path, damaged):
    jobs, one = Queue(tmp_path), new_job_id()
    line = json.loads(entry(new_job_id(), JobStatus.RUNNING).to_json()) | damaged
    (tmp_path / "queue.jsonl").write_text(json.dumps(line) + "\n")
    jobs.add(entry(one))
    assert [ticket.job_id for ticket in jobs.tickets()] == [one]
    assert [ticket.job_id for ticket in fold_journal(journal(tmp_path))] == [one]


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    jobs, job = Queue(tmp_path), new_job_id()
    jobs.add(entry(job))
    before, write = journal(tmp_path), os.write

    def full(file, data):
        # It takes what still fits, then nothing.
        if len(data) > 40:
            return write(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(lines.os, "write", full)
    with pytest.raises(StorageError, match=r"queue\.jsonl.*No space left.*Free some space"):
        jobs.move(job, JobStatus.RUNNING)
    assert journal(tmp_path) == before
    monkeypatch.undo()
    assert jobs.ticket(job).status is JobStatus.QUEUED
    assert jobs.move(job, JobStatus.RUNNING)


def test_a_condition_is_asked_under_the_lock(tmp_path):
    jobs, job = Queue(tmp_path), new_job_id()
    jobs.add(entry(job))
    ticket = jobs.ticket(job)
    assert not jobs.add(ticket.moved(JobStatus.RUNNING), only_if=lambda tickets: False)
    assert jobs.ticket(job).status is JobStatus.QUEUED
    with jobs._locked(1.0), pytest.raises(StorageError, match=r"queue\.lock has been held"):
        Queue(tmp_path).move(job, JobStatus.RUNNING, timeout_s=0.05)


def test_a_reader_sees_what_others_add(tmp_path):
    reader, writer = Queue(tmp_path), Queue(tmp_path)
    ids = [new_job_id() for _ in range(5)]
    for second, job in enumerate(ids):
        writer.add(entry(job, second=second))
        assert [ticket.job_id for ticket in reader.tickets()] == ids[: second + 1]


def test_a_large_journal_forgets_its_oldest_finished_jobs_only(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "COMPACT_BYTES", 20_000)
    monkeypatch.setattr(queue, "KEPT_JOBS", 10)
    jobs, reader = Queue(tmp_path), Queue(tmp_path)
    live = new_job_id()
    jobs.add(entry(live, second=-1))
    ids = [new_job_id() for _ in range(60)]
    for second, job in enumerate(ids):
        jobs.add(entry(job, second=second))
        jobs.move(job, JobStatus.RUNNING)
        jobs.move(job, JobStatus.COMPLETED)
        assert reader.ticket(job).status is JobStatus.COMPLETED
    kept = [ticket.job_id for ticket in reader.tickets()]
    assert kept[0] == live
    assert kept[-10:] == ids[-10:]
    assert len(kept) < 60
    assert len(journal(tmp_path)) < 25_000
    assert fold_journal(journal(tmp_path)) == reader.tickets() == jobs.tickets()
    newest = reader.ticket(ids[-1])
    assert newest.queued_at
    assert newest.started_at


def test_last_ended_are_those_that_ran(tmp_path):
    jobs, ids = Queue(tmp_path), [new_job_id() for _ in range(12)]
    for second, job in enumerate(ids):
        jobs.add(entry(job, second=second))
        if second % 2:
            jobs.move(job, JobStatus.RUNNING)
        jobs.move(job, JobStatus.FAILED)
    assert [t.job_id for t in last_ended(jobs.tickets())] == ids[1::2][::-1]


def add_many(folder, second):
    jobs = Queue(folder)
    for _ in range(20):
        jobs.add(entry(new_job_id(), second=second))


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=add_many, args=(tmp_path, second)) for second in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Queue(tmp_path).tickets()) == 80
    assert journal(tmp_path).count(b"\n") == 80


def test_the_clock_may_go_backwards(tmp_path, monkeypatch):
    jobs, job = Queue(tmp_path), new_job_id()
    jobs.add(entry(job, at=NOON + timedelta(hours=2)))
    jobs.add(entry(job, JobStatus.RUNNING, at=NOON + timedelta(hours=1)))
    jobs.add(entry(job, JobStatus.COMPLETED, at=NOON))
    assert jobs.ticket(job).status is JobStatus.COMPLETED
    assert jobs.ticket(job).finished_at == NOON


IDS = [new_job_id() for _ in range(3)]


@given(
    moves=st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(JobStatus)), max_size=25),
    cut=st.integers(0, 10_000),
)
def test_any_moves_go_forward_and_every_reader_agrees(tmp_path_factory, moves, cut):
    folder = tmp_path_factory.mktemp("queue")
    jobs, expected = Queue(folder), {}
    for job, status in moves:
        known = expected.get(job, JobStatus.CREATED)
        assert jobs.add(entry(job, status, second=IDS.index(job))) is known.may_become(status)
        if known.may_become(status):
            expected[job] = status
    assert {ticket.job_id: ticket.status for ticket in jobs.tickets()} == expected
    if not expected:
        return
    data = journal(folder)
    assert fold_journal(data) == Queue(folder).tickets() == jobs.tickets()
    # Cut anywhere, it says where each job stood at some moment before.
    for ticket in fold_journal(data[:cut]):
        status = expected[ticket.job_id]
        assert ticket.status is status or ticket.status.may_become(status)
