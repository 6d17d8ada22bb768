"""Epochs of planned batches, sampled ahead by threads: what the loaders of all tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from rle.sampling.plan import EpochPlan, plan_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from rle.sampling.batch import Float32Array, Int32Array, Int64Array

AHEAD_PER_THREAD = 2
"""Batches each thread may have ready or in hand beyond the one the consumer holds."""

LoadedT = TypeVar("LoadedT")


class DatedRows(Protocol):
    """The rows of one split: whom they are about, and as of when."""

    @property
    def rows(self) -> Int32Array:
        """int32 [N], rows of the entity or source table, -1 where it is unknown."""

    @property
    def times(self) -> Int64Array:
        """int64 [N], nanoseconds since 1970 UTC."""


class EpochLoader(ABC, Generic[LoadedT]):
    """Batches of one split, sampled ahead by threads, always in the plan's order.

    Rows of unknown entities (-1) have no tree: they are never loaded. What a thread raises is
    raised by the iterator, at the step it belongs to.

    Args:
        rows: int32 [N], rows of the entity table, -1 where the entity is unknown.
        batch_size: Seeds per step over all workers together.
        num_workers: Workers that share each batch; 0 counts as 1.
        rank: Which of them this is.
        seed: Of the shuffle.
        shuffle: True for training, False for evaluation; see `plan_epoch`.
        threads: Threads that sample ahead; 0 samples in the caller's thread.
        max_iters: Steps per epoch at most; None for all.
        groups: int64 [N], rows that are better trained on together; see `plan_epoch`.
    """

    def __init__(
        self,
        rows: Int32Array,
        *,
        batch_size: int,
        num_workers: int,
        rank: int,
        seed: int,
        shuffle: bool,
        threads: int,
        max_iters: int | None,
        groups: Int64Array | None = None,
    ) -> None:
        self._known = np.flatnonzero(rows >= 0)
        self._batch_size, self._num_workers, self._rank = batch_size, num_workers, rank
        self._seed, self._shuffle, self._max_iters = seed, shuffle, max_iters
        self._threads = threads
        self._groups = None if groups is None else groups[self._known]
        self._pool: ThreadPoolExecutor | None = None
        self._epoch = 0
        self._step = 0
        self._resume_at = 0
        self._plan = self._plan_of(0)

    @abstractmethod
    def load(self, positions: Int64Array, weights: Float32Array, epoch: int) -> LoadedT:
        """Sample one batch. Called by threads; depends on its arguments alone.

        Args:
            positions: int64 [S], rows of the split whose entities are known.
            weights: float32 [S], 0 for rows that only pad the batch.
            epoch: Part of the randomness.
        """

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

    def __iter__(self) -> Iterator[LoadedT]:
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
            groups=self._groups,
        )

    def _load(self, plan: EpochPlan, epoch: int, step: int) -> LoadedT:
        share, weights = plan.share(step)
        return self.load(self._known[share], weights, epoch)

    def _batches(self, start: int) -> Iterator[LoadedT]:
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
        queue: deque[Future[LoadedT]] = deque()
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
