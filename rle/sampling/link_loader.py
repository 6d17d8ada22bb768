"""Batches of link tasks: trees of sources, trees of the targets they are weighed against.

Shapes: S sources, D distinct targets (a row at a time), C candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from rle.errors import ValidationError
from rle.sampling.candidates import ALL, CandidateChooser, Candidates
from rle.sampling.epochs import DatedRows, EpochLoader
from rle.sampling.features import gather, gather_lists
from rle.sampling.link_batch import LinkBatch

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Batch, Float32Array, Int32Array, Int64Array
    from rle.sampling.history import HistoryReader
    from rle.sampling.link_batch import History
    from rle.sampling.negatives import NegativeSampler
    from rle.sampling.popularity import PopularityReader
    from rle.sampling.sampler import NeighborSampler

    CandidateKind = Literal["sampled", "history", "none"]

MAX_POSITIVES, MAX_HISTORY = 16, 64
"""Positives, and other targets of the history, that a training step looks at per source."""
MIN_SHARING = 16
"""Rows per distinct time from which on rows of one time are trained on together."""


class LinkRows(DatedRows, Protocol):
    """The rows of one split, as `rle.graph.link_task.LinkSplitRows` has them."""

    @property
    def offsets(self) -> Int64Array | None:
        """int64 [N + 1]; None where there are no targets."""

    @property
    def targets(self) -> Int32Array | None:
        """int32 [M], rows of the target table, ascending and distinct within a row."""


class LinkLoader(EpochLoader[LinkBatch]):
    """Batches of one split of a link task; `LinkBatch.positions` never names an unknown source.

    The tree of a target depends on (seed, epoch, its row, its time) alone, so that a target that
    several sources of a batch share at one time is expanded once.

    Args:
        snapshot: The graph.
        split: Rows, times and targets.
        target: Table of the targets.
        source_sampler: Draws the trees of sources.
        target_sampler: Draws the trees of targets.
        reader: Reads the history of sources.
        candidates: "sampled" for training: positives, history and negatives, or the history alone
            where `negatives` is None, capped. "history": each source's whole history. "none":
            sources and their history only.
        inclusive: Whether a target at exactly the source's time is visible.
        negatives: Draws negatives; with "sampled" only.
        num_negative: Negatives per source.
        popularity: Tells how sought after the candidates are; None where no model asks.
        batch_size: Sources per step over all workers together.
        num_workers: Workers that share each batch; 0 counts as 1.
        rank: Which of them this is.
        seed: Of the shuffle and of which positives and history are kept.
        shuffle: True for training, False for evaluation; see `plan_epoch`.
        threads: Threads that sample ahead; 0 samples in the caller's thread.
        max_iters: Steps per epoch at most; None for all.
        max_positives: Positives per source at most, with "sampled".
        max_history: Others of the history per source at most, with "sampled".

    Raises:
        ValidationError: There are negatives, but candidates are not sampled.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        split: LinkRows,
        *,
        target: str,
        source_sampler: NeighborSampler,
        target_sampler: NeighborSampler,
        reader: HistoryReader,
        candidates: CandidateKind,
        inclusive: bool,
        negatives: NegativeSampler | None = None,
        num_negative: int = 0,
        popularity: PopularityReader | None = None,
        batch_size: int,
        num_workers: int = 0,
        rank: int = 0,
        seed: int = 0,
        shuffle: bool,
        threads: int = 1,
        max_iters: int | None = None,
        max_positives: int = MAX_POSITIVES,
        max_history: int = MAX_HISTORY,
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
            groups=shared_moments(split.times) if shuffle else None,
        )
        if negatives is not None and candidates != "sampled":
            raise ValidationError(f"Candidates {candidates!r} have no negatives.")
        self._snapshot, self._split, self._reader = snapshot, split, reader
        self._source_sampler, self._target_sampler = source_sampler, target_sampler
        self._popularity = popularity
        is_sampled = candidates == "sampled"
        self._chooser = (
            None
            if candidates == "none"
            else CandidateChooser(
                snapshot.tables[target],
                negatives=negatives,
                num_negative=num_negative,
                inclusive=inclusive,
                seed=seed,
                max_positives=max_positives if is_sampled else ALL,
                max_history=max_history if is_sampled else ALL,
            )
        )

    def load(self, positions: Int64Array, weights: Float32Array, epoch: int) -> LinkBatch:
        """Sample sources, choose candidates, and sample each distinct target once."""
        rows, times = self._split.rows[positions], self._split.times[positions]
        trees = self._source_sampler.sample(rows, times, epoch=epoch, positions=positions)
        source = gather(self._snapshot, trees, positions=positions, weights=weights)
        history = self._reader.read(rows, times)
        chosen = self._choose(times, positions, history, epoch)
        target: Batch | None = None
        index, multiplicity = np.empty(0, np.int32), np.empty(0, np.float32)
        popularity = np.empty((0, 0), np.float32)
        if self._chooser is not None:
            at, moments, index = distinct_targets(chosen.targets, times[chosen.source])
            multiplicity = np.bincount(index, minlength=at.size).astype(np.float32)
            if not at.size:  # a model always gets a tree, so that all workers do the same steps
                at, moments = np.zeros(1, np.int32), times[:1]
                multiplicity = np.zeros(1, np.float32)
            target = self._targets(at, moments, epoch)
            popularity = read_popularity(self._popularity, at, moments)
        return LinkBatch(
            positions=positions,
            weights=weights,
            source=source,
            target=target,
            multiplicity=multiplicity,
            popularity=popularity,
            history=history,
            offset=chosen.offset,
            candidate=index,
            pair=chosen.pair,
            log_weight=chosen.log_weight,
            positive=chosen.positive,
        )

    def _choose(
        self, times: Int64Array, positions: Int64Array, history: History, epoch: int
    ) -> Candidates:
        if self._chooser is None:
            return _none(positions.size)
        offset, wanted = self._wanted(positions)
        return self._chooser.choose(
            times, positions, history, epoch=epoch, wanted_offset=offset, wanted=wanted
        )

    def _wanted(self, positions: Int64Array) -> tuple[Int64Array, Int32Array]:
        if self._split.offsets is None or self._split.targets is None:
            return np.zeros(positions.size + 1, np.int64), np.empty(0, np.int32)
        return gather_lists(self._split.offsets, self._split.targets, positions)

    def _targets(self, rows: Int32Array, times: Int64Array, epoch: int) -> Batch:
        # A tree may not depend on which sources it is shared by: its position is its own row.
        positions = rows.astype(np.int64)
        trees = self._target_sampler.sample(rows, times, epoch=epoch, positions=positions)
        return gather(self._snapshot, trees, positions=positions)


def read_popularity(
    reader: PopularityReader | None, rows: Int32Array, times: Int64Array
) -> Float32Array:
    """Return how sought after D targets are, float32 [D, F]; F is 0 without a reader."""
    if reader is None:
        return np.empty((rows.size, 0), np.float32)
    return reader.read(rows, times)


def shared_moments(times: Int64Array) -> Int64Array | None:
    """Return which of the distinct times each row has, int64 [N]; None where few rows share one.

    Targets are expanded once per batch and time, so batches of few times are several times cheaper.
    """
    moments, moment = np.unique(times, return_inverse=True)
    return moment.astype(np.int64) if moments.size * MIN_SHARING <= times.size else None


def distinct_targets(
    rows: Int32Array, times: Int64Array
) -> tuple[Int32Array, Int64Array, Int32Array]:
    """Return the distinct (row, time) among C, by row and then time: [D], [D], and int32 [C]."""
    moments, moment = np.unique(times, return_inverse=True)
    keys, index = np.unique(rows * np.int64(moments.size) + moment, return_inverse=True)
    num = max(1, moments.size)
    return (keys // num).astype(np.int32), moments[keys % num], index.astype(np.int32)


def _none(num: int) -> Candidates:
    nothing = np.empty(0, np.int32)
    return Candidates(
        offset=np.zeros(num + 1, np.int32),
        targets=nothing,
        pair=nothing,
        log_weight=np.empty(0, np.float32),
        positive=np.empty(0, np.bool_),
    )
