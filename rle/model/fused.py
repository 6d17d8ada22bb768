"""Steps over [rows, channels] that save passes over memory, forward and backward.

Shapes: N rows, C channels, E extra features, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPS = 1e-5


def norm_relu(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    masks: Tensor | None = None,
    choice: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """LayerNorm over channels, ReLU, and perhaps a mask per row, as one step.

    Args:
        rows: float32 [N, C].
        weight: [C].
        bias: [C].
        masks: [masks, C] of 0 and `scale`; None for no mask.
        choice: int64 [N], which mask each row takes.
        scale: What the masks hold where they do not hold 0.
    """
    result: Tensor = _NormRelu.apply(  # type: ignore[no-untyped-call]
        rows, weight, bias, masks, choice, scale
    )
    return result


def affine_pair(
    block: Tensor, extra: Tensor, block_map: Tensor, extra_map: Tensor, constant: Tensor
) -> Tensor:
    """`block @ block_map + extra @ extra_map + constant`, [N, O], as one product.

    No gradient is computed for `extra`, which is data.
    """
    result: Tensor = _AffinePair.apply(  # type: ignore[no-untyped-call]
        block, extra, block_map, extra_map, constant
    )
    return result


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor,
        masks: Tensor | None,
        choice: Tensor | None,
        scale: float,
    ) -> Tensor:
        size = (rows.shape[1],)
        out, mean, rstd = torch.native_layer_norm(rows, size, weight, bias, EPS)
        out.relu_()
        if masks is not None and choice is not None:
            out.mul_(masks.index_select(0, choice))
        ctx.save_for_backward(rows, weight, bias, out, mean, rstd)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, out, mean, rstd = ctx.saved_tensors
        # What is above zero passed the ReLU and the mask, and was scaled; all else is cut off.
        grad = torch.ops.aten.threshold_backward(grad, out, 0)
        to_rows, to_weight, to_bias = torch.ops.aten.native_layer_norm_backward(
            grad, rows, (rows.shape[1],), mean, rstd, weight * ctx.scale, bias, [True, True, True]
        )
        return to_rows, to_weight * ctx.scale, to_bias * ctx.scale, None, None, None


class _AffinePair(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        block: Tensor,
        extra: Tensor,
        block_map: Tensor,
        extra_map: Tensor,
        constant: Tensor,
    ) -> Tensor:
        device = block.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        else:
            dtype = block.dtype
        inputs = torch.cat([block.to(dtype), extra.to(dtype)], dim=1)
        maps = torch.cat([block_map, extra_map]).to(dtype)
        ctx.save_for_backward(inputs, maps)
        ctx.channels, ctx.grad_dtype = block.shape[1], block.dtype
        return torch.addmm(constant.to(dtype), inputs, maps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, maps = ctx.saved_tensors
        grad = grad.to(inputs.dtype)
        to_block = (grad @ maps[: ctx.channels].t()).to(ctx.grad_dtype)
        to_maps = (inputs.t() @ grad).float()
        to_constant = grad.sum(0, dtype=torch.float32)
        return to_block, None, to_maps[: ctx.channels], to_maps[ctx.channels :], to_constant
