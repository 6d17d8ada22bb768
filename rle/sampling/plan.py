"""Which seeds each step takes, fixed before the epoch begins.

The plan is a pure function, so that 0, 1 and N workers see the same global batches in the same
order, every worker takes the same number of steps, and a restart continues mid-epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import ValidationError

if TYPE_CHECKING:
    from rle.sampling.batch import Float32Array, Int64Array


RUNS_PER_BATCH = 4
"""Runs of rows of one group that make up a batch. Fewer share more and mix less."""


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """One rank's share of every global batch of one epoch."""

    order: Int64Array
    """int64, the global batches after each other, each of `batch_size` but perhaps the last."""
    num_padded: int
    """Entries at the end of `order` that only fill it up; their weight is 0."""
    num_wrapped: int
    """Rows that come a second time to fill the last training batch; their weight is 1."""
    num_steps: int
    batch_size: int
    num_workers: int
    rank: int

    def share(self, step: int) -> tuple[Int64Array, Float32Array]:
        """Return this rank's positions and weights in one step; contiguous, never empty."""
        first = step * self.batch_size
        size = min(self.batch_size, self.order.size - first)
        begin = first + size * self.rank // self.num_workers
        end = first + size * (self.rank + 1) // self.num_workers
        real = np.arange(begin, end) < self.order.size - self.num_padded
        return self.order[begin:end], real.astype(np.float32)


def plan_epoch(
    num_rows: int,
    *,
    batch_size: int,
    num_workers: int,
    rank: int,
    epoch: int,
    seed: int,
    shuffle: bool,
    max_iters: int | None = None,
    groups: Int64Array | None = None,
) -> EpochPlan:
    """Plan one epoch. Pure: the order depends on the rows, the seed and the epoch alone.

    Args:
        num_rows: Rows to visit.
        batch_size: Seeds per step, over all workers together.
        num_workers: Workers that share each batch; 0 counts as 1.
        rank: Which of them.
        epoch: Part of the shuffle.
        seed: Of the shuffle.
        shuffle: True for training: shuffled, and the last batch wraps around to the first rows.
            False for evaluation: in order, every row exactly once, the last batch padded with
            rows of weight 0 until every worker has one. No rows make no steps.
        max_iters: Steps at most; None for all.
        groups: int64 [num_rows], for training: rows of one group share work, so each batch is made
            of a few runs of rows of one group, every run and every row in a random place. None:
            rows are shuffled one by one.

    Raises:
        ValidationError: There are no rows to train on, or fewer seeds per batch than workers.
    """
    num_workers = max(1, num_workers)
    if num_rows < 1 and shuffle:
        raise ValidationError("There are no rows to train on.")
    if batch_size < num_workers:
        raise ValidationError(
            f"The batch size ({batch_size}) is below the number of workers ({num_workers}); "
            "every worker needs a row per step."
        )
    num_steps = -(-num_rows // batch_size)
    order = np.arange(num_rows, dtype=np.int64)
    num_wrapped = num_padded = 0
    if shuffle:
        rng = np.random.default_rng([seed % 2**64, epoch])
        order = rng.permutation(order)
        if groups is not None:
            order = _in_runs(order, groups, max(1, batch_size // RUNS_PER_BATCH), rng)
        num_wrapped = num_steps * batch_size - num_rows
        order = np.resize(order, num_steps * batch_size)
    else:
        in_last = num_rows - (num_steps - 1) * batch_size
        num_padded = max(0, num_workers - in_last) if num_rows else 0
        order = np.append(order, np.full(num_padded, num_rows - 1))
    if max_iters is not None and max_iters < num_steps:
        num_steps, num_wrapped, num_padded = max_iters, 0, 0
        order = order[: max_iters * batch_size]
    return EpochPlan(order, num_padded, num_wrapped, num_steps, batch_size, num_workers, rank)


def _in_runs(
    order: Int64Array, groups: Int64Array, length: int, rng: np.random.Generator
) -> Int64Array:
    """Bring rows of one group together, cut that into runs and shuffle the runs."""
    order = order[np.argsort(groups[order], kind="stable")]
    firsts = np.arange(0, order.size, length)
    return np.concatenate([order[first : first + length] for first in rng.permutation(firsts)])
