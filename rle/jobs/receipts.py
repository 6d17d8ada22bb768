"""What a laptop remembers of the jobs it sent: their requests, and how they ended.

In the engine's own folder on the laptop, `jobs/<job id>/request.json`, written before the engine
hears of the job. A local engine's jobs lie in that same folder, so there it is the request itself.
Of an engine elsewhere, state.json is kept beside it once the job has ended, so that jobs can be
listed when the engine is gone.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from rle.errors import StorageError, ValidationError
from rle.jobs.layout import PACKAGE, REQUEST, STATE, job_folder, jobs_folder
from rle.jobs.lines import write_whole
from rle.jobs.request import JobRequest, check_job_id
from rle.jobs.state import JobState

if TYPE_CHECKING:
    from pathlib import Path


class Receipts:
    """The jobs that this home sent to one engine.

    Args:
        engine: The engine's folder on this machine.
    """

    def __init__(self, engine: Path) -> None:
        self._engine = engine
        self._jobs = jobs_folder(engine)

    def write(self, request: JobRequest, package: bytes | None = None) -> None:
        """Keep a request, and the code that goes with it.

        Raises:
            StorageError: The disk is full or refuses; nothing is kept.
        """
        folder = job_folder(self._jobs, request.job_id)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if package is not None:
                write_whole(folder / PACKAGE, package)
            # Last: whoever finds the request finds all of the job.
            write_whole(folder / REQUEST, request.to_json(indent=2).encode())
        except OSError as error:
            self.remove(request.job_id)
            raise StorageError.of(error, doing=f"Making {folder}") from error
        except StorageError:
            self.remove(request.job_id)
            raise

    def remove(self, job_id: str) -> None:
        """Forget a job that the engine refused; one that is not there is fine."""
        folder = job_folder(self._jobs, job_id)
        with suppress(OSError):  # first, so that half a folder is no receipt
            (folder / REQUEST).unlink()
        shutil.rmtree(folder, ignore_errors=True)

    def read(self, job_id: str) -> JobRequest | None:
        """Return the request of a job; None where none was kept, or it is damaged."""
        path = job_folder(self._jobs, job_id) / REQUEST
        try:
            return JobRequest.from_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def keep_end(self, state: JobState) -> None:
        """Keep how a job ended, beside its receipt; for one that was sent from elsewhere, too.

        Raises:
            StorageError: The disk is full or refuses.
        """
        if self.end(state.job_id) is not None:
            return
        folder = job_folder(self._jobs, state.job_id)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError.of(error, doing=f"Making {folder}") from error
        write_whole(folder / STATE, state.to_json().encode(), is_durable=False)

    def end(self, job_id: str) -> JobState | None:
        """Return how a job ended, where that was seen from here; None otherwise."""
        path = job_folder(self._jobs, job_id) / STATE
        try:
            state = JobState.from_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        return state if state.status.is_terminal else None

    def all(self) -> list[str]:
        """Return the ids of all jobs of which something is kept here, in no order."""
        if not self._jobs.is_dir():
            return []
        return [entry.name for entry in self._jobs.iterdir() if _is_job(entry)]

    def engine_of(self, job_id: str) -> str | None:
        """Return the name of the engine of this home that a job was sent to; None: it is unknown.

        Looks at this engine first.
        """
        check_job_id(job_id)
        engines = [self._engine, *sorted(self._engine.parent.glob("[!.]*"))]
        for engine in engines:
            if (jobs_folder(engine) / job_id / REQUEST).is_file():
                return engine.name
        return None


def _is_job(entry: Path) -> bool:
    try:
        check_job_id(entry.name)
    except ValidationError:
        return False
    return entry.is_dir()
