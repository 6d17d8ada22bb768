"""Waits for the end of a job: over an engine that does not answer for a while, not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rle.engines.record import EngineState
from rle.errors import (
    ConnectionError,
    JobMonitorError,
    JobTimeoutError,
    RLEError,
    ValidationError,
)
from rle.sdk.shown import activity

if TYPE_CHECKING:
    from rle.jobs.state import JobState
    from rle.sdk.engine_jobs import EngineJobs

SHORTEST_S, LONGEST_S = 0.1, 2.0
"""Time between two looks at a job, in seconds: it grows from one to the other."""
OUTAGE_S = 180.0
"""How long an engine that does not answer is waited for, in seconds."""


def wait_for(engine: EngineJobs, job_id: str, *, timeout_s: float | None) -> JobState:
    """Return the state in which a job ended.

    Raises:
        JobTimeoutError: It has not ended in time; says where it stands.
        ConnectionError: The engine has not answered for `OUTAGE_S`.
        JobMonitorError: The engine was suspended before the job ended.
    """
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and timeout_s >= 0):
        raise ValidationError(f"timeout must be 0 seconds or more, not {timeout_s!r}.")
    begun = answered = time.monotonic()
    pause = SHORTEST_S
    while True:
        try:
            state = engine.jobs.state(job_id)
            if state.status.is_terminal:
                return state
            check_runs(engine, job_id)
            answered = time.monotonic()
        except ConnectionError:
            if time.monotonic() - answered > OUTAGE_S:
                raise
        gone = time.monotonic() - begun
        if timeout_s is not None and gone >= timeout_s:
            raise _timed_out(engine, job_id, timeout_s)
        time.sleep(pause if timeout_s is None else min(pause, timeout_s - gone))
        pause = min(pause * 1.5, LONGEST_S)


def check_runs(engine: EngineJobs, job_id: str) -> None:
    """Raise JobMonitorError where an engine was suspended before a job of it had ended."""
    if engine.ask_state() is not EngineState.SUSPENDED:
        return
    state = engine.jobs.state(job_id)  # it may have ended just before the engine was suspended
    if not state.status.is_terminal:
        raise JobMonitorError(
            f"Engine {engine.name!r} was suspended while job {job_id} was {state.status.value}. "
            f"Resume it with Provider.resume_gnn({engine.name!r}) or `rle engine resume "
            f"{engine.name}`; its queue goes on then.",
            "engine_suspended",
        )


def _timed_out(engine: EngineJobs, job_id: str, timeout_s: float) -> JobTimeoutError:
    try:
        state = engine.jobs.state(job_id)
        stands = f"it is {state.status.value}, {activity(state)}".rstrip(", ")
    except (RLEError, OSError) as error:
        stands = f"engine {engine.name!r} does not say where it stands ({error})"
    return JobTimeoutError(
        f"Job {job_id} has not ended after {timeout_s:g} s: {stands}. It goes on; wait() waits "
        "again, cancel() stops it.",
        "timeout",
    )
