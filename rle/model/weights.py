"""How weights begin. Matrices are stored [inputs, outputs], the order in which they are merged."""

from __future__ import annotations

import math

import torch
from torch import nn

EMBEDDING_STD = 0.05
"""Deviation of a new category vector, small beside the numeric features it is added to."""


def uniform(num_inputs: int, num_outputs: int) -> nn.Parameter:
    """A linear map with entries within 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(max(num_inputs, 1))
    return nn.Parameter((torch.rand(num_inputs, num_outputs) * 2 - 1) * bound)


def uniform_stack(num_maps: int, channels: int) -> nn.Parameter:
    """Several square maps whose outputs are added, [maps, channels, channels]."""
    bound = 1 / math.sqrt(num_maps * channels)
    return nn.Parameter((torch.rand(num_maps, channels, channels) * 2 - 1) * bound)


def normal(num_vectors: int, channels: int) -> nn.Parameter:
    """Vectors of an embedding table."""
    return nn.Parameter(torch.randn(num_vectors, channels) * EMBEDDING_STD)
