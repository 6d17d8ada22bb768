"""`rle jobs`: all jobs of an engine, and one of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rle.cli.options import EngineOption, FollowOption, JobArgument, JsonOption, WaitOption
from rle.cli.outcome import end_as, status_at_end, watch
from rle.cli.terminal import errors_as_lines, print_json

if TYPE_CHECKING:
    from rle.sdk.monitor import JobMonitor

app = typer.Typer(name="jobs", help="See, follow and cancel jobs.", no_args_is_help=True)


@app.command("list")
def list_jobs(
    engine: EngineOption = None,
    status: Annotated[
        str | None, typer.Option(help="Only these: QUEUED, RUNNING, COMPLETED, FAILED, CANCELED.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    from rle.cli.job_text import listed
    from rle.sdk.manager import JobManager

    with errors_as_lines():
        manager = JobManager(engine=engine)
        if as_json:
            print_json([listed(job) for job in manager.list_jobs(status, limit)])
        else:
            manager.show_jobs(status, limit)


@app.command()
def show(
    job_id: JobArgument,
    engine: EngineOption = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Where it failed, line by line.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Everything that happened, in order.")
    ] = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show how a job stands and what came of it.

    Exit code 1 where it failed, 3 where it was canceled, 0 otherwise.
    """
    from rle.cli.job_text import job_lines
    from rle.sdk.manager import JobManager

    with errors_as_lines():
        job = JobManager(engine=engine).fetch_job(job_id)
        watch(job, wait=wait, follow=follow)
        shown = _with_events(job) if events else job.get_status()
        if traceback:
            shown["traceback"] = job.error and job.error.traceback
    if as_json:
        print_json(shown)
    else:
        for line in job_lines(shown):
            typer.echo(line)
    end_as(shown["status"])


@app.command()
def logs(
    job_id: JobArgument,
    engine: EngineOption = None,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--no-follow",
            help="Stay until the job has ended, or print what there is; --node and --lines do.",
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="What the job's workers on this node printed.")
    ] = None,
    lines: Annotated[int | None, typer.Option(min=1, help="Only the last so many.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a job's log, and follow it while the job runs.

    Exit code 1 where the job failed, 3 where it was canceled, once it has ended.
    """
    from rle.errors import ValidationError
    from rle.sdk.manager import JobManager

    is_part = node is not None or lines is not None
    with errors_as_lines():
        if follow and is_part:
            raise ValidationError("--node and --lines print what there is; leave out --follow.")
        job = JobManager(engine=engine).fetch_job(job_id)
        to_end = not is_part and follow is not False
        if as_json:
            watch(job, wait=to_end, follow=False)
            print_json(_said(job, node, lines))
        elif not to_end:
            _print_log(job, node, lines)
        else:
            job.stream_logs()
        if to_end:
            end_as(status_at_end(job))


def _print_log(job: JobMonitor, node: str | None, lines: int | None) -> None:
    from rle.cli.log_text import raw_lines, readable
    from rle.runs.printable import printable

    if node is None:
        text = readable(job.get_logs(lines=raw_lines(lines)), lines=lines)
    else:
        text = job.get_logs(node=node, lines=lines)
    typer.echo(printable(text, colours=True) if sys.stdout.isatty() else text, nl=False)


def _said(job: JobMonitor, node: str | None, lines: int | None) -> dict[str, Any]:
    """Return all that a job said: as `show --events --json`, and the lines that are no events."""
    from rle.cli.log_text import printed, raw_lines

    log = job.get_logs(node=node, lines=lines if node is not None else raw_lines(lines))
    return _with_events(job) | {"lines": printed(log)[-(lines or 0) :]}


def _with_events(job: JobMonitor) -> dict[str, Any]:
    return job.get_status() | {"events": [event.model_dump(mode="json") for event in job.events()]}


@app.command()
def cancel(job_id: JobArgument, engine: EngineOption = None, as_json: JsonOption = False) -> None:
    """Cancel a job: take it out of the queue, or stop it where it runs."""
    from rle.sdk.manager import JobManager

    with errors_as_lines():
        JobManager(engine=engine).cancel_job(job_id)
    if as_json:
        print_json({"job_id": job_id, "canceled": True})
    else:
        typer.echo(f"job {job_id} is being canceled", err=True)
