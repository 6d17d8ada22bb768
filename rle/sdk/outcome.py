"""What a job left behind, or why there is nothing: in errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import JobFailedError, JobMonitorError
from rle.jobs.materialize import MADE_ALREADY
from rle.jobs.request import job_type
from rle.runs.job_status import JobStatus
from rle.sdk.shown import error_of, failure

if TYPE_CHECKING:
    from pydantic import JsonValue

    from rle.jobs.state import JobState


TRAINING = ("train", "train_inference")
"""Kinds of jobs that train a model."""
PREDICTING = ("predict", "train_inference")
"""Kinds of jobs that have an output."""


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


def exports_of(state: JobState) -> dict[str, JsonValue]:
    """Return the names of the tables that a completed job has made.

    Raises:
        JobFailedError: It failed or was canceled.
        JobMonitorError: It has not ended, makes no tables, or has kept them as files.
    """
    result_of(state)
    if state.export_paths is None:
        how = f"is a {job_type(state.kind)} job and has made no tables."
        if keeps_files(state):
            how = (
                "has kept its predictions as files. materialize_results() makes their tables, "
                "unless they are there, and returns their names."
            )
        raise JobMonitorError(f"Job {state.job_id} {how}", "no_output")
    return state.export_paths


def trained_by(state: JobState) -> str | None:
    """Return the id of the model that a job trains; None before there is one, or for good."""
    return state.model_run_id if state.kind in TRAINING else None


def check_trains(state: JobState) -> None:
    """Raise JobMonitorError where a job trains no model that could be registered."""
    if state.kind not in TRAINING:
        raise JobMonitorError(
            f"Job {state.job_id} is a {state.kind} job: it has trained no model that could be "
            "registered. Register the model of the job that trained it.",
            "no_model",
        )


def check_predicts(state: JobState) -> None:
    """Raise JobMonitorError where a job has no output."""
    if state.kind not in PREDICTING:
        raise JobMonitorError(
            f"Job {state.job_id} is a {state.kind} job: it has no output.", "no_output"
        )


def keeps_files(state: JobState) -> bool:
    """Whether a job has kept its predictions as files instead of making tables."""
    return state.kind in PREDICTING and (state.result or {}).get("materialized") is False


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
