"""What a command does once it has a job: print its id, watch it, end with its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from rle.cli.terminal import FOUND, INTERRUPTED, print_json, words_on_stderr
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rle.sdk.monitor import JobMonitor

CANCELED = 3
"""Exit code where a job was canceled."""
EXIT_CODES = {JobStatus.FAILED: FOUND, JobStatus.CANCELED: CANCELED}
"""Of a command that shows a job or waits for one; 0 for every other status."""


def report(job: JobMonitor, *, wait: bool, follow: bool, as_json: bool) -> None:
    """Say on standard output which job it is, and nothing else there; watch it as asked.

    Raises:
        typer.Exit: With the exit code of the job's status, where it was watched to its end.
    """
    if not as_json:
        typer.echo(job.job_id)
        sys.stdout.flush()  # whoever reads it through a pipe need not wait for the job
    watch(job, wait=wait, follow=follow)
    if as_json:
        status = job.get_status()
        print_json(status)
    elif wait or follow:
        status = job.get_status()
        if not follow:  # else the log's end has said it
            typer.echo(one_line(status), err=True)
    else:
        return
    end_as(status["status"])


def watch(job: JobMonitor, *, wait: bool, follow: bool) -> None:
    """Stay with a job to its end where asked; what it does goes to standard error."""
    if follow:
        with words_on_stderr():
            job.stream_logs()
        status_at_end(job)
    elif wait:
        try:
            job.wait()
        except KeyboardInterrupt:
            typer.echo(f"stopped waiting; job {job.job_id} goes on", err=True)
            raise typer.Exit(INTERRUPTED) from None


def status_at_end(job: JobMonitor) -> JobStatus:
    """Return the status of a job that was streamed; Ctrl-C's exit code where it goes on."""
    status = job.status
    if not status.is_terminal:  # stream_logs has said so, and returned
        raise typer.Exit(INTERRUPTED)
    return status


def end_as(status: str | JobStatus) -> None:
    """End with the exit code of a job's status."""
    code = EXIT_CODES.get(JobStatus(status), 0)
    if code:
        raise typer.Exit(code)


def one_line(status: Mapping[str, Any]) -> str:
    """Return in a line how a job stands."""
    why = status["error"] or status["message"]
    return f"job {status['job_id']}: {status['status']}" + (f": {why}" if why else "")
