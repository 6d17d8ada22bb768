"""Ends in MLflow the runs of drivers that were killed before they could.

A driver notes the run that it opens, and takes the note away when the run has ended. What notes
the dead leave is seen to by the next driver whose turn it is: MLflow is too large for one that
waits.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from rle.errors import ConnectionError, JobHandlerError, ValidationError
from rle.jobs.alive import is_alive
from rle.jobs.layout import job_folder
from rle.jobs.lines import write_whole
from rle.runs.events import RunStatus
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from pathlib import Path

    from rle.jobs.queue import Queue

FOLDER = "open_runs"
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENDS = {JobStatus.COMPLETED: RunStatus.COMPLETED, JobStatus.CANCELED: RunStatus.CANCELED}


class OpenRuns:
    """The notes of an engine's runs.

    Args:
        jobs: The folder of all jobs.
    """

    def __init__(self, jobs: Path) -> None:
        self._jobs, self._folder = jobs, jobs / FOLDER

    def note(self, run_id: str, job_id: str) -> None:
        """Note that a job opened a run."""
        self._folder.mkdir(exist_ok=True)
        write_whole(self._note_of(run_id), job_id.encode())

    def forget(self, run_id: str) -> None:
        """Take the note away: the run has ended."""
        self._note_of(run_id).unlink(missing_ok=True)

    def end_left(self, queue: Queue) -> list[str]:
        """End the runs of dead drivers as their jobs ended; returns their ids.

        Where MLflow does not answer they stay noted, for the next driver. Loads MLflow if there is
        one to end.
        """
        ended = []
        for note in sorted(self._folder.glob("[!.]*")) if self._folder.exists() else ():
            job_id = note.read_text(encoding="utf-8")
            with suppress(ConnectionError, ValidationError):
                if is_alive(job_folder(self._jobs, job_id)):
                    continue
                ticket = queue.ticket(job_id)
                self._end(note.name, ticket.status if ticket else JobStatus.FAILED)
                ended.append(note.name)
                note.unlink(missing_ok=True)
        return ended

    def _end(self, run_id: str, status: JobStatus) -> None:
        from rle.runs.tracking import end_run

        end_run(run_id, _ENDS.get(status, RunStatus.FAILED))

    def _note_of(self, run_id: str) -> Path:
        if not _RUN_ID.fullmatch(run_id):
            raise JobHandlerError(f"{run_id!r:.100} is no id of a run.", "bad_run_id")
        return self._folder / run_id
