"""A client against a local engine, seen from its own machine and as if it were far away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rle.engines.local import LocalBackend
from rle.engines.lookup import OpenEngine, open_engine
from rle.engines.ray_api import RayApi
from rle.errors import ConnectionError
from rle.jobs.client import JobClient
from rle.jobs.request import MaterializeWork, new_job_id
from rle.runs.events import parse_event
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rle.engines.record import EngineRecord

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_engine")]
# Nobody predicted under this id, so the job fails as soon as it is its turn, in seconds.
WORK = MaterializeWork(source_job_id=new_job_id(), experiment_name="shop/regression/spend")


class FarBackend(LocalBackend):
    """The same engine as one sees it who shares no disk with it."""

    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        return None


@pytest.fixture
def here() -> Iterator[JobClient]:
    with JobClient(open_engine(None)) as client:
        yield client


@pytest.fixture
def far(tmp_path: Path) -> Iterator[JobClient]:
    engine = open_engine(None)
    with JobClient(OpenEngine(engine.record, engine.folder, FarBackend())) as client:
        yield client


@pytest.fixture
def api() -> Iterator[RayApi]:
    with RayApi(open_engine(None).access()) as api:
        yield api


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_job_is_followed_from_the_hand_over_to_its_end(here, far):
    job_id = far.submit(WORK, upload_code=True).job_id
    log = b"".join(far.follow_log(job_id))
    state = far.state(job_id)
    assert state.status is JobStatus.FAILED
    assert WORK.source_job_id in state.error.message
    assert here.state(job_id) == state
    assert here.log(job_id).encode() == log
    events, offset = far.events(job_id)
    assert [parse_event(line) for line in log.splitlines() if line.startswith(b'{"')] == events
    assert here.events(job_id) == (events, offset)
    assert b"".join(here.follow_log(job_id)) == log
    assert far.request(job_id).has_code
    for client in (here, far):
        (summary,) = (job for job in client.states() if job.job_id == job_id)
        assert (summary.status, summary.message) == (JobStatus.FAILED, state.message)
        assert summary.finished_at is not None


def test_a_job_that_waits_is_canceled(here, far, api):
    first = new_job_id()  # a job of ours whose driver never says a word
    api.submit(
        first,
        entrypoint="sleep 1000",
        package=None,
        metadata={"rle_job": "1"},
        env_vars={},
    )
    try:
        job_id = far.submit(WORK).job_id
        wait_for(lambda: far.state(job_id).ahead is not None)
        assert far.state(job_id).status is JobStatus.QUEUED
        far.cancel(job_id)
        wait_for(lambda: here.state(job_id).status is JobStatus.CANCELED)
        here.cancel(job_id)
    finally:
        assert api.stop(first)
    wait_for(lambda: api.job(first).status is JobStatus.CANCELED)
    assert far.state(first).status is JobStatus.CANCELED


def test_ray_tells_of_its_version_nodes_and_files(api):
    assert api.version().startswith("2.")
    (head,) = (node for node in api.nodes() if node.is_head)
    assert head.is_alive
    assert "raylet.out" in api.files("raylet.*", node=head.id)
    assert api.read_file("raylet.out", lines=1).count(b"\n") == 1
    assert [api.read_file(f"missing-{number}") for number in range(20)] == [None] * 20
    with pytest.raises(ConnectionError, match="doesn't exist"):
        api.read_file("raylet.out", node="ab" * 28)
