"""Stands in for the SDK: remembers what it was asked for, and answers as told."""

from __future__ import annotations

from datetime import UTC, datetime

from rle.errors import JobManagerError
from rle.jobs.listing import JobSummary
from rle.jobs.request import check_job_id
from rle.jobs.state import JobState
from rle.runs.events import ErrorEvent, JobEvent, ResultEvent
from rle.runs.job_status import JobStatus
from rle.sdk.shown import failure
from rle.spec.show import say

JOB = "3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class FakeJob:
    """A job whose end is known from the beginning."""

    def __init__(self, end="COMPLETED", *, interrupted=False):
        self.job_id, self.end, self.interrupted = JOB, JobStatus(end), interrupted
        self.calls = []
        self._state = JobState(
            job_id=JOB, kind="train", experiment_name="shop/regression/spend", created_by="ann"
        ).after(JobEvent(job_id=JOB, status="QUEUED", ahead=2, time=NOON))

    @property
    def status(self):
        return self._state.status

    @property
    def error(self):
        return self._state.error

    def wait(self):
        self.calls.append("wait")
        if self.interrupted:
            raise KeyboardInterrupt
        events = [JobEvent(job_id=JOB, status="RUNNING", time=NOON)]
        if self.end is JobStatus.FAILED:
            events.append(
                ErrorEvent(error="OutOfMemory", message="no room", advice="halve the batch",
                           traceback="line 1\nline 2\n")
            )  # fmt: skip
        if self.end is JobStatus.COMPLETED:
            events.append(ResultEvent(result={"metrics": {"best_validation_mae": 1.5}}))
        self._state = self._state.after(*events, JobEvent(job_id=JOB, status=self.end, time=NOON))
        return self.end

    def stream_logs(self):
        self.calls.append("stream_logs")
        say("a line of the log")
        if not self.interrupted:
            self.wait()

    def get_status(self):
        error = self._state.error
        said = error and failure(error)
        return self._state.as_status() | {"engine": "e1", "error": said}

    def get_logs(self, node=None, lines=None):
        self.calls.append(("get_logs", node, lines))
        return "first\nlast\n"

    def events(self):
        return [JobEvent(job_id=JOB, status="QUEUED", time=NOON)]


class FakeTrainer:
    """Trainer; the last one made is `FakeTrainer.last`, and `job` is what it returns."""

    job: FakeJob
    last: FakeTrainer

    def __init__(self, connector, config=None, *, engine=None, upload_code=False):
        self.connector, self.config = connector, config
        self.engine, self.upload_code = engine, upload_code
        self.call = None
        type(self).last = self
        say("warning: said by the SDK")

    def _submit(self, name, arguments):
        self.call = (name, arguments)
        return self.job

    def fit(self, dataset, **arguments):
        return self._submit("fit", {"dataset": dataset} | arguments)

    def fit_predict(self, **arguments):
        return self._submit("fit_predict", arguments)

    def predict(self, **arguments):
        return self._submit("predict", arguments)


class FakeManager:
    """JobManager of an engine with one job."""

    job: FakeJob
    engine: str | None = None

    def __init__(self, connector=None, engine=None):
        type(self).engine = engine

    def fetch_job(self, job_id):
        check_job_id(job_id)
        if job_id != JOB:
            raise JobManagerError(f"Engine 'e1' has no\njob {job_id}.", "unknown_job")
        return self.job

    def cancel_job(self, job_id):
        status = self.fetch_job(job_id).status
        if status.is_terminal:
            raise JobManagerError(f"Job {job_id} is {status}.", "job_ended")
        return True

    def list_jobs(self, status=None, limit=None):
        summary = JobSummary(
            job_id=JOB, status="QUEUED", kind="predict", experiment_name="shop/regression/spend",
            created_by="ann", queued_at=NOON, started_at=None, finished_at=None, message="",
            engine="e1",
        )  # fmt: skip
        wanted = JobStatus.parse(status) if status else summary.status
        return [summary][:limit] if wanted is summary.status else []

    def show_jobs(self, status=None, limit=None):
        for job in self.list_jobs(status, limit):
            say(job.job_id)
