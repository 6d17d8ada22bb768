"""When to validate, when to save and how fast to learn: pure functions of the position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rle.spec.config import TrainerConfig


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done after a step."""

    validate: bool
    save: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of a run. Epochs and steps count from 0."""

    num_epochs: int
    num_steps: int
    """Steps of one epoch."""
    lr: float
    eta_min: float
    cosine_epochs: int
    warmup: float
    """Share of the cosine over which the learning rate rises to it from 0."""
    eval_every: int
    evals_per_epoch: int
    checkpoint_every: int
    patience: int
    ema_decay: float | None

    @classmethod
    def of(cls, config: TrainerConfig, num_steps: int) -> Schedule:
        """The schedule of `config` for epochs of `num_steps` steps."""
        return cls(
            num_epochs=config.n_epochs,
            num_steps=num_steps,
            lr=config.lr,
            eta_min=config.eta_min,
            cosine_epochs=config.T_max or config.n_epochs,
            warmup=config.warmup,
            eval_every=config.eval_every,
            evals_per_epoch=config.evals_per_epoch if config.eval_every == 1 else 1,
            checkpoint_every=config.checkpoint_every,
            patience=config.patience,
            ema_decay=config.ema_decay,
        )

    def lr_at(self, epoch: int, step: int) -> float:
        """Learning rate of a step: half a cosine over epochs, then constant at `eta_min`.

        While it warms up it is the cosine times the share of the warm-up that this step ends.
        """
        share = min((epoch + step / self.num_steps) / self.cosine_epochs, 1.0)
        rate = self.eta_min + (self.lr - self.eta_min) * (1.0 + math.cos(math.pi * share)) / 2.0
        warmup_steps = self.warmup * self.cosine_epochs * self.num_steps
        steps_done = epoch * self.num_steps + step + 1
        return rate * min(1.0, steps_done / warmup_steps) if warmup_steps else rate

    def ema_decay_at(self, total_steps: int) -> float:
        """Share of the averaged weights that is kept after `total_steps` steps before this one.

        Short at first, so that the random initial weights are forgotten within a few steps.
        """
        if self.ema_decay is None:
            return 0.0
        return min(self.ema_decay, (1.0 + total_steps) / (10.0 + total_steps))

    def due_after(self, epoch: int, steps_done: int) -> Due:
        """What to do once `steps_done` steps of `epoch` are done.

        The last epoch always ends with a validation and a checkpoint.
        """
        last = epoch + 1 == self.num_epochs
        if steps_done == self.num_steps:
            return Due(
                validate=last or (epoch + 1) % self.eval_every == 0,
                save=last or (epoch + 1) % self.checkpoint_every == 0,
            )
        within = steps_done in self._validations_within()
        # An epoch that is long enough to be validated within is long enough to be saved within.
        return Due(validate=within, save=within and self.checkpoint_every == 1)

    def tells_loss_after(self, steps_done: int) -> bool:
        """Whether the mean training loss is told after a step: about ten times per epoch."""
        every = max(self.num_steps // 10, 1)
        return steps_done % every == 0 or steps_done == self.num_steps

    def _validations_within(self) -> set[int]:
        k = self.evals_per_epoch
        return {round(self.num_steps * j / k) for j in range(1, k)} - {0, self.num_steps}
