"""As of which moments the destinations of link prediction are embedded.

A destination's vector depends on the time of the prediction. Rows of one time share it; where rows
have very many different times, close ones share it too, so that retrieval stays affordable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.errors import ValidationError

if TYPE_CHECKING:
    from rle.sampling.batch import Int32Array, Int64Array


def moments(times: Int64Array, *, limit: int) -> tuple[Int64Array, Int32Array]:
    """Choose at most `limit` moments, and for each row the latest that is not after its time.

    Never later, so that nothing a row may not see gets into the vectors it is compared with. With
    at most `limit` different times, each row has its own time: exact. With more, the span of time
    is cut into `limit` equal parts, and the earliest time in each part stands for it: no row is
    given a moment that is a whole part older than itself.

    Args:
        times: int64 [N], nanoseconds.
        limit: 1 or more.

    Returns:
        int64 [m] moments, ascending and distinct, each the time of a row; int32 [N], the position
        of each row's moment among them.

    Raises:
        ValidationError: `limit` is below 1.
    """
    if limit < 1:
        raise ValidationError(f"At least one moment is needed, not {limit}.")
    distinct = np.unique(times)
    if distinct.size > limit:
        # As Python's whole numbers: the span of int64 does not fit into int64.
        first, span = int(distinct[0]), int(distinct[-1]) - int(distinct[0]) + 1
        starts = [first + span * part // limit for part in range(limit)]
        distinct = distinct[np.unique(np.searchsorted(distinct, np.array(starts, np.int64)))]
    index = np.searchsorted(distinct, times, side="right") - 1
    return distinct, index.astype(np.int32)
