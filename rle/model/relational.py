"""The whole model of a node task: trees in, outputs out.

Shapes: S seeds, O outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rle.model.encoder import TreeEncoder
from rle.model.heads import Head, Shortcut
from rle.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from rle.model.tensors import TensorBatch

__all__ = ["ModelSpec", "RelationalModel"]


class RelationalModel(TreeEncoder):
    """A relational GNN for one entity table.

    Built from its spec alone, with weights that depend on `spec.seed` only; `bind` it to a
    snapshot before the first batch. Its `state_dict` holds all that prediction needs except what
    `bind` derives.
    """

    spec: ModelSpec

    def __init__(self, spec: ModelSpec) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            super().__init__(spec)
            width = spec.num_outputs
            self.head = Head(spec, num_outputs=width)
            self.shortcut = Shortcut(spec, num_outputs=width) if spec.head_shortcut else None

    def forward(self, batch: TensorBatch) -> Tensor:
        """Outputs of the head, [S, O]; `rle.model.heads.Objective` reads them."""
        return self.outputs(self.propagate(self.encode(batch), batch), batch)

    def outputs(self, history: Tensor, batch: TensorBatch) -> Tensor:
        """What `propagate` returned -> [S, O]."""
        result: Tensor = self.head(self.join(history, batch), batch)
        return result if self.shortcut is None else result + self.shortcut(history, batch)
