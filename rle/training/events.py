"""What training tells while it runs: one frozen value per line of the event log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from rle.values import Value


class StepEvent(Value):
    """One optimiser step is done."""

    type: Literal["progress"] = "progress"
    epoch: int
    """Counts from 1."""
    num_epochs: int
    step: int
    """Step within the epoch, counts from 1."""
    num_steps: int
    """Steps of one epoch."""
    loss: float
    """Mean training loss over the seeds of this step, all workers together."""
    lr: float
    seeds_per_s: float
    """Seeds per second over the last steps, all workers together, validation left out."""


class ValidationEvent(Value):
    """The validation split was measured."""

    type: Literal["metric"] = "metric"
    split: Literal["validation"] = "validation"
    epoch: int
    """The epoch it belongs to, counts from 1."""
    step: int
    """Steps done in that epoch."""
    total_steps: int
    """Steps done since the start of the run."""
    metric: str
    value: float
    loss: float
    train_loss: float
    """Mean training loss since the validation before."""
    lr: float
    is_best: bool


class StatusEvent(Value):
    """A stage was reached, in words."""

    type: Literal["status"] = "status"
    message: str


class WarningEvent(Value):
    """Something the user should know; training goes on."""

    type: Literal["warning"] = "warning"
    message: str


Event = StepEvent | ValidationEvent | StatusEvent | WarningEvent

_LINE: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def parse_event(line: str | bytes) -> Event:
    """The event of one JSON line."""
    return _LINE.validate_json(line)
