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

from rle.model.dropout import MaskDropout
from rle.model.norms import BatchNorm
from rle.values import TaskType

if TYPE_CHECKING:
    from rle.model.spec import GraphModelSpec, ModelSpec
    from rle.model.tensors import TensorBatch

ABSOLUTE_METRICS = ("mae", "mape")
"""Metrics that the median minimises; others are met by the mean."""


class Join(nn.Module):
    """The root's states before and after every layer, side by side, as one vector."""

    def __init__(self, spec: GraphModelSpec) -> None:
        super().__init__()
        width = spec.channels * (spec.num_layers + 1)
        self.norm = nn.LayerNorm(width)
        self.dropout = MaskDropout(spec.dropout, width, seed=spec.seed + 101)
        self.linear = nn.Linear(width, spec.channels)
        if spec.head_norm == "batch_norm":
            # It would have no effect and a gradient of rounding errors alone, which Adam blows up
            # to whole steps that differ with the number of workers.
            self.linear.register_parameter("bias", None)

    def forward(self, history: Tensor, batch: TensorBatch) -> Tensor:
        """[S, (layers + 1) C] -> [S, C]."""
        rows = self.dropout(self.norm(history.float()), batch.positions)
        joined: Tensor = self.linear(rows)
        return joined


class Shortcut(nn.Module):
    """A linear model of the root's states beside the head; it begins as nothing."""

    def __init__(self, spec: GraphModelSpec, *, num_outputs: int) -> None:
        super().__init__()
        width = spec.channels * (spec.num_layers + 1)
        self.dropout = MaskDropout(spec.dropout, width, seed=spec.seed + 102)
        self.weight = nn.Parameter(torch.zeros(width, num_outputs))

    def forward(self, history: Tensor, batch: TensorBatch) -> Tensor:
        """[S, (layers + 1) C] -> [S, O]."""
        kept: Tensor = self.dropout(history, batch.positions)
        return kept @ self.weight


class Head(nn.Module):
    """`head_layers` times norm, ReLU, dropout and a linear layer; the last gives the outputs."""

    def __init__(self, spec: GraphModelSpec, *, num_outputs: int) -> None:
        super().__init__()
        widths = [spec.channels] * spec.head_layers + [num_outputs]
        self.norms = nn.ModuleList(
            BatchNorm(1, width) if spec.head_norm == "batch_norm" else nn.LayerNorm(width)
            for width in widths[:-1]
        )
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropouts = nn.ModuleList(
            MaskDropout(spec.dropout, spec.channels, seed=spec.seed + layer)
            for layer in range(spec.head_layers)
        )

    def drop_last_bias(self) -> None:
        """Let the outputs be a linear map of the last hidden layer."""
        self.linears[-1].register_parameter("bias", None)

    def forward(self, roots: Tensor, batch: TensorBatch) -> Tensor:
        """[S, C] -> [S, O]."""
        for norm, dropout, linear in zip(self.norms, self.dropouts, self.linears, strict=True):
            rows = roots.float()
            is_batch = isinstance(norm, BatchNorm)
            rows = norm([[(rows, batch.weights)]])[0][0] if is_batch else norm(rows)
            roots = linear(dropout(functional.relu_(rows), batch.positions))
        return roots


class Objective:
    """What a task makes of the outputs: a loss per row, and scores that people read."""

    def __init__(self, spec: ModelSpec) -> None:
        self.task_type = spec.task_type
        self.is_absolute = spec.metric in ABSOLUTE_METRICS
        self.smoothing = spec.label_smoothing_alpha if spec.label_smoothing else 0.0
        regression = self.task_type is TaskType.REGRESSION
        self.mean = float(spec.labels.mean or 0.0) if regression else 0.0
        self.std = float(spec.labels.std or 1.0) if regression else 1.0
        self.positive_weight: Tensor | None = None
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
        losses = functional.binary_cross_entropy_with_logits(
            outputs, target, reduction="none", pos_weight=self.positive_weight
        )
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


class WeightedObjective(Objective):
    """An objective for training alone, in which rows count by their class.

    Args:
        spec: As `Objective`.
        class_weights: float32 [classes] on the model's device, in the order of the codec's
            classes. Multilabel: the weight of each label where it is there.
    """

    def __init__(self, spec: ModelSpec, class_weights: Tensor) -> None:
        super().__init__(spec)
        self.class_weights = class_weights
        if self.task_type is TaskType.MULTILABEL_CLASSIFICATION:
            self.positive_weight = class_weights

    def row_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row times the weight of its class, float32 [S]."""
        losses = super().row_losses(outputs, labels)
        if self.positive_weight is not None:
            return losses
        return losses * self.class_weights[labels.long().reshape(-1)]


def predict_scores(spec: ModelSpec, outputs: Tensor) -> Tensor:
    """`Objective.scores` for one call."""
    return Objective(spec).scores(outputs)
