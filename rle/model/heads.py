"""From the root's state to outputs, and from outputs to losses and scores.

Shapes: S seeds, C channels, O outputs.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from rle.model.norms import BatchNorm
from rle.values import TaskType

if TYPE_CHECKING:
    from rle.model.spec import ModelSpec
    from rle.model.tensors import TensorBatch

ABSOLUTE_METRICS = ("mae", "mape")
"""Metrics that the median minimises; others are met by the mean."""


class Head(nn.Module):
    """`head_layers` times norm, ReLU, dropout and a linear layer; the last gives the outputs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        widths = [spec.channels] * spec.head_layers + [spec.num_outputs]
        self.norms = nn.ModuleList(
            BatchNorm(1, width) if spec.head_norm == "batch_norm" else nn.LayerNorm(width)
            for width in widths[:-1]
        )
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropouts = nn.ModuleList(
            CountedDropout(spec.dropout, seed=spec.seed + layer) for layer in range(len(widths) - 1)
        )

    def forward(self, roots: Tensor, batch: TensorBatch) -> Tensor:
        """[S, C] -> [S, O]."""
        weights = (batch.weights > 0).float()
        for norm, dropout, linear in zip(self.norms, self.dropouts, self.linears, strict=True):
            rows = roots.float()
            rows = norm([[(rows, weights)]])[0][0] if isinstance(norm, BatchNorm) else norm(rows)
            roots = linear(dropout(functional.relu_(rows), batch.positions))
        return roots


class CountedDropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, position of the seed row, channel).

    No random stream is read, so the mask of a row is the same whichever worker holds it, and the
    same again after a restart, since the step is part of the `state_dict`.
    """

    step: Tensor

    def __init__(self, share: float, *, seed: int) -> None:
        super().__init__()
        self.share, self.seed = share, seed
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Drop channels of [S, C] rows at int64 [S] positions; the identity outside training."""
        if not self.training or self.share == 0.0:
            return rows
        stream = _mix(_mix(self.step + self.seed * 1_000_003) ^ positions)
        channel = torch.arange(rows.shape[1], device=rows.device)
        noise = _mix(stream.unsqueeze(1) ^ _mix(channel)) & 0xFFFFFF
        self.step += 1
        keep = noise >= int(self.share * 2**24)
        return rows * keep * (1 / (1 - self.share))


class Objective:
    """What a task makes of the outputs: a loss per row, and scores that people read."""

    def __init__(self, spec: ModelSpec) -> None:
        self.task_type = spec.task_type
        self.is_absolute = spec.metric in ABSOLUTE_METRICS
        self.smoothing = spec.label_smoothing_alpha if spec.label_smoothing else 0.0
        regression = self.task_type is TaskType.REGRESSION
        self.mean = float(spec.labels.mean or 0.0) if regression else 0.0
        self.std = float(spec.labels.std or 1.0) if regression else 1.0
        self.low = -math.inf if spec.clamp_min is None else spec.clamp_min
        self.high = math.inf if spec.clamp_max is None else spec.clamp_max

    def row_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row, unweighted, float32 [S].

        Args:
            outputs: [S, O], what the model returned.
            labels: As the label codec encodes them: [S] numbers, 0 or 1, or class positions;
                [S, O] of 0 and 1 for multilabel.
        """
        outputs = outputs.float()
        if self.task_type is TaskType.MULTICLASS_CLASSIFICATION:
            return functional.cross_entropy(
                outputs, labels.long(), reduction="none", label_smoothing=self.smoothing
            )
        if self.task_type is TaskType.REGRESSION:
            error = outputs.squeeze(1) - (labels.float() - self.mean) / self.std
            return error.abs() if self.is_absolute else error.square()
        target = labels.float().view(outputs.shape)
        target = target * (1 - self.smoothing) + self.smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(outputs, target, reduction="none")
        return losses.mean(dim=1)

    def loss(self, outputs: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sum of the row losses, and the sum of the weights.

        Ranks hold shares of one global batch, so the division is left to who knows the total.
        """
        counted = torch.where(weights > 0, self.row_losses(outputs, labels), 0.0)
        return (counted * weights).sum(), weights.sum()

    def scores(self, outputs: Tensor) -> Tensor:
        """float32 [S, O]: probabilities, or values in the label's own scale, clamped.

        Binary tasks give the probability of the second class.
        """
        outputs = outputs.float()
        if self.task_type is TaskType.MULTICLASS_CLASSIFICATION:
            return outputs.softmax(dim=1)
        if self.task_type is TaskType.REGRESSION:
            return (outputs * self.std + self.mean).clamp(self.low, self.high)
        return outputs.sigmoid()


def predict_scores(spec: ModelSpec, outputs: Tensor) -> Tensor:
    """`Objective.scores` for one call."""
    return Objective(spec).scores(outputs)


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 values; a counter goes in, something like noise comes out."""
    # The multiplications wrap around. Shifts of negative numbers keep the sign bit, hence the mask.
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4_658_895_280_553_007_687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7_723_592_293_110_705_685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
