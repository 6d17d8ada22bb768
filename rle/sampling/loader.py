"""Which seeds each step takes, fixed before the epoch begins, and the threads that sample ahead.

The plan is a pure function, so that 0, 1 and N workers see the same global batches in the same
order, every worker takes the same number of steps, and a restart continues mid-epoch.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rle.errors import ValidationError
from rle.sampling.features import gather

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Batch, Float32Array, Int32Array, Int64Array
    from rle.sampling.sampler import NeighborSampler

AHEAD_PER_THREAD = 2
"""Batches each thread may have ready or in hand beyond the one the consumer holds."""


class SeedRows(Protocol):
    """The rows of one split, as `rle.graph.task.SplitRows` has them."""

    @property
    def rows(self) -> Int32Array:
        """int32 [N], rows of the entity table, -1 where the entity is unknown."""

    @property
    def times(self) -> Int64Array:
        """int64 [N], nanoseconds since 1970 UTC."""

    @property
    def labels(self) -> NDArray[np.generic] | None:
        """[N] or [N, classes]."""


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
        order = np.random.default_rng([seed % 2**64, epoch]).permutation(order)
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


class BatchLoader:
    """Batches of one split, sampled ahead by threads, always in the plan's order.

    Rows of unknown entities (-1) have no tree: they are never loaded, and `Batch.positions` never
    names them. What a thread raises is raised by the iterator, at the step it belongs to.

    Args:
        snapshot: The graph.
        split: Rows, times and labels.
        sampler: For this split.
        batch_size: Seeds per step over all workers together.
        num_workers: Workers that share each batch; 0 counts as 1.
        rank: Which of them this is.
        seed: Of the shuffle.
        shuffle: True for training, False for evaluation; see `plan_epoch`.
        threads: Threads that sample ahead; 0 samples in the caller's thread.
        max_iters: Steps per epoch at most; None for all.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        split: SeedRows,
        sampler: NeighborSampler,
        *,
        batch_size: int,
        num_workers: int = 0,
        rank: int = 0,
        seed: int = 0,
        shuffle: bool,
        threads: int = 1,
        max_iters: int | None = None,
    ) -> None:
        self._snapshot, self._split, self._sampler = snapshot, split, sampler
        self._known = np.flatnonzero(split.rows >= 0)
        self._batch_size, self._num_workers, self._rank = batch_size, num_workers, rank
        self._seed, self._shuffle, self._max_iters = seed, shuffle, max_iters
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._epoch = 0
        self._step = 0
        self._resume_at = 0
        self._plan = self._plan_of(0)

    @property
    def num_rows(self) -> int:
        """Rows of the split whose entity is known."""
        return int(self._known.size)

    @property
    def plan(self) -> EpochPlan:
        """The plan of the current epoch; its positions count known rows only."""
        return self._plan

    def __len__(self) -> int:
        """Steps per epoch, the same on every rank."""
        return self._plan.num_steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration: its shuffle and its draws."""
        if epoch != self._epoch:
            self._epoch, self._step, self._resume_at = epoch, 0, 0
            self._plan = self._plan_of(epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the epoch, from where `load_state_dict` left it or else from its start."""
        start, self._resume_at = self._resume_at, 0
        self._step = start
        return self._batches(start)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches have been handed out."""
        return {"epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from `state`: the next iteration begins at its step of its epoch."""
        self.set_epoch(state["epoch"])
        self._step = self._resume_at = state["step"]

    def close(self) -> None:
        """Drop what is queued and join the threads. The loader can be iterated again."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _plan_of(self, epoch: int) -> EpochPlan:
        return plan_epoch(
            self.num_rows,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            rank=self._rank,
            epoch=epoch,
            seed=self._seed,
            shuffle=self._shuffle,
            max_iters=self._max_iters,
        )

    def _load(self, plan: EpochPlan, epoch: int, step: int) -> Batch:
        share, weights = plan.share(step)
        positions = self._known[share]
        labels = self._split.labels
        trees = self._sampler.sample(
            self._split.rows[positions],
            self._split.times[positions],
            epoch=epoch,
            positions=positions,
        )
        return gather(
            self._snapshot,
            trees,
            positions=positions,
            weights=weights,
            labels=None if labels is None else labels[positions],
        )

    def _batches(self, start: int) -> Iterator[Batch]:
        plan, epoch = self._plan, self._epoch
        if self._threads == 0:
            for step in range(start, plan.num_steps):
                batch = self._load(plan, epoch, step)
                self._step = step + 1
                yield batch
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="rle-sampling")
        steps = iter(range(start, plan.num_steps))
        queue: deque[Future[Batch]] = deque()
        try:
            for _ in range(start, plan.num_steps):
                while len(queue) < AHEAD_PER_THREAD * self._threads + 1:
                    ahead = next(steps, None)
                    if ahead is None:
                        break
                    queue.append(self._pool.submit(self._load, plan, epoch, ahead))
                batch = queue.popleft().result()
                self._step += 1
                yield batch
        finally:  # also when the consumer leaves early or is interrupted
            for future in queue:
                future.cancel()
