"""A job's events and logs, read through a dashboard that fails when told to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rle.errors import ConnectionError, JobManagerError, JobMonitorError
from rle.jobs.request import new_job_id
from rle.runs.events import JobEvent, MetricEvent
from rle.runs.job_status import JobStatus
from tests.engines.dashboard import HEAD, WORKER, Dashboard

if TYPE_CHECKING:
    from tests.jobs.boards import Place


# Events and logs


def test_events_go_on_where_they_were_left(place):
    job_id = place.sent()
    assert place.client.events(job_id) == ([], 0)
    with place.recorder(job_id) as recorder:
        recorder(JobEvent(job_id=job_id, status=JobStatus.QUEUED))
        recorder(MetricEvent(name="loss", value=1.0, step=1))
        first, offset = place.client.events(job_id)
        assert [event.type for event in first] == ["job", "metric"]
        with (place.jobs / job_id / "events.jsonl").open("ab") as file:
            file.write(b'{"type": "half')
        assert place.client.events(job_id, offset=offset) == ([], offset)


def follow(place: Place, job_id: str, offset: int = 0) -> bytes:
    return b"".join(place.client.follow_log(job_id, offset=offset))


def test_a_log_is_followed_to_the_end_of_its_job_in_whole_lines(place):
    job_id = place.sent()
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING)
    log = place.jobs / job_id / "log.txt"
    log.write_bytes(b"one\ntw")
    blocks = filter(None, place.client.follow_log(job_id))
    assert next(blocks) == b"one\n"
    with log.open("ab") as file:
        file.write(b"o\nthree\nfour")
    assert next(blocks) == b"two\nthree\n"
    place.say(job_id, JobStatus.COMPLETED)
    assert list(blocks) == [b"four"]


def test_a_log_goes_on_from_an_offset(place):
    job_id = place.sent()
    (place.jobs / job_id).mkdir(exist_ok=True)
    text = "".join(f"línea {n}\n" for n in range(20_000)).encode()
    (place.jobs / job_id / "log.txt").write_bytes(text)
    place.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    assert follow(place, job_id) == text
    half = text.index(b"\n", len(text) // 2) + 1
    assert follow(place, job_id, half) == text[half:]
    assert follow(place, job_id, len(text)) == b""


def test_a_log_that_is_cut_goes_on_without_a_gap_or_a_double(far):
    job_id = far.sent()
    (far.jobs / job_id).mkdir()
    text = b"".join(b"line %d\n" % n for n in range(30_000))
    (far.jobs / job_id / "log.txt").write_bytes(text)
    far.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    far.board.cut_streams_after = 100_003
    got = bytearray()

    def follow_all() -> None:
        for block in far.client.follow_log(job_id):
            assert block.endswith(b"\n")
            got.extend(block)

    with pytest.raises(ConnectionError, match="cut the connection"):
        follow_all()
    assert 0 < len(got) <= 100_003
    got += follow(far, job_id, len(got))
    assert bytes(got) == text


def test_leaving_a_log_early_ends_its_thread(far):
    job_id = far.sent()
    (far.jobs / job_id).mkdir()
    (far.jobs / job_id / "log.txt").write_bytes(b"x\n")
    before = threading.active_count()
    blocks = far.client.follow_log(job_id)
    assert next(filter(None, blocks)) == b"x\n"
    blocks.close()
    assert threading.active_count() <= before + 1  # the dashboard's own


def test_a_driver_that_never_began_leaves_rays_words(place):
    job_id = place.sent()
    (place.board.logs / f"job-driver-{job_id}.log").write_text("No module named 'rle'\n")
    place.board.jobs[job_id] |= {"status": "FAILED", "message": "failed", "driver_exit_code": 1}
    assert follow(place, job_id) == b"No module named 'rle'\n"
    assert place.client.log(job_id) == "No module named 'rle'\n"


def test_a_driver_that_dies_before_its_log_while_it_is_watched_leaves_rays_words(place):
    job_id = place.sent()
    blocks = place.client.follow_log(job_id)
    assert next(blocks) == b""
    (place.board.logs / f"job-driver-{job_id}.log").write_text("no such file: python\n")
    place.board.jobs[job_id] |= {"status": "FAILED", "message": "failed", "driver_exit_code": 127}
    assert b"".join(blocks) == b"no such file: python\n"


def test_a_tail_that_a_busy_head_sends_late_is_waited_for(far):
    job_id = far.sent()
    (far.jobs / job_id).mkdir()
    (far.jobs / job_id / "log.txt").write_bytes(b"first\nlast\n")
    far.say(job_id, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    far.board.hold_streams_after = 6
    blocks = far.client.follow_log(job_id)
    assert next(blocks) == b"first\n"
    release = threading.Timer(1.5, far.board.release_streams)
    release.start()
    assert b"".join(blocks) == b"last\n"
    release.join()


def test_logs_and_events_of_an_unknown_job_are_an_error(place):
    for ask in (place.client.events, place.client.log, place.client.nodes):
        with pytest.raises(JobManagerError, match="has no job"):
            ask(new_job_id())
    with pytest.raises(JobManagerError, match="has no job"):
        next(place.client.follow_log(new_job_id()))


def test_a_log_is_read_whole_or_by_its_last_lines(place):
    job_id = place.sent()
    (place.jobs / job_id).mkdir(exist_ok=True)
    (place.jobs / job_id / "log.txt").write_text("a\nb\nc\n")
    assert place.client.log(job_id) == "a\nb\nc\n"
    assert place.client.log(job_id, lines=2) == "b\nc\n"


def test_what_native_code_wrote_of_secrets_is_not_told(place):
    job_id = place.sent()
    place.board.jobs[job_id]["job_id"] = "02000000"
    (place.jobs / job_id).mkdir(exist_ok=True)
    (place.jobs / job_id / "log.txt").write_text("login with password=hunter2\n")
    for folder in (place.board.logs / HEAD, place.board.logs):
        folder.mkdir(exist_ok=True)
        (folder / "worker-a-02000000-1.out").write_text("token=hunter2\n")
    assert place.client.log(job_id) == "login with password=***\n"
    assert place.client.log(job_id, node=HEAD).endswith("token=***\n")


def test_workers_logs_are_told_node_by_node(place):
    job_id = place.sent()
    assert place.client.nodes(job_id) == []
    place.board.jobs[job_id]["job_id"] = "02000000"
    for node, name, text in (
        (HEAD, "worker-a-02000000-1.out", "on the head\n"),
        (WORKER, "worker-b-02000000-2.out", "one\ntwo\n"),
        (WORKER, "worker-c-03000000-3.out", "of another job\n"),
    ):
        folder = place.board.logs / node
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        if node == HEAD:
            (place.board.logs / name).write_text(text)
    assert place.client.nodes(job_id) == [HEAD, WORKER]
    wanted = "==> worker-b-02000000-2.out <==\none\ntwo\n"
    for node in (WORKER, WORKER[:6], "10.0.0.2"):
        assert place.client.log(job_id, node=node) == wanted
    assert place.client.log(job_id, node="head").endswith("on the head\n")
    assert place.client.log(job_id, node=WORKER, lines=1).endswith("<==\ntwo\n")
    with pytest.raises(JobMonitorError, match=r"no worker on node '10\.9\.9\.9'"):
        place.client.log(job_id, node="10.9.9.9")


def test_an_engine_that_was_resumed_at_another_port_is_found(far, tmp_path):
    job_id = far.sent()
    with Dashboard(tmp_path / "logs2") as other:
        other.add_job(job_id)
        far.backend.board = other
        assert far.client.state(job_id).status is JobStatus.QUEUED
        far.client.close()
