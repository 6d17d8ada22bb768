"""Jobs as MLflow keeps them: each one's run carries its id, so that ids outlive the engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rle.runs.events import RunStatus
from rle.runs.folders import make_home
from rle.runs.job_status import JobStatus
from rle.runs.tracking import JOB_TAG, connect, default_uri, in_our_words, terminate
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.runs.tracking import MlflowClient, Run

ID_TAG, KIND_TAG = "rle.job_id", "rle.job_kind"
ENGINE_TAG, USER_TAG = "rle.engine", "rle.created_by"
EXPORTS_TAG = "rle.export_paths"
"""Tag of a job's run: names of the tables it made, as JSON."""
MODEL_TAG = "rle.model_run_id"
"""Tag of a job's run that predicts: the run whose model it used."""
REQUEST_FILE = "request.json"
"""Artifact of a job's run: what was asked for."""
PAGE = 1000


class JobMark(Value):
    """What a run in MLflow is marked with where it is the work of a job. Carries no secret."""

    job_id: str
    kind: str
    """Of the work: "train", "predict", "train_inference", "materialize"."""
    engine: str
    """Name of the engine that runs it."""
    created_by: str
    request: str
    """What was asked for, as JSON; kept as an artifact."""

    @property
    def tags(self) -> dict[str, str]:
        """What the run is found by."""
        return {
            ID_TAG: self.job_id,
            KIND_TAG: self.kind,
            ENGINE_TAG: self.engine,
            USER_TAG: self.created_by,
        }


class JobRecord(Value):
    """A job as MLflow has it."""

    job_id: str
    kind: str
    status: JobStatus
    """RUNNING also where the engine was lost before it could say how the job ended."""
    experiment_name: str
    """ "dataset/task_type/task"."""
    engine: str
    created_by: str
    started_at: datetime
    finished_at: datetime | None
    run_id: str
    """The run in MLflow that is marked with the job."""
    model_run_id: str | None
    """The same, where the job trains a model; None otherwise."""
    export_paths: dict[str, str | dict[str, str]] | None = None
    """Names of the tables that it made."""


@in_our_words
def job_records(
    *, job_id: str | None = None, experiment_name: str | None = None, uri: str | None = None
) -> list[JobRecord]:
    """Return the jobs that MLflow heard of: all that began; the newest first.

    Args:
        job_id: This one alone.
        experiment_name: Those of this experiment alone; one that is not there has none.
        uri: Tracking address; `default_uri()` where it is None.

    Raises:
        ConnectionError: MLflow cannot be reached.
    """
    client = _client(uri)
    names = {e.experiment_id: e.name for e in _pages(client.search_experiments)}
    wanted = [i for i, name in names.items() if experiment_name in (None, name)]
    runs = _marked(client, wanted, job_id)
    found = [_record_of(run, names[run.info.experiment_id]) for run in runs]
    return sorted(found, key=lambda record: (record.started_at, record.run_id), reverse=True)


def find_job(job_id: str, *, uri: str | None = None) -> JobRecord | None:
    """Return the job of this id; None where MLflow never heard of it. See `job_records`."""
    return next(iter(job_records(job_id=job_id, uri=uri)), None)


@in_our_words
def end_job(job_id: str, status: JobStatus, *, uri: str | None = None) -> list[str]:
    """End the runs of a job whose driver died before it could; return their ids.

    A run that has ended is left as it is, so that saying it twice does no harm.

    Raises:
        ConnectionError: MLflow cannot be reached.
    """
    client = _client(uri)
    experiments = [e.experiment_id for e in _pages(client.search_experiments)]
    ids = [run.info.run_id for run in _marked(client, experiments, job_id)]
    return [i for i in ids if terminate(client, i, RunStatus(status.value.lower()))]


def _client(uri: str | None) -> MlflowClient:
    if uri is None:
        make_home()
    return connect(uri or default_uri())


def _marked(client: MlflowClient, experiments: list[str], job_id: str | None) -> list[Run]:
    if not experiments:
        return []
    asked = f"tags.`{ID_TAG}` " + ("LIKE '%'" if job_id is None else f"= '{_plain(job_id)}'")
    return _pages(client.search_runs, experiment_ids=experiments, filter_string=asked)


def _plain(job_id: str) -> str:
    return job_id.replace("'", "")  # no id has a quote, and none gets into the filter


def _pages(search: Callable[..., Any], **given: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(**given, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _record_of(run: Run, experiment_name: str) -> JobRecord:
    tags = run.data.tags
    exports = tags.get(EXPORTS_TAG)
    return JobRecord(
        job_id=tags[ID_TAG],
        kind=tags.get(KIND_TAG, ""),
        status=JobStatus.parse(run.info.status),
        experiment_name=experiment_name,
        engine=tags.get(ENGINE_TAG, ""),
        created_by=tags.get(USER_TAG, ""),
        started_at=_moment(run.info.start_time),
        finished_at=_moment(run.info.end_time) if run.info.end_time else None,
        run_id=run.info.run_id,
        model_run_id=run.info.run_id if tags.get(JOB_TAG, "").startswith("train") else None,
        export_paths=None if exports is None else json.loads(exports),
    )


def _moment(milliseconds: int | None) -> datetime:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)
