"""One engine's jobs, from anywhere: hand them over, ask how they are, read what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rle.engines.ray_api import AnswerLostError, JobExistsError, RayApi
from rle.errors import ConnectionError, JobManagerError
from rle.jobs.job_logs import JobLogs
from rle.jobs.layout import EVENTS, REQUEST
from rle.jobs.listing import JobSummary, newest_first, summaries_of, summary_of
from rle.jobs.no_secrets import check_no_secrets
from rle.jobs.package import build_package, own_code
from rle.jobs.queue import Entry, Queue
from rle.jobs.receipts import Receipts
from rle.jobs.recorder import Recorder
from rle.jobs.request import JobRequest, Versions, check_job_id, new_job_id
from rle.jobs.served import LocalFiles, ServedFiles
from rle.jobs.standing import canceled, first_state
from rle.jobs.states import JobStates
from rle.jobs.submission import entrypoint, env_vars, metadata
from rle.runs.events import JobEvent, whole_events
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rle.engines.base import EngineAccess
    from rle.engines.lookup import OpenEngine
    from rle.jobs.request import Work
    from rle.jobs.served import JobFiles
    from rle.jobs.state import JobState
    from rle.runs.events import AnyEvent

__all__ = ["JobClient", "JobSummary"]

_STOP_PATIENCE_S = 5.0
_POLL_S = 0.3


class JobClient:
    """The jobs of one engine. For one thread; connections are kept between calls.

    Every method raises ConnectionError, naming the engine and its address, where it is needed and
    does not answer; and ValidationError for what has not the form of a job id.
    """

    def __init__(self, engine: OpenEngine) -> None:
        self._engine = engine
        self._receipts = Receipts(engine.folder)
        self._jobs = engine.jobs_folder
        self._ray: RayApi | None = None
        self._access: EngineAccess | None = None
        self._files: JobFiles = (
            ServedFiles(self._api) if self._jobs is None else LocalFiles(self._jobs)
        )
        self._states = JobStates(engine, self._files, self._receipts, self._api)
        self._logs = JobLogs(self._files, self._api, self.state)

    def __repr__(self) -> str:
        return f"JobClient({self._engine.record.name!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        if self._ray is not None:
            self._ray.close()

    def submit(self, work: Work, *, upload_code: bool | Path = False) -> JobRequest:
        """Hand work over; returns as soon as the engine has it.

        Args:
            work: What is to be done.
            upload_code: True: the package that runs here travels along and runs there. A folder:
                the packages in it do.

        Raises:
            ValidationError: The request carries a secret, or it or the code is too large.
            ConnectionError: The engine did not take it. If that is not sure, the message says so.
            StorageError: The receipt cannot be kept.
        """
        request = JobRequest(
            job_id=new_job_id(),
            work=work,
            versions=Versions.here(),
            has_code=upload_code is not False,
        )
        check_no_secrets(request)
        code = upload_code if isinstance(upload_code, Path) else own_code() if upload_code else None
        package = build_package(request, code=code)
        api = self._api()
        self._receipts.write(request, package if request.has_code else None)
        try:
            self._hand_over(api, request, package)
        except AnswerLostError as error:
            raise AnswerLostError(
                f"{error} Whether it has job {request.job_id} is not sure: "
                f"`rle jobs show {request.job_id}` tells once it answers."
            ) from None
        except ConnectionError:
            self._receipts.remove(request.job_id)
            raise
        return request

    @staticmethod
    def _hand_over(api: RayApi, request: JobRequest, package: bytes) -> None:
        def submit() -> None:
            api.submit(
                request.job_id,
                entrypoint=entrypoint(request),
                package=package,
                metadata=metadata(request),
                env_vars=env_vars(),
            )

        try:
            try:
                submit()
            except AnswerLostError:
                if api.job(request.job_id) is None:
                    submit()  # the same id, so that it can never be there twice
        except JobExistsError:
            return  # it came by another way: a lost answer, or a head that was restarted

    def request(self, job_id: str) -> JobRequest:
        """Return what was asked for.

        Raises:
            JobManagerError: There is no such job, code "unknown_job"; or only the laptop that sent
                it has its request yet, code "no_request".
        """
        request = self._receipts.read(job_id)
        if request is not None:
            return request
        text = self._files.read(job_id, REQUEST)
        if text is not None:
            return JobRequest.from_json(text)
        state = self.state(job_id)
        raise JobManagerError(
            f"The request of job {job_id}, which is {state.status}, was not kept where it can be "
            "read from here. The laptop that sent it has it.",
            "no_request",
        )

    def state(self, job_id: str) -> JobState:
        """Return where a job stands: one call of a few milliseconds, two while it has not ended.

        Raises:
            JobManagerError: There is no such job; code "unknown_job". Names the engine that it was
                sent to, if that was another one of this home.
        """
        return self._states.state(check_job_id(job_id))

    def states(
        self, *, status: JobStatus | None = None, limit: int | None = None
    ) -> list[JobSummary]:
        """Return the engine's jobs, those that were submitted last first.

        Where the engine does not run, as far as it is known here.

        Args:
            status: Those of this status alone.
            limit: At most so many.
        """
        name = self._engine.record.name
        is_up = self._engine.is_ready
        journal = self._files.journal() if is_up or self._jobs is not None else b""
        found = summaries_of(journal, self._api().jobs() if is_up else None, engine=name)
        for job_id, state in self._states.others(found):
            found[job_id] = summary_of(state, engine=name)
        return newest_first(found.values(), status=status, limit=limit)

    def events(self, job_id: str, *, offset: int = 0) -> tuple[list[AnyEvent], int]:
        """Return what happened since, and the offset that continues after it.

        Args:
            job_id: The job.
            offset: 0, or what an earlier call returned.

        Raises:
            JobManagerError: There is no such job.
        """
        data = self._files.read_from(check_job_id(job_id), EVENTS, offset)
        if not data and offset == 0:
            self.state(job_id)
        whole = data[: data.rfind(b"\n") + 1]
        return list(whole_events(whole)), offset + len(whole)

    def cancel(self, job_id: str) -> None:
        """Cancel a job, queued or running; one that is canceled already is left alone.

        Returns once the engine has passed it on; a running job ends within seconds.

        Raises:
            JobManagerError: There is no such job, code "unknown_job"; or it has ended, code
                "job_ended": names how.
        """
        import time

        until = time.monotonic() + _STOP_PATIENCE_S
        while not self._has_ended(job_id):
            if self._api_or_none() is None or self._api().job(job_id) is None:
                self._cancel_here(job_id)
                return
            if self._api().stop(job_id):
                return
            # Ray has no process yet that it could stop, or no longer.
            if time.monotonic() > until:
                raise JobManagerError(
                    f"Engine {self._engine.record.name!r} cannot stop job {job_id} just now. Try "
                    "again in some seconds.",
                    "not_stopped",
                )
            time.sleep(_POLL_S)

    def _has_ended(self, job_id: str) -> bool:
        """Return whether the job is canceled already; JobManagerError where it ended otherwise."""
        state = self.state(job_id)
        if state.status.is_terminal and state.status is not JobStatus.CANCELED:
            raise JobManagerError(
                f"Job {job_id} is {state.status} and cannot be canceled any more.", "job_ended"
            )
        return state.status.is_terminal

    def _cancel_here(self, job_id: str) -> None:
        """Cancel a job that Ray does not know, so that it is never submitted again."""
        state = self.state(job_id)
        if self._jobs is None and state.status is not JobStatus.CREATED:
            raise JobManagerError(
                f"Job {job_id} is {state.status}, but engine {self._engine.record.name!r} was "
                "restarted and does not run it yet. Try again once it does.",
                "not_stopped",
            )
        if self._jobs is None:
            self._receipts.keep_end(canceled(state))
            return
        message = "It was canceled before it ran."
        request = self._receipts.read(job_id)
        now = datetime.now(UTC)
        entry = Entry.of(job_id, request, JobStatus.CANCELED, submitted_at=now, message=message)
        if Queue(self._jobs).add(entry):
            start = first_state(job_id, request)
            with Recorder(self._jobs / job_id, start, is_mirrored=False) as recorder:
                recorder(JobEvent(job_id=job_id, status=JobStatus.CANCELED, message=message))

    def follow_log(self, job_id: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield what a job prints, its events included, in blocks of whole lines, as it comes.

        b"" comes about once a second while nothing else does. Ends by itself once the job has ended
        and all was read; a last line without an end comes then. What came in total, plus `offset`,
        is the offset that continues after it.

        Args:
            job_id: The job.
            offset: Bytes to leave out at the beginning.

        Raises:
            JobManagerError: There is no such job.
            ConnectionError: The connection was cut.
        """
        return self._logs.follow(check_job_id(job_id), offset=offset)

    def log(self, job_id: str, *, node: str | None = None, lines: int | None = None) -> str:
        """Return what a job printed so far.

        Args:
            job_id: The job.
            node: What its workers on this node printed: one of `nodes`, or the beginning of its
                id, or its address where that is unique. None: what the driver printed.
            lines: Only so many, from the end; of each worker, where `node` is given.

        Raises:
            JobManagerError: There is no such job.
            JobMonitorError: It ran nothing on this node.
        """
        return self._logs.log(check_job_id(job_id), node=node, lines=lines)

    def nodes(self, job_id: str) -> list[str]:
        """Return the ids of the nodes that a job's workers ran on, the head first.

        Only while the engine runs, and only nodes that are alive: others' logs cannot be read.
        """
        return self._logs.nodes(check_job_id(job_id))

    def _api(self) -> RayApi:
        # An engine that was resumed may have another port.
        access = self._engine.access()
        if self._ray is None or access != self._access:
            self.close()
            self._ray, self._access = RayApi(access), access
        return self._ray

    def _api_or_none(self) -> RayApi | None:
        try:
            return self._api()
        except ConnectionError:
            if self._jobs is None:
                raise
            return None
