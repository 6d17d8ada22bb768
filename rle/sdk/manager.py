"""JobManager: all jobs of an engine, whoever submitted them, also while it is suspended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from rle.errors import ValidationError
from rle.jobs.request import job_type
from rle.runs.job_status import JobStatus
from rle.runs.printable import printable
from rle.sdk.engine_jobs import jobs_on, jobs_with
from rle.sdk.handler import named_engine
from rle.sdk.monitor import JobMonitor
from rle.sdk.notebook import badge, in_notebook, show_html, table_html, text
from rle.sdk.shown import duration
from rle.spec.show import line_width, show_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rle.connectors.base import Connector
    from rle.jobs.client import JobSummary
    from rle.sdk.engine_jobs import EngineJobs

HEADER = ("job", "status", "type", "experiment", "queued at (UTC)", "ran for", "by", "message")
LEAST = {"job": 36, "status": 9, "ran for": 10, "type": 15, "queued at (UTC)": 19, "experiment": 20}
LEAST |= {"message": 20, "by": 12}
"""Characters that a column may need, the most wanted first: a narrow terminal shows the first."""


class JobRows(list[dict[str, Any]]):
    """Rows of a table that has been shown: short where it is shown once more."""

    def __repr__(self) -> str:
        return f"<{len(self)} job{'' if len(self) == 1 else 's'}>"


class JobManager:
    """Lists, finds and cancels the jobs of an engine.

    Works while the engine is suspended; where it is gone, what this machine submitted and what
    MLflow keeps is listed.

    Args:
        connector: Whose engine is meant, where `engine` names none.
        engine: Name of the engine; None: the connector's, $RLE_ENGINE, or the only engine there is.

    Raises:
        ConnectionError: There is no such engine. Methods raise it where it does not answer.
    """

    def __init__(
        self, connector: Connector | None = None, engine: str | EngineJobs | None = None
    ) -> None:
        self._on = jobs_on(named_engine(connector, engine))

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._on.name

    def list_jobs(
        self, status: JobStatus | str | None = None, limit: int | None = None
    ) -> list[JobSummary]:
        """Return the jobs, the newest first.

        Args:
            status: Only these: "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELED", in any case;
                None: all.
            limit: At most so many; None: all.

        Raises:
            UnknownNameError: There is no such status.
        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValidationError(f"limit must be 1 or more, or None for all, not {limit!r}.")
        wanted = None if status is None else JobStatus.parse(status)
        return self._on.jobs.states(status=wanted, limit=limit)

    def show_jobs(
        self, status: JobStatus | str | None = None, limit: int | None = 50
    ) -> list[dict[str, Any]]:
        """Print the jobs as a table, the newest first; HTML in a notebook.

        Args:
            status: Only these; see `list_jobs`.
            limit: At most so many; None: all.

        Returns:
            The rows: job_id, status, job_type, experiment_name, created_by, queued_at, started_at,
            finished_at, duration (seconds), message, engine.
        """
        jobs = self.list_jobs(status, limit)
        rows = JobRows(_row(job, self.engine) for job in jobs)
        title = f"{len(rows)} job{'' if len(rows) == 1 else 's'} of engine {self.engine}"
        if in_notebook():
            show_html(f"<div>{text(title)}</div>{rows_html(rows)}")
        else:
            show_table(_table(title, rows, width=line_width()))
        return rows

    def fetch_job(self, job_id: str) -> JobMonitor:
        """Return the monitor of a job that any process submitted.

        Raises:
            ValidationError: `job_id` has not the form of one.
            JobManagerError: The engine has no such job; names the one that has it.
        """
        return JobMonitor(job_id, jobs_with(job_id, self._on))

    def cancel_job(self, job_id: str) -> bool:
        """Take a job out of the queue, or stop it; see `JobMonitor.cancel`.

        Raises:
            ValidationError: `job_id` has not the form of one.
            JobManagerError: The engine has no such job, or it has ended; says how.
        """
        return self.fetch_job(job_id).cancel()

    def __repr__(self) -> str:
        return f"<JobManager of engine {self.engine!r}>"


def _table(title: str, rows: Sequence[dict[str, Any]], *, width: int) -> Table:
    cells = [_cells(row) for row in rows]
    columns = {name: [row[at] for row in cells] for at, name in enumerate(HEADER)}
    shown = _fitting(columns, width)
    table = Table(title=Text(printable(title)), title_justify="left")
    for name in shown:
        # An id is there to be copied, so it is never folded. `rle jobs show` has all of a message.
        overflow: Literal["ellipsis", "fold"] = "ellipsis" if name == "message" else "fold"
        table.add_column(name, overflow=overflow, no_wrap=name in ("job", "status", "message"))
    for row in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*map(Text, row))
    return table


def _fitting(columns: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the names of the columns for which there is room, in the order of `HEADER`."""
    left = width - 1
    shown: set[str] = set()
    for name, least in LEAST.items():
        needed = min(least, max(map(len, (name, *columns[name])))) + 3  # a line and two spaces
        if shown and needed > left:
            break
        left -= needed
        shown.add(name)
    return [name for name in HEADER if name in shown]


def rows_html(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of `show_jobs` as an HTML table; everything is escaped."""
    cells = []
    for row in rows:
        job_id, _, *others = map(text, _cells(row))
        cells.append([f"<code>{job_id}</code>", badge(row["status"]), *others])
    return table_html(HEADER, cells)


def _row(job: JobSummary, engine: str) -> dict[str, Any]:
    end = job.finished_at or datetime.now(UTC)
    span = None if job.started_at is None else max(0.0, (end - job.started_at).total_seconds())
    return {
        "job_id": job.job_id,
        "status": job.status,
        "job_type": job_type(job.kind),
        "experiment_name": job.experiment_name,
        "created_by": job.created_by,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "duration": span,
        "message": job.message,
        "engine": job.engine or engine,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    queued, span = row["queued_at"], row["duration"]
    cells = [
        row["job_id"],
        row["status"].value,
        row["job_type"],
        row["experiment_name"],
        "" if queued is None else f"{queued:%Y-%m-%d %H:%M:%S}",
        "" if span is None else duration(span),
        row["created_by"],
        row["message"],
    ]
    return [printable(str(cell)) for cell in cells]
