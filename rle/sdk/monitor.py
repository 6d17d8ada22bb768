"""JobMonitor: one job, from any process that knows its id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rle.errors import JobMonitorError, RLEError, ValidationError
from rle.jobs.request import MaterializeWork, check_job_id
from rle.sdk.engine_jobs import jobs_on, jobs_with
from rle.sdk.follow import LogFollower, ending, view_of
from rle.sdk.notebook import job_html, text
from rle.sdk.outcome import (
    check_predicts,
    check_trains,
    exports_of,
    keeps_files,
    made_by,
    result_of,
    trained_by,
)
from rle.sdk.registering import register_job_model, versions_of_job
from rle.sdk.shown import activity, error_of, failure
from rle.sdk.waiting import wait_for
from rle.spec.show import say

if TYPE_CHECKING:
    from pydantic import JsonValue

    from rle.jobs.request import JobRequest
    from rle.jobs.state import JobState
    from rle.runs.events import AnyEvent, ErrorEvent
    from rle.runs.job_status import JobStatus
    from rle.runs.trained import RegisteredVersion
    from rle.sdk.engine_jobs import EngineJobs


class JobMonitor:
    """One job of an engine: where it stands, what it says, what came of it.

    It holds nothing but the job's id and the engine's name: the job goes on without it, and any
    other process makes one with `from_id`. What is asked is asked anew each time.

    Args:
        job_id: As `job_id` of another monitor, or `rle jobs list`, says it.
        engine: Name of the engine; None: $RLE_ENGINE, or the only engine there is.

    Raises:
        ValidationError: `job_id` has not the form of one.
        ConnectionError: There is no such engine. Methods raise it where it does not answer.
    """

    def __init__(self, job_id: str, engine: str | EngineJobs | None = None) -> None:
        self._job_id = check_job_id(job_id)
        self._on = jobs_on(engine)
        self._follower = LogFollower(self._on, self._job_id)
        self._request: JobRequest | None = None
        self._made: dict[str, JsonValue] | None = None

    @classmethod
    def from_id(cls, job_id: str, engine: str | EngineJobs | None = None) -> JobMonitor:
        """Return the monitor of a job that some process submitted.

        Args:
            job_id: Of the job.
            engine: Where it is; None: where this machine submitted it to, or as in the constructor.

        Raises:
            JobManagerError: The engine has no such job.
        """
        return cls(job_id, jobs_with(job_id, engine))

    @property
    def job_id(self) -> str:
        """Id of the job: all that another process needs."""
        return self._job_id

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._on.name

    @property
    def request(self) -> JobRequest:
        """What was asked for."""
        if self._request is None:
            self._request = self._on.jobs.request(self._job_id)
        return self._request

    @property
    def status(self) -> JobStatus:
        """Where it stands; equal to its name as text, such as "RUNNING"."""
        return self._state().status

    def get_status(self) -> dict[str, Any]:
        """Return all that is known in plain values.

        Keys: job_id, engine, status, message, ahead, queued_at, started_at, finished_at,
        updated_at, experiment_name, job_type ("train", "inference", "train_inference" or
        "materialize"), model_run_id, progress (stage, step, num_steps, epoch, num_epochs, loss,
        detail, seconds_left), metrics, warnings, result, export_paths, error. Times are UTC by the
        engine's clock. What is not known yet is None.
        """
        state = self._state()
        error = error_of(state)
        said = error and failure(error)
        return state.as_status() | {"engine": self.engine, "error": said}

    @property
    def experiment_name(self) -> str:
        """Experiment that the job belongs to: dataset/task_type/task."""
        return self._state().experiment_name

    @property
    def model_run_id(self) -> str:
        """Id of the model that the job trains, as soon as there is one; `predict` takes it.

        Raises:
            JobMonitorError: No model has been trained: not yet, or a job of this kind trains none.
        """
        state = self._state()
        run_id = trained_by(state)
        if run_id is None:
            raise JobMonitorError(
                f"No model has been trained by job {self._job_id}: it is a {state.kind} job and "
                f"{state.status.value}.",
                "no_model",
            )
        return run_id

    @property
    def result(self) -> dict[str, JsonValue]:
        """What came of it: metrics, paths of files, names of tables.

        Raises:
            JobFailedError: It failed or was canceled; says why, and what helps.
            JobMonitorError: It has not ended.
        """
        return result_of(self._state())

    @property
    def export_paths(self) -> dict[str, JsonValue]:
        """Names of the tables: {"predictions": table, "embeddings": {column: table}}.

        Raises:
            JobFailedError: It failed or was canceled.
            JobMonitorError: It has not ended, makes no tables, or has kept them as files.
        """
        return self._made or exports_of(self._state())

    @property
    def error(self) -> ErrorEvent | None:
        """Why it failed: `message`, `advice` and the original `traceback`. None: it did not."""
        return error_of(self._state())

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Return the status in which the job ended. Ctrl-C ends the wait, not the job.

        Args:
            timeout: Seconds; None: as long as it takes.

        Raises:
            JobTimeoutError: It has not ended by then; says where it stands. A TimeoutError.
            ConnectionError: The engine has not answered for minutes.
            JobMonitorError: The engine was suspended before the job ended.
        """
        return wait_for(self._on, self._job_id, timeout_s=timeout).status

    def cancel(self) -> bool:
        """Take the job out of the queue, or stop it. Twice is fine while it goes on.

        Returns:
            True: it is being stopped; within ten seconds it is CANCELED and nothing of it runs.

        Raises:
            JobManagerError: It has ended already; says how.
        """
        self._on.jobs.cancel(self._job_id)
        return True

    def stream_logs(self, num_retries: int = 3, retry_delay: float = 1.0) -> None:
        """Print what the job says until it ends: one live bar and lines.

        Ctrl-C stops printing, not the job. The next call goes on where this one stopped; no line
        comes twice. A lost connection is taken up again, and an engine that starts again is waited
        for.

        Args:
            num_retries: How often in a row a lost connection is tried again.
            retry_delay: Seconds before the first try; each next one waits twice as long.

        Raises:
            ConnectionError: The connection is lost for good.
            JobMonitorError: The engine was suspended before the job ended.
            JobManagerError: The engine has no such job.
        """
        state = self._state()
        words = f"{state.kind} {state.experiment_name}, engine {self.engine}"
        say(f"job {self._job_id}: {words}")
        try:
            with view_of(state) as view:
                ended = self._follower.follow(
                    view, num_retries=num_retries, retry_delay=retry_delay
                )
        except KeyboardInterrupt:
            say(
                f"stopped watching; job {self._job_id} goes on. stream_logs() or `rle jobs logs` "
                "watches again, cancel() or `rle jobs cancel` stops the job."
            )
            return
        say(ending(ended).rstrip("\n"))

    def get_logs(self, node: str | None = None, lines: int | None = None) -> str:
        """Return what the job has printed so far.

        Args:
            node: One of `nodes()`; None: the driver's log, which has the job's events.
            lines: Only the last so many; None: all.

        Raises:
            ValidationError: `lines` is no such number.
            JobMonitorError: There is no such node, or it has no log of this job.
        """
        if lines is not None and (type(lines) is not int or lines < 1):
            raise ValidationError(f"lines must be 1 or more, or None for all, not {lines!r}.")
        return self._on.jobs.log(self._job_id, node=node, lines=lines)

    def nodes(self) -> list[str]:
        """Return the nodes of the engine that have a log of this job; see `get_logs`."""
        return self._on.jobs.nodes(self._job_id)

    def events(self) -> list[AnyEvent]:
        """Return everything that happened, in order; docs/job-protocol.md says what there is."""
        return self._on.jobs.events(self._job_id)[0]

    def register_model(
        self,
        model_name: str,
        version_name: str | None = None,
        comment: str | None = None,
        *,
        database: str | None = None,
        schema: str | None = None,
    ) -> RegisteredVersion:
        """Register the job's model as the next version of `model_name`: "1", then "2" and so on.

        Args:
            model_name: The registered model; made where it is not there.
            version_name: Another name for the version, shown in MLflow as its alias.
            comment: Shown beside the version.
            database: Of warehouses that keep models themselves. MLflow keeps ours, by their names
                alone, so it changes nothing; a line says so.
            schema: As `database`.

        Raises:
            JobMonitorError: The job trains no model, has not completed, or its model is in another
                MLflow than this process asks; names MLFLOW_TRACKING_URI.
            ModelManagerError: It is registered as `model_name` already, or `version_name` is taken.
        """
        if database is not None or schema is not None:
            say(
                f"database and schema are not used: MLflow keeps {model_name!r} under its name "
                "alone."
            )
        state = self._state()
        check_trains(state)
        result = result_of(state)
        version = register_job_model(
            str(trained_by(state)),
            model_name,
            version_name=version_name,
            comment=comment,
            result=result,
        )
        say(
            f"Successfully registered model '{version.name}' with version '{version.version}' for "
            f"job '{self._job_id}'"
        )
        return version

    @property
    def registered_models(self) -> tuple[RegisteredVersion, ...]:
        """The registered versions of the job's model; empty where there is none."""
        state = self._state()
        run_id = trained_by(state)
        return () if run_id is None else versions_of_job(run_id, result=state.result)

    def materialize_results(self, timeout: float | None = None) -> dict[str, JsonValue]:
        """Make the tables of a job that kept its predictions as files; wait until they are there.

        A job that still runs is waited for. One whose tables are made already says their names.

        Args:
            timeout: Seconds that all this may take; None: as long as it takes.

        Returns:
            As `export_paths`.

        Raises:
            JobFailedError: This job, or the one that makes its tables, failed or was canceled.
            JobMonitorError: The job predicts nothing.
            JobTimeoutError: It took longer.
        """
        begun = time.monotonic()
        check_predicts(self._state())
        state = wait_for(self._on, self._job_id, timeout_s=timeout)
        result_of(state)
        if not keeps_files(state):
            return exports_of(state)
        if self._made is None:
            work = MaterializeWork(
                source_job_id=self._job_id, experiment_name=state.experiment_name
            )
            making = self._on.jobs.submit(work)
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begun))
            self._made = made_by(wait_for(self._on, making.job_id, timeout_s=left), source=state)
        return self._made

    def _state(self) -> JobState:
        return self._on.jobs.state(self._job_id)

    def _words(self) -> str:
        """Return in a line where the job stands, or why nobody knows; never raises."""
        try:
            state = self._state()
        except (RLEError, OSError, ValueError) as error:
            return f"status unknown, {error}"
        return f"{state.kind} {state.status.value}: {activity(state)}".rstrip(": ")

    def __repr__(self) -> str:
        return f"<JobMonitor {self._job_id} on {self.engine!r}: {self._words()}>"

    def _repr_html_(self) -> str:
        try:
            return job_html(self._state(), engine=self.engine)
        except (RLEError, OSError, ValueError) as error:
            where = f"job <code>{self._job_id}</code> on engine {text(self.engine)}"
            return f"<div>{where}: status unknown, {text(error)}</div>"
