"""Finds out where a job stands: from its files, from Ray, from what is kept here, from MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.engines.record import EngineState
from rle.errors import ConnectionError, JobManagerError, ValidationError
from rle.jobs.layout import EVENTS, LOG, REQUEST, STATE
from rle.jobs.request import JobRequest
from rle.jobs.standing import LOST, SUSPENDED, died, first_state, lost, of_record, waiting
from rle.jobs.state import JobState
from rle.runs.events import whole_events
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from rle.engines.lookup import OpenEngine
    from rle.engines.ray_api import RayApi, RayJob
    from rle.jobs.receipts import Receipts
    from rle.jobs.served import JobFiles

_TAIL_LINES = 200


class JobStates:
    """Where the jobs of one engine stand.

    Args:
        engine: The engine.
        files: Its jobs' files.
        receipts: What is kept here.
        api: Returns its dashboard; ConnectionError where it is not READY.
    """

    def __init__(
        self,
        engine: OpenEngine,
        files: JobFiles,
        receipts: Receipts,
        api: Callable[[], RayApi],
    ) -> None:
        self._engine, self._files = engine, files
        self._receipts, self._api = receipts, api
        self._is_here = engine.jobs_folder is not None

    def state(self, job_id: str) -> JobState:
        """Return where a job stands; see `JobClient.state`."""
        # How a job ended never changes.
        ended = self._receipts.end(job_id)
        if ended is not None:
            return ended
        state = self._written(job_id)
        if state is not None and state.status.is_terminal:
            return state
        try:
            ray = self._api().job(job_id)
        except ConnectionError:
            if not self._is_here:
                raise
            return self._while_down(job_id, state)
        if ray is None:
            return self._not_in_ray(job_id, state)
        if ray.status.is_terminal:
            return self._after_driver(job_id, ray)
        # Between the two looks it may have gone on; an older state is still no lie.
        return state or waiting(self._first(job_id, ray), ray)

    def others(self, known: Container[str]) -> Iterator[tuple[str, JobState]]:
        """Yield the jobs that were sent from here and that the engine does not know, by id."""
        asked_mlflow: dict[str, JobState] | None = None
        for job_id in self._receipts.all():
            if job_id in known:
                continue
            state = self._receipts.end(job_id)
            if state is None:
                request = self._receipts.read(job_id)
                if request is None:
                    continue
                if asked_mlflow is None and not self._is_here:
                    asked_mlflow = _records(None)
                state = (asked_mlflow or {}).get(job_id) or first_state(job_id, request)
            yield job_id, state

    def _written(self, job_id: str) -> JobState | None:
        """Return state.json; kept here, too, once it is the last."""
        text = self._files.read(job_id, STATE)
        if text is None:
            return None
        try:
            state = JobState.from_json(text)
        except ValidationError:
            return None  # of another version; the events may still say it
        if state.status.is_terminal and not self._is_here:
            self._receipts.keep_end(state)
        return state

    def _while_down(self, job_id: str, state: JobState | None) -> JobState:
        """Return the state of a job of an engine on this machine that does not answer."""
        if state is None:
            request = self._receipts.read(job_id)
            if request is None:
                raise self._unknown(job_id)
            return first_state(job_id, request)
        is_over = self._engine.status().state is EngineState.SUSPENDED
        if is_over and state.status is JobStatus.RUNNING:
            return lost(state, SUSPENDED)
        return state

    def _not_in_ray(self, job_id: str, state: JobState | None) -> JobState:
        if state is not None:
            # The driver may have ended between the two looks, and its job be forgotten since.
            again = self._written(job_id) or state
            return lost(again, LOST) if again.status is JobStatus.RUNNING else again
        request = self._receipts.read(job_id)
        recorded = None if self._is_here else _records(job_id).get(job_id)
        if recorded is not None:
            return recorded
        if request is None:
            raise self._unknown(job_id)
        return first_state(job_id, request)

    def _after_driver(self, job_id: str, ray: RayJob) -> JobState:
        """Return how a job ended whose driver is no more."""
        state = self._written(job_id)
        if state is not None and state.status.is_terminal:
            return state
        # The events are the truth, and may be ahead of state.json.
        state = self._first(job_id, ray)
        state = state.after(*whole_events(self._files.read(job_id, EVENTS) or b""))
        if state.status.is_terminal:
            return state
        from rle.jobs.failures import explain_death

        tail = self._files.read(job_id, LOG, lines=_TAIL_LINES) or b""
        why = explain_death(ray.message, tail.decode("utf-8", "replace"), ray.exit_code)
        return died(state, ray, why)

    def _first(self, job_id: str, ray: RayJob) -> JobState:
        request = self._receipts.read(job_id)
        if request is None and (text := self._files.read(job_id, REQUEST)) is not None:
            request = JobRequest.from_json(text)
        return first_state(job_id, request, ray)

    def _unknown(self, job_id: str) -> JobManagerError:
        name = self._engine.record.name
        other = self._receipts.engine_of(job_id)
        if other is not None and other != name:
            return JobManagerError(
                f"Engine {name!r} has no job {job_id}; it was sent to engine {other!r}.",
                "unknown_job",
            )
        return JobManagerError(
            f"Engine {name!r} has no job {job_id}. `rle jobs list` and JobManager.show_jobs() list "
            "those it has.",
            "unknown_job",
        )


def _records(job_id: str | None) -> dict[str, JobState]:
    """Return what MLflow has of this job, or of all; nothing where it cannot be asked."""
    from rle.runs.job_records import job_records
    from rle.runs.tracking import default_uri

    scheme, _, path = default_uri().partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        return {}  # loading MLflow takes seconds, and there is nothing to find
    try:
        return {one.job_id: of_record(one) for one in job_records(job_id=job_id)}
    except ConnectionError:
        return {}
