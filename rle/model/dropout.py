"""Dropout whose masks are functions, not streams.

A mask depends on (seed, step, what is dropped) alone: the same whichever worker holds the row,
the same for a row that several trees share, and the same again after a restart, since the step is
part of the `state_dict`.

Shapes: U rows, K columns, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_POOL_SIZE = 1024
_SPREAD = 1_000_003


class Steps(nn.Module):
    """Counts training steps and turns (step, number) into noise."""

    step: Tensor

    def __init__(self, share: float, *, seed: int) -> None:
        super().__init__()
        self.share, self.seed = share, seed
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def is_on(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.share > 0.0

    def noise(self, numbers: Tensor) -> Tensor:
        """Scrambled int64, one per number, for this step; then the next step begins."""
        scrambled = mix(mix(self.step + self.seed * _SPREAD) ^ numbers)
        self.step += 1
        return scrambled


class MaskDropout(Steps):
    """Drops channels of rows, by a number that names the row wherever it is.

    Hashing every channel of every row would cost more than the layer behind it, so each row takes
    one of a thousand masks, drawn once; which one, the hash of its number and the step says.
    """

    masks: Tensor

    def __init__(self, share: float, channels: int, *, seed: int) -> None:
        super().__init__(share, seed=seed)
        every = torch.arange(_POOL_SIZE * channels).view(_POOL_SIZE, channels)
        masks = _kept(mix(every + mix(torch.tensor(seed))), share) if share else torch.empty(0)
        self.register_buffer("masks", masks, persistent=False)

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """[U, C] rows, int64 [U] numbers."""
        if not self.is_on:
            return rows
        return rows * self.masks.index_select(0, self.choose(numbers))

    def choose(self, numbers: Tensor) -> Tensor:
        """The mask of each row, int64 [U], from int64 [U] numbers."""
        return self.noise(numbers).remainder(_POOL_SIZE)


class ValueDropout(Steps):
    """Makes category values unknown, by row number and column."""

    def forward(self, ids: Tensor, unknown: Tensor, numbers: Tensor) -> Tensor:
        """int64 [U, K] ids, some replaced by int64 [K] `unknown`; int64 [U] row numbers."""
        if not self.is_on:
            return ids
        column = torch.arange(ids.shape[1], device=ids.device)
        kept = _kept(mix(self.noise(numbers).unsqueeze(1) ^ mix(column)), self.share) > 0
        return torch.where(kept, ids, unknown)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values; a counter goes in, something like noise comes out."""
    # Multiplications wrap around. Shifts of negative numbers keep the sign bit, hence the masks.
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4_658_895_280_553_007_687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7_723_592_293_110_705_685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _kept(noise: Tensor, share: float) -> Tensor:
    """float32, 0 for about `share` of the noise and 1 / (1 - share) for the rest."""
    keep = (noise & 0xFFFFFF) >= int(share * 2**24)
    return keep.float() / (1 - share)
