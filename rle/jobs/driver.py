"""The process that runs one job on the head: `python -m rle.jobs.driver JOB_ID`.

It waits for its turn, does the work and says what happens, until the last word: COMPLETED, FAILED
or CANCELED. Until it is its turn it loads nothing that is large.
"""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import ConnectionError, JobHandlerError, RLEError, StorageError
from rle.jobs.alive import BREATH_LIMIT_S, AliveLock
from rle.jobs.ending import CANCELED_EXIT_CODE, LEAVE_S, Stopper, exit_soon, leave
from rle.jobs.head import find_access, link_jobs, take_over_log
from rle.jobs.layout import PACKAGE, REQUEST, engine_folder, job_folder, jobs_folder
from rle.jobs.lines import write_whole
from rle.jobs.open_runs import OpenRuns
from rle.jobs.queue import Entry, Queue
from rle.jobs.reconcile import reconcile
from rle.jobs.recorder import Recorder
from rle.jobs.request import check_job_id
from rle.jobs.state import JobState
from rle.jobs.turn import POLL_S, Turn
from rle.jobs.versions import check_versions, read_request
from rle.jobs.work import HANDLERS
from rle.runs.clean_stream import clean_output
from rle.runs.events import ErrorEvent, JobEvent, ResultEvent, RunEvent, WarningEvent
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import JsonValue

    from rle.jobs.ray_jobs import JobsApi
    from rle.jobs.request import JobRequest
    from rle.runs.events import AnyEvent

    Handler = Callable[[JobRequest, Path, Callable[[AnyEvent], None]], dict[str, JsonValue]]

ANSWER_TIMEOUT_S = 300.0
"""How long Ray has to tell a driver when its job was submitted."""
_LAST_LOCK_S = 3.0
_RETRY_S = 1.0


class _Job:
    """One job as its driver has it: what it says, and how it ends, once."""

    def __init__(self, job_id: str, jobs: Path, request: JobRequest | None) -> None:
        self.job_id, self.jobs, self.request = job_id, jobs, request
        self.folder = job_folder(jobs, job_id)
        self.submitted_at = datetime.now(UTC)
        self.open_runs = OpenRuns(jobs)
        self._run_ids: set[str] = set()
        self._lock, self._has_ended = threading.Lock(), False
        work = request.work if request is not None else None
        start = JobState(
            job_id=job_id,
            kind=work.kind if work else "",
            experiment_name=work.experiment_name if work else "",
            created_by=request.created_by if request else "",
        )
        self.recorder = Recorder(self.folder, start)

    def tell(self, event: AnyEvent) -> None:
        """Hear what the work does."""
        if isinstance(event, RunEvent):
            self.open_runs.note(event.model_run_id, self.job_id)
            self._run_ids.add(event.model_run_id)
        self.recorder(event)

    def say(self, status: JobStatus, *, message: str = "", ahead: int | None = None) -> None:
        """Say where the job stands, unless it has ended."""
        with self._lock:
            if not self._has_ended:
                self.recorder(
                    JobEvent(job_id=self.job_id, status=status, message=message, ahead=ahead)
                )

    def end(self, status: JobStatus, *events: AnyEvent, message: str) -> None:
        """Say the last words: events, state, then the queue. Only the first end counts."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            last = JobEvent(job_id=self.job_id, status=status, message=message)
            self.recorder.last_words(*events, last)
            entry = Entry.of(
                self.job_id,
                self.request,
                status,
                submitted_at=self.submitted_at,
                message=self.recorder.state.message,
            )
            try:
                # A queue of its own: this may be another thread than the one that waits.
                Queue(self.jobs).add(entry, timeout_s=_LAST_LOCK_S)
            except StorageError:
                self.recorder.make_room()
                Queue(self.jobs).add(entry, timeout_s=_LAST_LOCK_S)

    def cancel(self, message: str) -> None:
        self.end(JobStatus.CANCELED, message=message)

    def fail(self, error: BaseException) -> None:
        event = _explained(error, self.request)
        self.end(JobStatus.FAILED, event, message=event.message.partition("\n")[0])

    def close(self) -> None:
        """The work has ended, and with it the runs that it opened."""
        for run_id in self._run_ids:
            self.open_runs.forget(run_id)
        self.recorder.close()


def run(
    job_id: str,
    *,
    api: JobsApi | None = None,
    handlers: Mapping[str, str | Handler] = HANDLERS,
    breath_limit_s: float = BREATH_LIMIT_S,
    poll_s: float = POLL_S,
) -> int:
    """Run one job in this process, from its request to its last word. For the main thread.

    The process holds the job's alive.lock from then on, and is to end soon after.

    Args:
        job_id: Its id; the engine folder, or else the current one, holds its request.
        api: Ray; None: the cluster that started this process.
        handlers: What does each kind of work, or where that is found.
        breath_limit_s: Seconds without a breath after which another driver is killed.
        poll_s: Seconds between two looks at the queue.

    Returns:
        The exit code: 0 completed, 1 failed, 143 canceled.

    Raises:
        RLEError: Nothing can be written down, not even why.
    """
    jobs = jobs_folder(engine_folder())
    folder = job_folder(jobs, job_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.of(error, doing=f"Making {folder}") from error
    # Never released: only a process that is gone has given back its memory and GPUs.
    if not AliveLock(folder).acquire():
        sys.stderr.write(f"Another driver has job {job_id}. Nothing was done.\n")
        return 1
    if (logs := take_over_log(folder)) is not None:
        link_jobs(logs, jobs)
    ticket = Queue(jobs).ticket(job_id)
    if ticket is not None and ticket.status.is_terminal:
        sys.stderr.write(f"Job {job_id} has ended: {ticket.status}. Nothing was done.\n")
        return 1
    return _Driver(job_id, jobs, handlers, breath_limit_s, poll_s).run(api)


class _Driver:
    def __init__(
        self,
        job_id: str,
        jobs: Path,
        handlers: Mapping[str, str | Handler],
        breath_limit_s: float,
        poll_s: float,
    ) -> None:
        self._handlers, self._jobs = handlers, jobs
        self._breath_limit_s, self._poll_s = breath_limit_s, poll_s
        self._wrong: RLEError | None = None
        request = None
        try:
            request = _kept_request(job_id, job_folder(jobs, job_id))
        except JobHandlerError as error:
            self._wrong = error
        self._job = _Job(job_id, jobs, request)
        self._stopper = Stopper(self._job.cancel)

    def run(self, api: JobsApi | None) -> int:
        try:
            self._live(api)
        except (KeyboardInterrupt, SystemExit) as stop:
            self._stopper.quiet()
            if self._stopper.stopped.is_set() or _is_signal(stop):
                self._job.cancel("canceled")
            else:
                self._job.fail(stop)
        except BaseException as error:  # noqa: BLE001  the job says it, and this process ends
            self._stopper.quiet()
            self._job.fail(error)
        finally:
            self._stopper.quiet()
            leave()
            self._job.close()
            self._stopper.close()
        return _EXIT_CODES.get(self._job.recorder.state.status, 1)

    def _live(self, api: JobsApi | None) -> None:
        job, request = self._job, self._job.request
        api = api or _connected()
        job.submitted_at = _submitted_at(api, job.job_id)
        if self._wrong is not None or request is None:
            raise self._wrong or JobHandlerError("There is no request.", "request")
        for warning in check_versions(request):
            job.tell(WarningEvent(message=warning))
        handler = self._handler(request.kind)
        queue = Queue(self._jobs)
        self._enter(queue, request)
        # Whoever comes sees to what was left, also where no keeper does.
        with suppress(ConnectionError):
            reconcile(self._jobs, api, breath_limit_s=self._breath_limit_s)
        turn = Turn(
            self._jobs, queue, api, breath_limit_s=self._breath_limit_s, poll_s=self._poll_s
        )
        if not turn.wait(job.job_id, self._tell_ahead, self._stopper.stopped):
            return
        self._work(queue, handler, request)

    def _enter(self, queue: Queue, request: JobRequest) -> None:
        job = self._job
        ticket = queue.ticket(job.job_id)
        if ticket is not None and ticket.status is JobStatus.RUNNING:
            raise JobHandlerError(
                "The job's driver was started again while the job ran, and no work is done twice. "
                "Submit the job again.",
                "started_again",
            )
        _keep_code(request, job.folder)
        again = "submitted again after a restart; the job keeps its place" if ticket else ""
        job.say(JobStatus.QUEUED, message=again)
        queue.add(Entry.of(job.job_id, request, JobStatus.QUEUED, submitted_at=job.submitted_at))

    def _tell_ahead(self, ahead: int) -> None:
        message = "1 job comes first" if ahead == 1 else f"{ahead} jobs come first"
        self._job.say(JobStatus.QUEUED, message=message, ahead=ahead)

    def _handler(self, kind: str) -> str | Handler:
        if kind not in self._handlers:
            raise JobHandlerError(
                f"This engine has no handler for jobs of kind {kind!r}; it knows "
                f"{', '.join(sorted(self._handlers))}.",
                "version",
            )
        return self._handlers[kind]

    def _work(self, queue: Queue, found: str | Handler, request: JobRequest) -> None:
        job = self._job
        began = time.monotonic()
        job.say(JobStatus.RUNNING)
        handler: Handler = pkgutil.resolve_name(found) if isinstance(found, str) else found
        job.open_runs.end_left(queue)
        result = handler(request, job.folder, job.tell)
        self._stopper.quiet()
        took = f"completed in {time.monotonic() - began:.0f} s"
        job.end(JobStatus.COMPLETED, ResultEvent(result=result), message=took)


_EXIT_CODES = {JobStatus.COMPLETED: 0, JobStatus.CANCELED: CANCELED_EXIT_CODE}


def _is_signal(stop: BaseException) -> bool:
    """Whether Ctrl-C or SIGTERM is behind it; Ray turns the latter into an exit with its number."""
    codes = (signal.SIGTERM, CANCELED_EXIT_CODE)
    return isinstance(stop, KeyboardInterrupt) or getattr(stop, "code", None) in codes


def _connected() -> JobsApi:
    from rle.engines.ray_api import RayApi

    return RayApi(find_access())


def _submitted_at(api: JobsApi, job_id: str) -> datetime:
    """Return when the head got the job, by its own clock."""
    until = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            known = api.job(job_id)
            break
        except ConnectionError:  # a dashboard that was restarted answers in a moment
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY_S)
    if known is None or known.submitted_at is None:
        raise JobHandlerError(
            f"Ray knows no job {job_id}. A driver is started by submitting its job: `rle train`, "
            "or Trainer.fit.",
            "unknown_job",
        )
    return known.submitted_at


def _kept_request(job_id: str, folder: Path) -> JobRequest:
    """Return the job's request; what travelled with the job is kept in its folder."""
    kept, travelled = folder / REQUEST, Path(REQUEST)
    path = kept if kept.exists() else travelled
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobHandlerError(
            f"The request of job {job_id} cannot be read: {error.strerror}, neither {kept} nor "
            f"{travelled.resolve()}.",
            "request",
        ) from error
    request = read_request(data)
    if request.job_id != job_id:
        raise JobHandlerError(
            f"The request in {path.resolve()} is that of job {request.job_id}, not of {job_id}.",
            "request",
        )
    if path is travelled:
        write_whole(kept, data)
    return request


def _keep_code(request: JobRequest, folder: Path) -> None:
    """Keep the code that travelled with a job, for when the head is restarted while it waits."""
    kept = folder / PACKAGE
    if not request.has_code or kept.exists() or "runtime_resources" not in Path.cwd().parts:
        return
    try:
        packed = shutil.make_archive(str(folder / ".code"), "zip", root_dir=Path.cwd())
        Path(packed).replace(kept)
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {kept}") from error


def _explained(error: BaseException, request: JobRequest | None) -> ErrorEvent:
    from rle.jobs.failures import explain

    return explain(error, config=getattr(request.work, "config", None) if request else None)


def main() -> None:
    """Run the job that the command line names, and end with its exit code."""
    os.environ.setdefault("RLE_HOME", str(Path.home() / ".rle"))
    # Whatever a library prints is in the job's log, for everyone who may see the job.
    clean_output()
    try:
        if len(sys.argv) != 2:
            raise JobHandlerError("Usage: python -m rle.jobs.driver JOB_ID")
        code = run(check_job_id(sys.argv[1]))
    except RLEError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        code = 1
    # A library's thread must not keep a job's memory and GPUs when the job has ended.
    exit_soon(code, after_s=LEAVE_S, unless=threading.Event())
    sys.exit(code)


if __name__ == "__main__":
    main()
