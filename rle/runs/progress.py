"""Shows a run as it happens: a live bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.segment import Segment

from rle.runs.events import (
    LEARNING_RATE,
    TRAINING_LOSS,
    ArtifactEvent,
    ErrorEvent,
    JobEvent,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    ResultEvent,
    RunEvent,
    StatusEvent,
    WarningEvent,
)
from rle.runs.job_status import JobStatus
from rle.runs.pace import fraction_done, seconds_left
from rle.runs.printable import printable
from rle.spec.show import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from types import TracebackType

    from rich.console import ConsoleOptions, RenderableType

    from rle.runs.events import AnyEvent

QUIET = (TRAINING_LOSS, LEARNING_RATE)
"""Metrics that come too often for a line of their own."""


def as_text(renderable: RenderableType, *, width: int = 100) -> str:
    """Return what rich would print, as plain lines of at most `width` characters."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        # markup=False: the name of a column may hold square brackets.
        console.print(renderable, markup=False)
    return captured.get().rstrip("\n")


def say_warning(event: AnyEvent) -> None:
    """Print warnings and nothing else: the listener of a run that is given none."""
    if isinstance(event, WarningEvent):
        say(f"warning: {event.message}")


class _Raw:
    """Text that is passed on as it is: rendering it line by line would be too slow for a log."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield Segment(self._text)


def lines_of(event: AnyEvent) -> list[tuple[str, str | None]]:
    """Return what is printed of an event, with its style; nothing for progress."""
    if isinstance(event, JobEvent):
        return [(_job_words(event), None)]
    if isinstance(event, RunEvent):
        return [(f"model_run_id {event.model_run_id}", None)]
    if isinstance(event, StatusEvent):
        return [(f"{event.status.value}: {event.message}", None)] if event.message else []
    if isinstance(event, MetricEvent):
        return [(_metric_words(event), None)] if event.name not in QUIET else []
    if isinstance(event, ReportEvent):
        return [(event.text, None)]
    if isinstance(event, WarningEvent):
        return [(f"warning: {event.message}", "yellow")]
    if isinstance(event, ErrorEvent):
        advice = [(f"what to do: {event.advice}", "red")] if event.advice else []
        return [(f"{event.error}: {event.message}", "red"), *advice]
    if isinstance(event, ArtifactEvent):
        return [(f"wrote {event.name.replace('_', ' ')}: {event.location}", None)]
    if isinstance(event, ResultEvent):
        metrics = event.result.get("metrics")
        return [(_result_words(metrics), None)] if isinstance(metrics, dict) and metrics else []
    return []


def _job_words(event: JobEvent) -> str:
    words = [f"job {event.status.value.lower()}"]
    if event.status is JobStatus.QUEUED and event.ahead:
        words.append(f"{event.ahead} job{'s' if event.ahead > 1 else ''} before this one")
    elif event.message:
        words.append(event.message)
    return ": ".join(words)


def _result_words(metrics: dict[str, Any]) -> str:
    values = {k: f"{v:.4f}" if isinstance(v, float) else f"{v}" for k, v in metrics.items()}
    words = [f"{name.replace('_', ' ')} {value}" for name, value in values.items()]
    return f"result: {', '.join(words)}"


def _metric_words(event: MetricEvent) -> str:
    at = "" if event.epoch is None else f" after epoch {event.epoch:g}"
    return f"{event.name.replace('_', ' ')} {event.value:.4f}{at}"


class ProgressDisplay:
    """A listener that prints events for people. Use it as a context manager.

    In a terminal there is one live bar: the stage with its epoch and step, loss, last metric, time
    gone and time left, all by the times in the events, so that who comes late sees the same. In a
    file, a stage prints a line when it begins and one when it ends. A validation has a bar of its
    own below training's, and no line but its result. Metrics, warnings and results are lines in
    both.

    Args:
        console: Where to print; standard output where it is None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[steps]} {task.fields[note]} {task.fields[times]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stage = self._label = ""
        self._validation: TaskID | None = None
        self._metric = ""
        self._begun: dict[str, datetime] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, event: AnyEvent) -> None:
        """Show one event."""
        if isinstance(event, ProgressEvent):
            self._show_progress(event)
            return
        if isinstance(event, MetricEvent) and event.name not in QUIET and "loss" not in event.name:
            self._metric = f"{event.name.replace('_', ' ')} {event.value:.4f}"
        for text, style in lines_of(event):
            self._print(text, style=style)

    def write(self, text: str) -> None:
        """Print lines as they are, above the bar; `text` ends with a line end."""
        self._console.print(_Raw(text), soft_wrap=True, end="")

    def _print(self, text: str, *, style: str | None = None) -> None:
        # markup=False: a table's name or an error may hold square brackets.
        self._console.print(printable(text), style=style, markup=False, soft_wrap=True)

    def _show_progress(self, event: ProgressEvent) -> None:
        if event.stage == "validate":
            self._show_validation(event)
        else:
            self._show_stage(event)

    def _show_validation(self, event: ProgressEvent) -> None:
        steps = f"{event.step}/{event.num_steps}"
        if self._validation is None:
            self._validation = self._bar.add_task(
                "validate", total=event.num_steps, steps=steps, note="", times=""
            )
        self._bar.update(self._validation, completed=event.step, total=event.num_steps, steps=steps)
        if event.step >= event.num_steps:
            self._bar.remove_task(self._validation)
            self._validation = None

    def _show_stage(self, event: ProgressEvent) -> None:
        label = printable(event.stage)
        if event.epoch is not None:
            label += f" epoch {event.epoch}" + (f"/{event.num_epochs}" if event.num_epochs else "")
        if label != self._label and not self._console.is_terminal:
            self._print(f"{label}: {event.num_steps} steps")
        self._label = label
        if event.stage != self._stage and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._stage = event.stage
        shown: dict[str, Any] = {
            "steps": f"{event.step}/{event.num_steps}",
            "note": escape(self._note(event)),
            "times": self._times(event),
        }
        if self._task is None:
            self._task = self._bar.add_task(escape(label), total=1.0, **shown)
        done = fraction_done(event)
        self._bar.update(self._task, description=escape(label), completed=done, **shown)
        if event.step >= event.num_steps and event.loss is not None:
            self._print(f"{label}: training loss {event.loss:.4f}")

    def _note(self, event: ProgressEvent) -> str:
        if event.loss is None:
            return printable(event.detail)
        return f"loss {event.loss:.4f} {self._metric}".rstrip()

    def _times(self, event: ProgressEvent) -> str:
        since = self._begun.setdefault(event.stage, event.time)
        left = seconds_left(event, since=since)
        gone = timedelta(seconds=max(0, round((event.time - since).total_seconds())))
        return f"{gone}" if left is None else f"{gone} left {timedelta(seconds=round(left))}"
