"""Jobs in a notebook: HTML that needs no network, and a place in a cell that changes."""

from __future__ import annotations

import html
import importlib
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from rle.runs.job_status import JobStatus
from rle.runs.pace import fraction_done
from rle.runs.printable import printable
from rle.sdk.shown import (
    activity,
    duration,
    error_of,
    main_metrics,
    place_in_queue,
    progress_words,
    ran_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rle.jobs.state import JobState

_COLOURS = {
    JobStatus.CREATED: "#6b7280",
    JobStatus.QUEUED: "#b45309",
    JobStatus.RUNNING: "#1d4ed8",
    JobStatus.COMPLETED: "#15803d",
    JobStatus.FAILED: "#b91c1c",
    JobStatus.CANCELED: "#6b7280",
}


class Handle(Protocol):
    """A shown thing that can be shown anew."""

    def update(self, shown: Any) -> None:
        """Put `shown` in its place."""


def in_notebook() -> bool:
    """Whether cells show HTML here."""
    return Console().is_jupyter


def show_html(text: str) -> Handle:
    """Show HTML in the cell that runs; pass `as_html(text)` to `update` to change it."""
    handle: Handle = _ipython().display(as_html(text), display_id=True)
    return handle


def as_html(text: str) -> Any:
    """Return what a notebook shows as HTML."""
    return _ipython().HTML(text)


def _ipython() -> Any:
    return importlib.import_module("IPython.display")


def job_html(state: JobState, *, engine: str, now: datetime | None = None) -> str:
    """Return a job as HTML: status, times, progress, metrics, error and advice. All is escaped."""
    head = f"{badge(state.status)} <b>{text(state.kind)}</b> {text(state.experiment_name)}"
    where = f"job <code>{text(state.job_id)}</code> on engine {text(engine)}"
    parts = [f"<div>{head}</div>", f"<div>{where}</div>", _times(state, now=now)]
    if state.status is JobStatus.RUNNING:
        parts.append(progress_html(state))
    elif not state.status.is_terminal:
        parts.append(f"<div>{text(place_in_queue(state) or state.message)}</div>")
    metrics = main_metrics(state)
    if metrics:
        rows = [[text(name), f"{value:.6g}"] for name, value in metrics.items()]
        parts.append(table_html(["metric", "value"], rows))
    for name, place in state.artifacts.items():
        parts.append(f"<div>{text(name.replace('_', ' '))}: <code>{text(place)}</code></div>")
    parts += [f"<div>⚠ {text(warning)}</div>" for warning in state.warnings]
    parts.append(_error_html(state))
    return '<div style="line-height:1.5">' + "".join(parts) + "</div>"


def _error_html(state: JobState) -> str:
    error = error_of(state)
    if error is None:
        return ""
    colour = _COLOURS[JobStatus.FAILED]
    said = f'<div style="color:{colour}"><b>{text(error.error)}</b>: {text(error.message)}</div>'
    advice = f"<div><b>What to do:</b> {text(error.advice)}</div>" if error.advice else ""
    trace = error.traceback and (
        f"<details><summary>traceback</summary><pre>{text(error.traceback)}</pre></details>"
    )
    return said + advice + trace


def progress_html(state: JobState) -> str:
    """Return a bar and what it stands for, in words."""
    if state.progress is None:
        return f"<div>{text(activity(state))}</div>"
    percent = 100 * fraction_done(state.progress)
    bar = (
        '<div style="width:24em;background:#e5e7eb;border-radius:3px">'
        f'<div style="width:{percent:.1f}%;height:0.7em;background:{_COLOURS[JobStatus.RUNNING]};'
        'border-radius:3px"></div></div>'
    )
    return f"{bar}<div>{text(', '.join(progress_words(state)))}</div>"


def badge(status: JobStatus) -> str:
    """Return a status as a coloured word."""
    return (
        f'<span style="background:{_COLOURS[status]};color:white;padding:0 0.5em;'
        f'border-radius:3px">{status.value}</span>'
    )


def table_html(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are HTML already, see `text`."""
    head = "".join(f"<th>{text(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(value: object) -> str:
    """Return `value` as text that HTML shows as it is."""
    return html.escape(printable(str(value)))


def _times(state: JobState, *, now: datetime | None) -> str:
    marks = {"queued": state.queued_at, "started": state.started_at, "ended": state.finished_at}
    said = [f"{what} {when:%Y-%m-%d %H:%M:%S} UTC" for what, when in marks.items() if when]
    seconds = ran_for(state, now=now)
    if seconds is not None:
        said.append(f"{'ran' if state.finished_at else 'running'} for {duration(seconds)}")
    return f"<div>{text(', '.join(said))}</div>" if said else ""
