"""Scores of every row of a split, once each, in the order of its rows, and their measure."""

# Shapes: N rows of the split, S rows of a batch, C scores of a row.
from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rle.errors import InternalError
from rle.training.metrics import check_labels, compute
from rle.training.prefetch import Prefetcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from rle.spec.metric import EvaluationMetric
    from rle.training.protocols import Loader, ScoringObjective
    from rle.training.ranks import Ranks
    from rle.values import TaskType


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's answers for one split, the same on every rank."""

    loss: float
    """Mean loss over the rows; NaN where the split has no labels."""
    scores: Tensor
    """float32 [N, C] on the CPU, in row order."""


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 matrix products on CUDA; nothing on the CPU."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Loader,
    *,
    objective: ScoringObjective,
    num_rows: int,
    move: Callable[[Any, torch.device], Any],
    ranks: Ranks,
    on_step: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run `model` (in evaluation mode) over a whole split; each rank takes its share.

    Args:
        model: forward(batch) -> [S, num_outputs].
        loader: Every row of the split once over all ranks, and padding rows of weight 0.
        objective: Turns outputs into losses and scores.
        num_rows: N.
        move: Copies a batch to the device.
        ranks: Who else takes part.
        on_step: Called with the steps of this rank that are done (on CUDA: queued) and their
            number.

    Raises:
        InternalError: The loader left a row out or gave one twice.
    """
    device = ranks.device
    table: Tensor | None = None  # [N + 1, C + 1]: scores, then how often the row came by
    total = torch.zeros(2, dtype=torch.float64, device=device)
    loader.set_epoch(0)
    with contextlib.closing(iter(Prefetcher(iter(loader), move, device))) as batches:
        for step, batch in enumerate(batches, start=1):
            with autocast(device):
                outputs = model(batch)
            outputs = outputs.float()
            scores = objective.scores(outputs)
            if table is None:
                table = torch.zeros(num_rows + 1, scores.shape[1] + 1, device=device)
            # Padding goes to the row after the last, which is dropped: no wait for a mask on CUDA.
            rows = torch.where(batch.weights > 0, batch.positions, num_rows)
            table[rows, :-1] = scores.float()
            table[:, -1].index_add_(0, rows, torch.ones_like(rows, dtype=torch.float32))
            if batch.labels is not None:
                losses = objective.row_losses(outputs, batch.labels).double()
                total += torch.stack([(losses * batch.weights).sum(), batch.weights.sum().double()])
            if on_step is not None:
                on_step(step, len(loader))
    if table is None:
        raise InternalError("A loader without steps was evaluated.")
    ranks.sum_(total)
    scores = ranks.sum_(table[:-1].contiguous()).cpu()
    if not bool((scores[:, -1] == 1).all()):
        raise InternalError("A loader must give every row of a split exactly once.")
    loss_sum, weight_sum = total.tolist()
    loss = loss_sum / weight_sum if weight_sum else math.nan
    return Evaluation(loss=loss, scores=scores[:, :-1].contiguous())


@dataclass(frozen=True, slots=True)
class ScoreValidator:
    """Measures a node model: a row of scores per row of the split, against its labels."""

    metric: EvaluationMetric
    task_type: TaskType
    loader: Loader
    """Every row of the split once over all ranks; see `evaluate`."""
    labels: Tensor
    """Labels of all rows of the split, in row order."""
    objective: ScoringObjective
    move: Callable[[Any, torch.device], Any]
    """Copies a batch to a device."""

    def remarks(self) -> tuple[str, ...]:
        """See `rle.training.metrics.check_labels`."""
        return check_labels(self.metric, self.task_type, self.labels)

    def __call__(
        self, model: nn.Module, *, ranks: Ranks, on_step: Callable[[int, int], None]
    ) -> tuple[float, float]:
        """Evaluation metric, which only rank 0 computes, and mean loss."""
        found = evaluate(
            model,
            self.loader,
            objective=self.objective,
            num_rows=self.labels.shape[0],
            move=self.move,
            ranks=ranks,
            on_step=on_step,
        )
        value = 0.0
        if ranks.rank == 0:
            value = compute(self.metric, self.task_type, found.scores, self.labels)
        return value, found.loss

    def close(self) -> None:
        """Join the loader's threads."""
        self.loader.close()
