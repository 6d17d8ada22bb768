"""How a job is handed to Ray: the same from a laptop and, after a restart, from the head itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rle.jobs.request import JobRequest

STOP_WAIT_S = 6
"""Seconds that a driver has to end its work once it was asked to, before Ray kills it."""

_LONGEST = 1_000


def entrypoint(request: JobRequest) -> str:
    """Return the command line of the job's driver; the head's PATH says which Python."""
    return f"python -m rle.jobs.driver {request.job_id}"


def metadata(request: JobRequest) -> dict[str, str]:
    """Return what the dashboard shows of the job; never a secret."""
    return {
        "rle_job": "1",
        "kind": request.kind,
        # Ray refuses what is long; the request has all of it.
        "experiment": request.work.experiment_name[:_LONGEST],
        "created_by": request.created_by[:_LONGEST],
    }


def env_vars() -> dict[str, str]:
    """Return the variables that the driver gets; never a secret."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
