"""Where a run stands: everything that a restart needs to give the same curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydantic

from rle.values import Value

if TYPE_CHECKING:
    from torch import Tensor


class Measured(Value):
    """A value whose numbers may be NaN or infinite, which plain JSON cannot say."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")


class Validation(Measured):
    """What one look at the validation split gave."""

    epoch: int
    """The epoch it belongs to, from 1."""
    step: int
    """Steps of that epoch that were done."""
    total_steps: int
    """Optimiser steps since the start of the run."""
    value: float
    """The evaluation metric."""
    loss: float


class Position(Measured):
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
    epoch_loss: float = 0.0
    """Sum of the losses of this epoch's steps."""
    recent_loss: float = 0.0
    """Sum of the losses of the steps since the training loss was last told."""
    num_recent: int = 0
    """Steps since then."""
    best: Validation | None = None
    history: tuple[Validation, ...] = ()
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

    best: Validation
    """The validation whose weights are kept."""
    history: tuple[Validation, ...]
    weights: dict[str, Tensor]
    """State dict of the best model, on the CPU."""
    total_steps: int
    stopped_early: bool
    seconds: float
    """Wall time of this process, the part before a restart left out."""
