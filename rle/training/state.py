"""Where a run stands: everything that a restart needs to give the same curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.training.events import ValidationEvent
from rle.values import Value

if TYPE_CHECKING:
    from torch import Tensor


class Position(Value):
    """The part of a run's state that is not tensors. Epochs and steps count from 0."""

    epoch: int = 0
    """The epoch under way."""
    step: int = 0
    """Steps of that epoch that are done."""
    num_steps: int = 0
    """Steps of an epoch; another number means other data or another batch size."""
    total_steps: int = 0
    """Steps done since the start."""
    num_bad: int = 0
    """Validations since the best one."""
    stopped_early: bool = False
    loss_sum: float = 0.0
    """Sum of the step losses since the validation before."""
    loss_count: int = 0
    """Steps since the validation before."""
    best: ValidationEvent | None = None
    history: tuple[ValidationEvent, ...] = ()
    layout: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Name and shape of every parameter, in the order of the flat vectors."""


@dataclass(frozen=True, slots=True)
class TrainState:
    """A run that can be continued. Randomness is a function of (seed, epoch, step): no RNG state.

    `tensors` holds flat vectors ("weights", "average", "adam.exp_avg", "adam.exp_avg_sq",
    "adam.step", "best") and the model's buffers ("buffer.<name>", "best_buffer.<name>").
    """

    position: Position
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a finished run gives."""

    best: ValidationEvent
    """The validation whose weights are kept."""
    history: tuple[ValidationEvent, ...]
    weights: dict[str, Tensor]
    """State dict of the best model, on the CPU."""
    total_steps: int
    stopped_early: bool
    seconds: float
    """Wall time of this process, the part before a restart left out."""
