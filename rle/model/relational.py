"""The whole model of a node task: trees in, outputs out."""

from __future__ import annotations

import torch

from rle.model.encoder import TreeEncoder
from rle.model.spec import ModelSpec

__all__ = ["ModelSpec", "RelationalModel"]


class RelationalModel(TreeEncoder):
    """A relational GNN for one entity table; `rle.model.heads.Objective` reads its outputs.

    Built from its spec alone, with weights that depend on `spec.seed` only; `bind` it to a
    snapshot before the first batch. Its `state_dict` holds all that prediction needs except what
    `bind` derives.
    """

    spec: ModelSpec

    def __init__(self, spec: ModelSpec) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            super().__init__(spec, num_outputs=spec.num_outputs)
