"""What happened in a run, one JSON line per event: the protocol between a run and its watchers.

Whatever watches a run (a progress bar, MLflow, a job monitor on a laptop) sees these events and
nothing else. A run without watchers still writes them, so it can be read back later.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

import pydantic
from pydantic import Field, JsonValue

from rle.errors import ValidationError
from rle.runs.job_status import JobStatus
from rle.runs.redact import redacted_event
from rle.values import Split, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

_Steps = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""What a float, and so every reader of JSON, still counts exactly."""
FILE_NAME = "events.jsonl"
TRAINING_LOSS = "training_loss"
"""Mean loss of the training rows since the last one, by optimiser step."""
VALIDATION_LOSS = "validation_loss"
LEARNING_RATE = "learning_rate"


def metric_name(split: Split, metric: str) -> str:
    """Return the name under which a split's evaluation metric is recorded: "validation_mae"."""
    return f"{split.value}_{metric}"


def best_metric_name(metric: str) -> str:
    """Return the name under which the kept weights' validation metric is recorded, once."""
    return f"best_{metric_name(Split.VALIDATION, metric)}"


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self is not RunStatus.RUNNING


class Event(Value):
    """Base of all events. Equal to one line of events.jsonl."""

    # A loss may be NaN or infinite, which plain JSON cannot say.
    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    type: str
    """Which event it is; the first thing a reader looks at."""
    time: pydantic.AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it happened, UTC."""


class StatusEvent(Event):
    """The run began, or ended."""

    type: Literal["status"] = "status"
    status: RunStatus
    message: str = ""
    """One line for people."""


class ProgressEvent(Event):
    """Some steps of a stage are done. Often sent; watchers may skip any but the last."""

    type: Literal["progress"] = "progress"
    stage: str
    """What is being done: "ingest", "train", "validate", "predict", "embed"."""
    step: _Steps
    """Steps done in this stage; in training, in this epoch."""
    num_steps: _Steps
    """Steps this stage has in all; in training, in one epoch."""
    epoch: _Steps | None = None
    """Epoch under way, from 1; training only."""
    num_epochs: _Steps | None = None
    """Epochs there will be at most; training only."""
    loss: float | None = None
    """Mean training loss of this epoch so far; training only."""
    detail: str = ""
    """What the stage works on, such as the table that is read."""


class MetricEvent(Event):
    """A number to keep: `TRAINING_LOSS`, `LEARNING_RATE`, or what `metric_name` returns."""

    type: Literal["metric"] = "metric"
    name: str
    value: float
    step: int
    """Optimiser steps taken when it was measured."""
    epoch: float | None = None
    """Passes over the training rows when it was measured."""


class ReportEvent(Event):
    """A table or a few lines that people read."""

    type: Literal["report"] = "report"
    name: str
    """What it is about: "snapshot"."""
    text: str
    """Plain text of several lines."""


class WarningEvent(Event):
    """Something the user should know; the run goes on."""

    type: Literal["warning"] = "warning"
    message: str


class ErrorEvent(Event):
    """Why the run or the job failed; a StatusEvent or a JobEvent follows."""

    type: Literal["error"] = "error"
    error: str
    """Name of the error's class."""
    message: str
    """What happened and what it means."""
    advice: str = ""
    """What to do about it: a setting to turn, a statement to run. Empty where `message` says it."""
    traceback: str = ""
    """Where it happened, for whoever looks closer; jobs only. Carries no secret."""


class ArtifactEvent(Event):
    """Something the run made is now complete: a file, a folder or a table."""

    type: Literal["artifact"] = "artifact"
    name: str
    """What it is: "training_curve", "model", "predictions"."""
    location: str
    """Path of the file or folder, or full name of the table."""


class RunEvent(Event):
    """A run was opened in MLflow."""

    type: Literal["run"] = "run"
    model_run_id: str
    """As MLflow gave it."""
    experiment_name: str
    """ "dataset/task_type/task"."""


class JobEvent(Event):
    """A job came to another status, or waits behind fewer jobs than before."""

    type: Literal["job"] = "job"
    job_id: str
    status: JobStatus
    message: str = ""
    """One line for people."""
    ahead: int | None = None
    """Jobs that come first; while it is queued only."""


class ResultEvent(Event):
    """What a job came to: metrics, paths of tables and files. Its last status follows."""

    type: Literal["result"] = "result"
    result: dict[str, JsonValue]


AnyEvent = Annotated[
    StatusEvent
    | RunEvent
    | JobEvent
    | ResultEvent
    | ProgressEvent
    | MetricEvent
    | ReportEvent
    | WarningEvent
    | ErrorEvent
    | ArtifactEvent,
    Field(discriminator="type"),
]
_ANY: pydantic.TypeAdapter[AnyEvent] = pydantic.TypeAdapter(AnyEvent)


def parse_event(line: str | bytes) -> AnyEvent:
    """Return the event one line equals; ValidationError where it is none."""
    try:
        return _ANY.validate_json(line)
    except pydantic.ValidationError as error:
        raise ValidationError(f"Not an event: {line!r:.200}") from error


def whole_events(data: bytes) -> Iterator[AnyEvent]:
    """Yield the events of a log's bytes in order.

    A last line that is still being written is left out, and so is a damaged one: those that say how
    a job ended may follow it.
    """
    for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
        with suppress(ValidationError):
            yield parse_event(line)


class EventLog:
    """Keeps a run's events in its folder and passes them on to listeners, in order.

    An instance is itself a listener: pass it wherever `on_event` is asked for. A line is written
    with one system call to a file opened for appending, so lines of several processes never mix
    and a killed process leaves at most its last line unfinished.

    Args:
        folder: The run's folder; made where it is missing.
        listeners: Called with each event after it is on disk. What they raise is raised here.
    """

    def __init__(self, folder: Path, *, listeners: tuple[Callable[[AnyEvent], None], ...] = ()):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self._listeners = listeners
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, event: AnyEvent) -> None:
        """Take out secrets, write the event, then tell the listeners."""
        event = redacted_event(event)
        os.write(self._file, event.to_json().encode() + b"\n")
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file; further events are refused. Closing twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_events(path: Path) -> Iterator[AnyEvent]:
    """Yield the events of a file in order; a last line that is still being written is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield parse_event(line)
