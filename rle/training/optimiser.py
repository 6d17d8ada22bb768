"""One optimiser step over a flat model: gradients of the global batch, clipped, AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rle.training.flat import FlatModel
    from rle.training.ranks import Ranks

MAX_GRADIENT_NORM = 1.0
"""Gradients with a longer Euclidean norm are scaled down to it."""

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Optimiser:
    """AdamW on the flat weights of a model that every rank holds alike.

    The decay is decoupled from the gradient: an L2 penalty under Adam is divided by the gradient's
    own size, so that it hardly holds the weights that need it.
    """

    def __init__(self, flat: FlatModel, ranks: Ranks, *, weight_decay: float) -> None:
        self._flat = flat
        self._ranks = ranks
        self._adam = torch.optim.AdamW([flat.weights], weight_decay=weight_decay, fused=True)

    def step(self, losses: Tensor, weights: Tensor, *, lr: float, wish: bool) -> Tensor:
        """Move the weights along the gradient of the weighted mean loss over all ranks.

        Args:
            losses: float32 [S], this rank's row losses, with their graph.
            weights: float32 [S], this rank's row weights.
            lr: Learning rate of this step.
            wish: Whether this rank wishes to stop; the wishes of all ranks are counted.

        Returns:
            float32 [4] on the device: mean loss, sum of row weights, number of wishes, and the
            norm of the gradient before clipping.
        """
        flat = self._flat
        flat.sent.zero_()
        # The sum, not the mean: only after the exchange is it known how many seeds there were.
        loss_sum = (losses * weights).sum()
        loss_sum.backward()  # type: ignore[no-untyped-call]
        flat.extras[0] = loss_sum.detach()
        flat.extras[1] = weights.sum()
        flat.extras[2] = float(wish)
        self._ranks.sum_(flat.sent)
        told = torch.empty(4, device=flat.sent.device)
        told[:3] = flat.extras
        # A batch of link sources may hold none that can be learnt from.
        total = torch.where(told[1] > 0, told[1], 1.0)
        told[0] /= total
        flat.gradients.div_(total)
        norm = flat.gradients.norm()
        flat.gradients.mul_((MAX_GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0))
        told[3] = norm
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()
        return told

    def moments(self) -> dict[str, Tensor]:
        """Adam's state as tensors; empty before the first step."""
        state = self._adam.state.get(self._flat.weights, {})
        return {f"adam.{name}": state[name] for name in _MOMENTS if name in state}

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `moments()`."""
        found = {name: tensors.get(f"adam.{name}") for name in _MOMENTS}
        self._adam.state.clear()
        kept = {name: tensor for name, tensor in found.items() if tensor is not None}
        if kept:
            device = self._flat.weights.device
            self._adam.state[self._flat.weights] = {
                name: tensor.to(device, copy=True) for name, tensor in kept.items()
            }
