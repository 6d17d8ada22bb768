"""Rankings in the order of their rows, whatever the order in which they were made.

Shapes: N rows of the split, n rows of a block, k ranks, E channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from rle.training.link_evaluate import RankBlock

ROWS_PER_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class RankedRows:
    """The destinations of some consecutive rows of a split."""

    first: int
    """Position of the block's first row in the split."""
    is_known: NDArray[np.bool_]
    """[n]; False where the source is not in the graph, so that nothing can be ranked."""
    targets: NDArray[np.int32]
    """[n, k] rows of the target table, best first; -1 after the last."""
    scores: NDArray[np.float32]
    """[n, k]; -inf after the last."""
    embeddings: NDArray[np.float32] | None
    """[n, E]; NaN where not known. None where they were not asked for."""


def in_order(
    blocks: Iterable[RankBlock], *, is_known: NDArray[np.bool_], k: int, width: int | None
) -> Iterator[RankedRows]:
    """Yield every row of a split exactly once, in order, those of unknown sources included.

    Rows go out as soon as all before them are there. All of them are held, in 8 k bytes per row and
    4 E more with embeddings.

    Args:
        blocks: The known rows, each once, in any order.
        is_known: bool [N].
        k: Ranks.
        width: E, or None where the blocks have no embeddings.
    """
    num_rows = is_known.size
    targets = np.full((num_rows, k), -1, np.int32)
    scores = np.full((num_rows, k), -np.inf, np.float32)
    embeddings = None if width is None else np.full((num_rows, width), np.nan, np.float32)
    is_there = ~is_known
    done = 0

    def ready() -> Iterator[RankedRows]:
        nonlocal done
        while (size := _leading(is_there[done : done + ROWS_PER_BLOCK])) > 0:
            part = slice(done, done + size)
            done += size
            found = None if embeddings is None else embeddings[part]
            yield RankedRows(part.start, is_known[part], targets[part], scores[part], found)

    for block in blocks:
        at = block.positions
        targets[at], scores[at], is_there[at] = block.targets, block.scores, True
        if embeddings is not None:
            embeddings[at] = block.embeddings
        yield from ready()
    yield from ready()
    if done < num_rows:
        raise InternalError(f"Row {done} of a split of {num_rows} was not ranked.")


def _leading(flags: NDArray[np.bool_]) -> int:
    """How many flags are set before the first that is not."""
    return int(flags.size if flags.all() else flags.argmin())
