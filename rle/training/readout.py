"""Reads the numbers of finished steps without making a GPU wait for the reader."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rle.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

LAG_ON_CUDA = 2
"""Steps that a GPU may be ahead of what was read."""
RATE_WINDOW = 20
"""Steps over which seeds per second are averaged."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The numbers of one optimiser step, over all ranks."""

    epoch: int
    """Counts from 0."""
    step: int
    """Steps of the epoch that were done with it."""
    lr: float
    loss: float
    num_wishes: int
    gradient_norm: float
    seeds_per_s: float

    def raise_if_not_finite(self) -> None:
        """Raise TrainingError if the loss or the gradient is NaN or infinite."""
        for what, value in (("loss", self.loss), ("gradient", self.gradient_norm)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"The training {what} became {value} in epoch {self.epoch + 1}, step "
                    f"{self.step}: training has diverged. Lower TrainerConfig.lr (it was "
                    f"{self.lr:g} there), or look for extreme numbers in the features and labels."
                )


class Readout:
    """A queue of step results on their way from the device."""

    def __init__(self, device: torch.device) -> None:
        self._lag = LAG_ON_CUDA if device.type == "cuda" else 0
        self._waiting: deque[tuple[int, int, float, Tensor, torch.cuda.Event | None]] = deque()
        self._recent: deque[tuple[float, float]] = deque(maxlen=RATE_WINDOW + 1)

    def restart_clock(self) -> None:
        """Leave the time since the last step out of the rate."""
        self._recent.clear()
        self._recent.append((time.perf_counter(), 0.0))

    def push(self, epoch: int, step: int, lr: float, told: Tensor) -> Iterator[StepResult]:
        """Queue `told` (see `Optimiser.step`) and give the results that are ready."""
        event = None
        if told.is_cuda:
            told = told.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._waiting.append((epoch, step, lr, told, event))
        while len(self._waiting) > self._lag:
            yield self._pop()

    def drain(self) -> Iterator[StepResult]:
        """Give all results, waiting for the device."""
        while self._waiting:
            yield self._pop()

    def _pop(self) -> StepResult:
        epoch, step, lr, told, event = self._waiting.popleft()
        if event is not None:
            event.synchronize()
        loss, num_seeds, num_wishes, norm = told.tolist()
        return StepResult(
            epoch=epoch,
            step=step,
            lr=lr,
            loss=loss,
            num_wishes=int(num_wishes),
            gradient_norm=norm,
            seeds_per_s=self._rate(num_seeds),
        )

    def _rate(self, num_seeds: float) -> float:
        self._recent.append((time.perf_counter(), num_seeds))
        (first, _), (last, _) = self._recent[0], self._recent[-1]
        seeds = sum(seeds for _, seeds in self._recent) - self._recent[0][1]
        return seeds / max(last - first, 1e-9)
