"""The candidates of a batch of sources: positives, history and negatives, each with its weight.

Shapes: S sources, C candidates, k negatives per source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import ValidationError
from rle.sampling.kernels import candidates as kernels
from rle.sampling.kernels.link_loading import load_links
from rle.sampling.kernels.loading import read_only
from rle.sampling.visible import count_visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.store import TableStore
    from rle.sampling.batch import Float32Array, Int32Array, Int64Array
    from rle.sampling.link_batch import History
    from rle.sampling.negatives import NegativeSampler

    BoolArray = NDArray[np.bool_]

ALL = 2**31 - 1
"""A cap that cuts nothing."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of S sources, C in all."""

    offset: Int32Array
    """int32 [S + 1]."""
    targets: Int32Array
    """int32 [C], rows of the target table; per source the known ones ascending, then negatives."""
    pair: Int32Array
    """int32 [C], as `LinkBatch.pair`."""
    log_weight: Float32Array
    """float32 [C], as `LinkBatch.log_weight`."""
    positive: BoolArray
    """bool [C]."""

    @property
    def source(self) -> Int64Array:
        """int64 [C], the source of each candidate."""
        return np.repeat(np.arange(self.offset.size - 1), np.diff(self.offset))


class CandidateChooser:
    """Chooses what a training step looks at, as a function of (seed, epoch, position).

    Without negatives the candidates are the history alone. With them, positives that exist at the
    source's time come too, whether it has met them or not.

    Args:
        targets: The target table.
        negatives: Draws negatives; None for candidates from the history alone.
        num_negative: Negatives per source.
        inclusive: Whether a target at exactly the source's time is visible.
        seed: Of the draws.
        max_positives: Positives per source at most. Those kept stand for all.
        max_history: Others of the history per source at most. Those kept stand for all.

    Raises:
        ValidationError: A cap is below 1.
    """

    def __init__(
        self,
        targets: TableStore,
        *,
        negatives: NegativeSampler | None,
        num_negative: int,
        inclusive: bool,
        seed: int,
        max_positives: int = ALL,
        max_history: int = ALL,
    ) -> None:
        if min(max_positives, max_history) < 1:
            raise ValidationError(
                f"At least one positive and one target of the history must be kept, not "
                f"{max_positives} and {max_history}."
            )
        load_links()
        self._store, self._negatives, self._num = targets, negatives, num_negative
        self._inclusive, self._seed = inclusive, seed & 0x7FFFFFFFFFFFFFFF
        self._rooms = np.array([max_positives, max_history], np.int64)

    def choose(
        self,
        times: Int64Array,
        positions: Int64Array,
        history: History,
        *,
        epoch: int,
        wanted_offset: Int64Array,
        wanted: Int32Array,
    ) -> Candidates:
        """Return the candidates of each source.

        Args:
            times: int64 [S], nanoseconds since 1970 UTC.
            positions: int64 [S], the sources' rows in their split.
            history: Of these sources.
            epoch: Part of the randomness.
            wanted_offset: int64 [S + 1], where each source's positives begin.
            wanted: int32, rows of the target table, ascending and distinct within a source.
        """
        room = wanted.size + history.targets.size
        offset, known_offset = (
            np.empty(times.size + 1, np.int32),
            np.empty(times.size + 1, np.int64),
        )
        targets, pair, known = (np.empty(room, np.int32) for _ in range(3))
        positive, log_weight = np.empty(room, np.bool_), np.empty(room, np.float32)
        kernels.choose_candidates(
            read_only(np.ascontiguousarray(positions, np.int64)),
            read_only(np.ascontiguousarray(wanted_offset, np.int64)),
            read_only(np.ascontiguousarray(wanted, np.int32)),
            read_only(history.offset),
            read_only(history.targets),
            read_only(count_visible(self._store, times, inclusive=self._inclusive)),
            read_only(self._rooms),
            int(self._negatives is None),
            self._seed,
            epoch,
            offset,
            targets,
            pair,
            positive,
            log_weight,
            known_offset,
            known,
        )
        num = int(offset[-1])
        chosen = Candidates(offset, targets[:num], pair[:num], log_weight[:num], positive[:num])
        if self._negatives is None:
            return chosen
        drawn, weights = self._negatives.draw(
            times,
            positions,
            epoch=epoch,
            num=self._num,
            excluded_offset=known_offset,
            excluded=known[: known_offset[-1]],
        )
        return _with_negatives(chosen, drawn, weights)


def _with_negatives(known: Candidates, drawn: Int32Array, weights: Float32Array) -> Candidates:
    """Put the negatives, int32 and float32 [S, k] with -1 for none, behind each source's own."""
    is_there = drawn >= 0
    counts = is_there.sum(axis=1)
    offset = np.zeros(known.offset.size, np.int64)
    np.cumsum(np.diff(known.offset) + counts, out=offset[1:])
    # Every candidate moves by the negatives before it, every negative by the candidates.
    before = np.cumsum(counts) - counts
    of_known = np.arange(known.targets.size) + before[known.source]
    of_drawn = np.arange(int(counts.sum())) + np.repeat(known.offset[1:], counts)
    size = int(offset[-1])
    targets, pair = np.empty(size, np.int32), np.full(size, -1, np.int32)
    log_weight, positive = np.empty(size, np.float32), np.zeros(size, np.bool_)
    targets[of_known], targets[of_drawn] = known.targets, drawn[is_there]
    log_weight[of_known], log_weight[of_drawn] = known.log_weight, weights[is_there]
    pair[of_known], positive[of_known] = known.pair, known.positive
    return Candidates(offset.astype(np.int32), targets, pair, log_weight, positive)
