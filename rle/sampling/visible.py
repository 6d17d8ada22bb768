"""How many rows of a table are there at a moment: rows are in time order, so they are a prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.store import TableStore


def count_visible(
    store: TableStore, times: NDArray[np.int64], *, inclusive: bool
) -> NDArray[np.int32]:
    """Return int32 [S]: at each of the times, the rows below this number are visible.

    Args:
        store: The table; without time all of its rows are always visible.
        times: int64 [S], nanoseconds since 1970 UTC, below `NULL_TIME`.
        inclusive: Whether a row at exactly that time is visible.
    """
    if store.times is None:
        return np.full(times.size, store.num_rows, np.int32)
    return count_before(store.times, times, inclusive=inclusive)


def count_before(
    moments: NDArray[np.int64], times: NDArray[np.int64], *, inclusive: bool
) -> NDArray[np.int32]:
    """Return int32 [S]: how many of the ascending moments are before, or at, each of the times."""
    found: NDArray[np.int64] = (
        np.searchsorted(moments, times, side="right")
        if inclusive
        else np.searchsorted(moments, times, side="left")
    )
    return found.astype(np.int32)
