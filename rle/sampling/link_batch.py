"""What link prediction hands to the model: trees of sources and of targets, and how they pair.

Shapes: S sources, D distinct targets (a row at a time), C candidates, P pairs of a source with a
target that is in its history, K history paths, W windows of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rle.sampling.batch import Batch, Float32Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class History:
    """Which targets each source has met before its time, exactly, and how.

    An event is one walk down a history path: `count` and the rest are over the events that lead
    from the source to the target. Ages are in days before the source's time.
    """

    offset: Int32Array
    """int32 [S + 1], where each source's pairs begin."""
    targets: Int32Array
    """int32 [P], rows of the target table, ascending within a source."""
    count: Int32Array
    """int32 [P, K], events."""
    recent: Int32Array
    """int32 [P, K, W], events within each window of time; 0 on a path without time."""
    newest: Float32Array
    """float32 [P, K], age of the newest event; NaN where there is none, or no time."""
    previous: Float32Array
    """float32 [P, K], age of the one before it; NaN likewise."""
    oldest: Float32Array
    """float32 [P, K], age of the oldest event; NaN likewise."""
    event: Int32Array
    """int32 [P, K], row of the newest event in the table that the path's last many-relation leads
    to; -1 where there is no event, or no such relation."""


@dataclass(frozen=True, slots=True)
class LinkBatch:
    """All that one step of link prediction needs.

    The candidates of source s are `offset[s] : offset[s + 1]`.
    """

    positions: Int64Array
    """int64 [S], the sources' rows in the split."""
    weights: Float32Array
    """float32 [S], 0 for rows that only pad a batch."""
    source: Batch
    """Trees of the S sources."""
    target: Batch | None
    """Trees of the D distinct targets, each at the time of the sources it is a candidate of; None
    where the loader makes no candidates. Never empty: where no source has a candidate there is one
    tree of multiplicity 0."""
    multiplicity: Float32Array
    """float32 [D], how many candidates stand behind each tree."""
    popularity: Float32Array
    """float32 [D, F], see `rle.sampling.popularity`; F is 0 where it was not asked for."""
    history: History
    """Of the S sources, whole."""
    offset: Int32Array
    """int32 [S + 1]."""
    candidate: Int32Array
    """int32 [C], position among the D trees."""
    pair: Int32Array
    """int32 [C], position among the P pairs of `history`, -1 where the target is not in it."""
    log_weight: Float32Array
    """float32 [C], logarithm of how many targets the candidate stands for."""
    positive: NDArray[np.bool_]
    """bool [C]."""
