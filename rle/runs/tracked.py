"""A run that MLflow tracks: opened, described, recorded and ended, in one block."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from rle.runs.events import ErrorEvent, RunEvent, RunStatus, StatusEvent
from rle.runs.folders import run_folder
from rle.runs.job_records import REQUEST_FILE
from rle.runs.machine import describe_machine
from rle.runs.progress import say_warning
from rle.runs.run import recorded
from rle.runs.tracking import JOB_TAG, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rle.runs.events import AnyEvent, EventLog
    from rle.runs.job_records import JobMark
    from rle.spec.dataset import DatasetSpec


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One run under way."""

    id: str
    """As MLflow gave it."""
    folder: Path
    """The run's own folder."""
    tell: EventLog
    """Writes an event and passes it on, to MLflow too."""
    tracker: Tracker


@contextmanager
def tracked(
    spec: DatasetSpec,
    *,
    params: Mapping[str, Any],
    kind: str,
    on_event: Callable[[AnyEvent], None] | None,
    job: JobMark | None = None,
) -> Iterator[TrackedRun]:
    """Open a run in MLflow and its folder, and end both as the block ends.

    Args:
        spec: What the run is about; names the experiment and is kept as dataset_config.yaml.
        params: Flat settings of the run. Must carry no secret.
        kind: What kind of run it is: "train" or "train_inference".
        on_event: Told of everything that happens. None: warnings are printed.
        job: What the run is marked with where it is the work of a job.
    """
    tracker = Tracker(
        spec.experiment_name,
        params=params,
        tags={JOB_TAG: kind, "rle.dataset": spec.name, "rle.task": spec.task.name}
        | (job.tags if job else {}),
    )
    folder = run_folder(tracker.run_id)
    listeners = (tracker, on_event or say_warning)
    message = f"{spec.experiment_name}, run {tracker.run_id}"
    with recorded(folder, listeners=listeners, message=message) as log:
        log(RunEvent(model_run_id=tracker.run_id, experiment_name=spec.experiment_name))
        if job is not None:
            tracker.log_text(REQUEST_FILE, job.request)
        described = {"experiment_name": spec.experiment_name} | spec.model_dump(mode="json")
        tracker.log_text("dataset_config.yaml", yaml.safe_dump(described, sort_keys=False))
        tracker.log_text("system_config.yaml", yaml.safe_dump(describe_machine(), sort_keys=False))
        yield TrackedRun(tracker.run_id, folder, log, tracker)


@contextmanager
def job_record(experiment: str, job: JobMark) -> Iterator[Tracker]:
    """Record in MLflow a job that trains no model: what it was, and how the block ended.

    Registered models, the best model and lists of models never look at such a run.

    Args:
        experiment: Name of the experiment that the job belongs to.
        job: What the run is marked with.
    """
    tracker = Tracker(experiment, params={}, tags={JOB_TAG: job.kind} | job.tags)
    tracker.log_text(REQUEST_FILE, job.request)
    try:
        yield tracker
    except BaseException as error:
        _end(tracker, error)
        raise
    tracker(StatusEvent(status=RunStatus.COMPLETED))


def record_failure(experiment: str, job: JobMark, error: BaseException) -> None:
    """Record in MLflow a job that ended before it had a run of its own."""
    tracker = Tracker(experiment, params={}, tags=job.tags)
    tracker.log_text(REQUEST_FILE, job.request)
    _end(tracker, error)


def _end(tracker: Tracker, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        tracker(StatusEvent(status=RunStatus.CANCELED))
        return
    tracker(ErrorEvent(error=type(error).__name__, message=str(error)))
    tracker(StatusEvent(status=RunStatus.FAILED))
