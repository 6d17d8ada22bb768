"""Batches of node tasks: the trees and features of some rows of a split, with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rle.sampling.epochs import DatedRows, EpochLoader
from rle.sampling.features import gather

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Batch, Float32Array, Int64Array
    from rle.sampling.sampler import NeighborSampler


class SeedRows(DatedRows, Protocol):
    """The rows of one split, as `rle.graph.task.SplitRows` has them."""

    @property
    def labels(self) -> NDArray[np.generic] | None:
        """[N] or [N, classes]."""


class BatchLoader(EpochLoader["Batch"]):
    """Batches of one split of a node task; `Batch.positions` never names an unknown entity.

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
        super().__init__(
            split.rows,
            batch_size=batch_size,
            num_workers=num_workers,
            rank=rank,
            seed=seed,
            shuffle=shuffle,
            threads=threads,
            max_iters=max_iters,
        )
        self._snapshot, self._split, self._sampler = snapshot, split, sampler

    def load(self, positions: Int64Array, weights: Float32Array, epoch: int) -> Batch:
        """Sample and gather the trees of some rows."""
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
