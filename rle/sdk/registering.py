"""The model of a job in MLflow's registry: the MLflow that its engine uses, or a clear word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import ConnectionError, JobMonitorError, UnknownNameError
from rle.runs.redact import redact
from rle.runs.tracking import TRACKING_URI, default_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from rle.runs.trained import RegisteredVersion


def register_job_model(
    run_id: str,
    model_name: str,
    *,
    version_name: str | None,
    comment: str | None,
    result: Mapping[str, JsonValue] | None,
) -> RegisteredVersion:
    """Register the model of a job's run; `result` says which MLflow has it.

    Raises:
        JobMonitorError: This process asks another MLflow.
        RLEError: As `ModelManager.register_model`.
    """
    from rle.sdk.models import ModelManager

    _check_same_mlflow(result)
    try:
        return ModelManager().register(
            run_id, model_name, version_name=version_name, comment=comment
        )
    except (UnknownNameError, ConnectionError) as error:
        if _address(result) is not None:  # the right MLflow, which has its own reason
            raise
        raise _elsewhere(result, str(error)) from error


def versions_of_job(
    run_id: str, *, result: Mapping[str, JsonValue] | None
) -> tuple[RegisteredVersion, ...]:
    """Return the registered versions of the model of a job's run.

    Raises:
        JobMonitorError: This process asks another MLflow.
    """
    from rle.sdk.models import ModelManager

    _check_same_mlflow(result)
    return ModelManager().registered_models(run_id)


def _check_same_mlflow(result: Mapping[str, JsonValue] | None) -> None:
    theirs, ours = _address(result), redact(default_uri())
    if theirs is not None and theirs != ours:
        raise _elsewhere(result, f"This process asks {ours}.")


def _address(result: Mapping[str, JsonValue] | None) -> str | None:
    """Return the address of the engine's MLflow, without a password; None where nobody knows."""
    tracking = (result or {}).get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    return uri if isinstance(uri, str) else None


def _elsewhere(result: Mapping[str, JsonValue] | None, why: str) -> JobMonitorError:
    place = _address(result) or "the MLflow of its engine"
    return JobMonitorError(
        f"The job's model is in {place}. {why} Set {TRACKING_URI} to that address, with user and "
        "password where it needs them, and try again.",
        "other_mlflow",
    )
