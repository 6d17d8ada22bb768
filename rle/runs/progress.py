"""Shows a run as it happens: a live bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rle.runs.events import (
    LEARNING_RATE,
    TRAINING_LOSS,
    ArtifactEvent,
    ErrorEvent,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    StatusEvent,
    WarningEvent,
)
from rle.spec.show import say

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

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


class ProgressDisplay:
    """A listener that prints events for people. Use it as a context manager.

    In a terminal, each stage has a bar with its steps, loss, time gone and time left; in a file or
    a notebook's log, a stage prints a line when it begins and one when it ends. A validation has a
    bar of its own below training's, and no line but its result. Metrics, warnings and results are
    lines in both.

    Args:
        console: Where to print; standard output where it is None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._validation: TaskID | None = None

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
        elif isinstance(event, MetricEvent):
            self._show_metric(event)
        elif isinstance(event, StatusEvent):
            self._print(f"{event.status.value}: {event.message}" if event.message else None)
        elif isinstance(event, ReportEvent):
            self._print(event.text)
        elif isinstance(event, WarningEvent):
            self._print(f"warning: {event.message}", style="yellow")
        elif isinstance(event, ErrorEvent):
            self._print(f"{event.error}: {event.message}", style="red")
        elif isinstance(event, ArtifactEvent):
            self._print(f"wrote {event.name.replace('_', ' ')}: {event.location}")

    def _print(self, text: str | None, *, style: str | None = None) -> None:
        if text is not None:
            # markup=False: a table's name or an error may hold square brackets.
            self._console.print(text, style=style, markup=False, soft_wrap=True)

    def _show_progress(self, event: ProgressEvent) -> None:
        if event.stage == "validate":
            self._show_validation(event)
        else:
            self._show_stage(event)

    def _show_validation(self, event: ProgressEvent) -> None:
        if self._validation is None:
            self._validation = self._bar.add_task("validate", total=event.num_steps, note="")
        self._bar.update(self._validation, completed=event.step, total=event.num_steps)
        if event.step >= event.num_steps:
            self._bar.remove_task(self._validation)
            self._validation = None

    def _show_stage(self, event: ProgressEvent) -> None:
        label = event.stage
        if event.epoch is not None:
            label += f" epoch {event.epoch}" + (f"/{event.num_epochs}" if event.num_epochs else "")
        note = f"loss {event.loss:.4f}" if event.loss is not None else event.detail
        if label != self._label or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=event.num_steps, note=note)
            self._label = label
            if not self._console.is_terminal:
                self._print(f"{label}: {event.num_steps} steps")
        self._bar.update(self._task, completed=event.step, total=event.num_steps, note=note)
        if event.step >= event.num_steps and event.loss is not None:
            self._print(f"{label}: training loss {event.loss:.4f}")

    def _show_metric(self, event: MetricEvent) -> None:
        if event.name in QUIET:
            return
        at = "" if event.epoch is None else f" after epoch {event.epoch:g}"
        self._print(f"{event.name.replace('_', ' ')} {event.value:.4f}{at}")
