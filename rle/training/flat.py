"""All parameters of a model as one vector, and their gradients, averages and moments as others.

One vector makes an optimiser step, an average over steps, a norm and an exchange between ranks
one operation each, and gives relations that a step did not use a gradient of zero, so that the
update is the same whichever rank saw them.
"""

# Shapes: P parameters of the model, all together.
from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_EXTRAS = 3
"""Numbers that travel behind the gradients: sum of losses, sum of weights, wish to stop."""


class FlatModel:
    """The parameters of `model` moved into one float32 vector that they are views of.

    Args:
        model: On its device, every trained parameter float32. Its parameters stay usable.
        averaged: Whether an average of the weights over steps is kept.
    """

    def __init__(self, model: nn.Module, *, averaged: bool) -> None:
        self.model = model
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        wrong = [name for name, p in named if p.dtype != torch.float32]
        if wrong or not named:
            raise InternalError(f"Trained parameters must be float32; these are not: {wrong}.")
        self.layout: tuple[tuple[str, tuple[int, ...]], ...] = tuple(
            (name, tuple(p.shape)) for name, p in named
        )
        size = sum(p.numel() for _, p in named)
        device = named[0][1].device
        self.weights = nn.Parameter(torch.empty(size, device=device))
        """float32 [P]."""
        self.sent = torch.zeros(size + NUM_EXTRAS, device=device)
        """float32 [P + NUM_EXTRAS]: gradients, then the numbers that are summed with them."""
        self.weights.grad = self.sent[:size]
        self._adopt([p for _, p in named])
        self.average = self.weights.detach().clone() if averaged else None
        """float32 [P], or None."""

    def _adopt(self, parameters: list[nn.Parameter]) -> None:
        first = 0
        for parameter in parameters:
            last = first + parameter.numel()
            view = self.weights.data[first:last].view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
            # Autograd adds into a gradient that is there, so it lands in `sent` by itself.
            parameter.grad = self.sent[first:last].view(parameter.shape)
            first = last

    @property
    def gradients(self) -> Tensor:
        """float32 [P], a view of `sent`."""
        return self.sent[:-NUM_EXTRAS]

    @property
    def extras(self) -> Tensor:
        """float32 [NUM_EXTRAS], a view of `sent`."""
        return self.sent[-NUM_EXTRAS:]

    def buffers(self) -> dict[str, Tensor]:
        """The model's persistent buffers by name, such as the running means of norms."""
        names = {name for name, _ in self.model.named_parameters()}
        state = self.model.state_dict()
        return {name: tensor for name, tensor in state.items() if name not in names}

    @torch.no_grad()
    def load_buffers(self, buffers: dict[str, Tensor]) -> None:
        """Copy `buffers` into the model's."""
        for name, tensor in self.buffers().items():
            tensor.copy_(buffers[name])

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the weights, keeping a share `decay` of it."""
        if self.average is not None:
            self.average.lerp_(self.weights.data, 1.0 - decay)

    def kept(self) -> Tensor:
        """float32 [P], the weights that are validated and kept: the average where there is one."""
        return self.weights.data if self.average is None else self.average

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model holds the kept weights and is in evaluation mode."""
        was_training = self.model.training
        live = None if self.average is None else self.weights.data.clone()
        if self.average is not None:
            self.weights.data.copy_(self.average)
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)
            if live is not None:
                self.weights.data.copy_(live)

    def state_dict_of(self, weights: Tensor, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the model on the CPU, with other weights [P] and buffers.

        Parameters that are not trained come from the model as it is.
        """
        state = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        first = 0
        for name, shape in self.layout:
            last = first + state[name].numel()
            state[name] = weights[first:last].reshape(shape).detach().cpu().clone()
            first = last
        return state | {name: tensor.detach().cpu().clone() for name, tensor in buffers.items()}
