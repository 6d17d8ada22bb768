"""Batches reach the device in order, whatever the device."""

from __future__ import annotations

import pytest
import torch

from rle.testing.training import TinyLoader, TinySplit, move
from rle.training.prefetch import Prefetcher, tensors_of

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine"),
        ],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_batches_arrive_complete_and_in_order(device):
    split = TinySplit.draw(500, seed=0)
    loader = TinyLoader(split, batch_size=16, rank=0, num_ranks=1, seed=3)
    expected = list(loader)
    arrived = Prefetcher(iter(loader), move, torch.device(device))
    for here, there in zip(expected, arrived, strict=True):
        pairs = list(zip(tensors_of(here), tensors_of(there), strict=True))
        assert len(pairs) == 5
        assert all(b.device.type == device and torch.equal(a, b.cpu()) for a, b in pairs)


@pytest.mark.parametrize("device", DEVICES)
def test_an_empty_loader_gives_nothing(device):
    assert list(Prefetcher(iter([]), move, torch.device(device))) == []


def test_tensors_are_found_in_mappings_sequences_and_dataclasses():
    a, b, c = torch.zeros(1), torch.ones(2), torch.ones(3)
    batch = TinySplit(numbers=a, codes=b, labels=c)
    assert list(tensors_of({"x": [batch, 3], "y": (a, None)})) == [a, b, c, a]
