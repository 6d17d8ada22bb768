"""What a job left behind, or why there is nothing: in errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import JobFailedError, JobMonitorError
from rle.jobs.materialize import MADE_ALREADY
from rle.jobs.request import PredictWork, TrainInferenceWork, TrainWork
from rle.runs.job_status import JobStatus
from rle.sdk.shown import error_of, failure

if TYPE_CHECKING:
    from pydantic import JsonValue

    from rle.jobs.request import JobRequest
    from rle.jobs.state import JobState


def result_of(state: JobState) -> dict[str, JsonValue]:
    """Return the result of a completed job.

    Raises:
        JobFailedError: It failed or was canceled; says why, and what helps.
        JobMonitorError: It has not ended.
    """
    if not state.status.is_terminal:
        raise JobMonitorError(
            f"Job {state.job_id} has no result yet: it is {state.status.value}. wait() waits for "
            "its end.",
            "not_finished",
        )
    error = error_of(state)
    if error is not None:
        raise JobFailedError(f"Job {state.job_id} failed. {failure(error)}", "job_failed")
    if state.status is JobStatus.CANCELED:
        raise JobFailedError(f"Job {state.job_id} was canceled: it has no result.", "job_canceled")
    return state.result or {}


def exports_of(state: JobState, request: JobRequest) -> dict[str, JsonValue]:
    """Return the names of the tables that a completed job has made.

    Raises:
        JobFailedError: It failed or was canceled.
        JobMonitorError: It has not ended, makes no tables, or has kept them as files.
    """
    result_of(state)
    if state.export_paths is None:
        way_out = " materialize_results() makes them." if keeps_files(request) else ""
        raise JobMonitorError(
            f"Job {state.job_id} is a {state.kind} job and has made no tables.{way_out}",
            "no_output",
        )
    return state.export_paths


def trained_by(state: JobState) -> str | None:
    """Return the id of the model that a job trains; None before there is one, or for good."""
    return state.model_run_id if state.kind in ("train", "train_inference") else None


def check_trains(request: JobRequest) -> None:
    """Raise JobMonitorError where a job trains no model that could be registered."""
    if not isinstance(request.work, TrainWork | TrainInferenceWork):
        raise JobMonitorError(
            f"Job {request.job_id} is a {request.kind} job: it has trained no model that could be "
            "registered. Register the model of the job that trained it.",
            "no_model",
        )


def check_predicts(request: JobRequest) -> None:
    """Raise JobMonitorError where a job has no output."""
    if not isinstance(request.work, PredictWork | TrainInferenceWork):
        raise JobMonitorError(
            f"Job {request.job_id} is a {request.kind} job: it has no output.", "no_output"
        )


def keeps_files(request: JobRequest) -> bool:
    """Whether a job keeps its predictions as files instead of making tables."""
    work = request.work
    return isinstance(work, PredictWork | TrainInferenceWork) and not work.materialize


def made_by(state: JobState, *, source: JobState) -> dict[str, JsonValue]:
    """Return the names of the tables that a job made of another one's files.

    Args:
        state: Of the job that made them, at its end.
        source: Of the job that predicted.

    Raises:
        JobFailedError: They could not be made.
    """
    planned = (source.result or {}).get("planned_paths")
    error = error_of(state)
    if error is not None and MADE_ALREADY in error.message and isinstance(planned, dict):
        return planned  # by another process, at some other time
    paths = result_of(state).get("export_paths")
    return paths if isinstance(paths, dict) else {}
