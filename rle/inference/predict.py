"""From the rows of a split to prediction and embedding batches, in the order of the rows.

Shapes: N rows of the split, n rows of a block, C scores per row, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.model.heads import Objective
from rle.model.tensors import to_tensors
from rle.training.evaluate import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rle.model.relational import RelationalModel
    from rle.sampling.loader import BatchLoader


@dataclass(frozen=True, slots=True)
class ScoreBlock:
    """What the model says about some consecutive rows of a split."""

    first: int
    """Position of the block's first row in the split."""
    is_known: NDArray[np.bool_]
    """[n]; False where the entity is not in the graph, so that nothing can be said."""
    scores: NDArray[np.float32]
    """[n, C] probabilities, or values in the label's scale; NaN where not known."""
    embeddings: NDArray[np.float32] | None
    """[n, D]; NaN where not known. None where they were not asked for."""

    @property
    def num_rows(self) -> int:
        """Number of rows, n."""
        return int(self.is_known.size)


@torch.inference_mode()
def score_rows(
    model: RelationalModel,
    loader: BatchLoader,
    *,
    num_rows: int,
    device: torch.device,
    with_embeddings: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[ScoreBlock]:
    """Yield the scores of every row of a split exactly once, in order, batch by batch.

    Args:
        model: Bound to the snapshot that `loader` reads, and on `device`; put into evaluation
            mode.
        loader: Batches of the known rows in order (shuffle=False), one worker.
        num_rows: N, unknown entities included.
        device: Where the model is.
        with_embeddings: Whether the vectors that the scores are made of are wanted too.
        on_step: Called with the steps done and their number.
    """
    model.eval()
    objective = Objective(model.spec)
    done = 0
    for step, batch in enumerate(loader, start=1):
        moved = to_tensors(batch, device, pin=device.type == "cuda")
        with autocast(device):
            history = model.propagate(model.encode(moved), moved)
            outputs = model.outputs(history, moved)
            vectors = model.join(history, moved) if with_embeddings else None
        scores = objective.scores(outputs.float()).float().cpu().numpy()
        embeddings = None if vectors is None else vectors.float().cpu().numpy()
        # Rows of unknown entities lie between the known ones; they go out with the batch after.
        block = _fill(done, batch.positions, scores, embeddings)
        done += block.num_rows
        yield block
        if on_step is not None:
            on_step(step, len(loader))
    if done < num_rows:
        num_scores, num_channels = model.spec.num_outputs, model.spec.channels
        yield ScoreBlock(
            first=done,
            is_known=np.zeros(num_rows - done, bool),
            scores=_nan(num_rows - done, num_scores),
            embeddings=_nan(num_rows - done, num_channels) if with_embeddings else None,
        )


def _fill(
    first: int,
    positions: NDArray[np.int64],
    scores: NDArray[np.float32],
    embeddings: NDArray[np.float32] | None,
) -> ScoreBlock:
    num_rows = int(positions[-1]) + 1 - first
    at = positions - first
    is_known = np.zeros(num_rows, bool)
    is_known[at] = True
    all_scores = _nan(num_rows, scores.shape[1])
    all_scores[at] = scores
    all_embeddings = None
    if embeddings is not None:
        all_embeddings = _nan(num_rows, embeddings.shape[1])
        all_embeddings[at] = embeddings
    return ScoreBlock(first, is_known, all_scores, all_embeddings)


def _nan(num_rows: int, num_columns: int) -> NDArray[np.float32]:
    return np.full((num_rows, num_columns), np.nan, np.float32)
