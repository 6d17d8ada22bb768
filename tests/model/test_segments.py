from __future__ import annotations

import numpy as np
import pytest
import torch

from rle.model.segments import SUM_SCALE, Aggregates, bag_sum, pool, pool_max, pool_ones
from rle.model.tensors import TensorHop


def make_hop(degrees, *, num_extra=0, newest=()):
    """A hop whose newest links are (parent, rank, child) triples."""
    degree = torch.tensor(degrees, dtype=torch.int64)
    links = torch.tensor(newest, dtype=torch.int64).view(-1, 3)
    return TensorHop(
        relation=0,
        depth=0,
        source="a",
        target="b",
        first=0,
        num_children=int(degree.sum()),
        num_extra=num_extra,
        offset=torch.cat([torch.zeros(1, dtype=torch.int64), degree.cumsum(0)]),
        parent=torch.repeat_interleave(torch.arange(len(degrees)), degree),
        degree=degree.float(),
        count=degree.float(),
        recent=torch.zeros(len(degrees), 0),
        newest_parent=links[:, 0],
        newest_rank=links[:, 1],
        newest_child=links[:, 2],
        newest_width=2,
        newest_age=None,
    )


HOP = make_hop(
    [2, 0, 3], num_extra=1, newest=[(0, 0, 1), (0, 1, 0), (2, 0, 5), (2, 0, 4), (2, 1, 3)]
)


def slow_pool(rows, hop, how):
    """Row by row."""
    out = torch.zeros(hop.num_parents, len(how), rows.shape[1], dtype=rows.dtype)
    for p in range(hop.num_parents):
        mine = rows[: hop.num_children][hop.parent == p]
        if len(mine):
            out[p, 0] = mine.mean(0) if how.main == "mean" else mine.sum(0)
            if how.with_sum:
                out[p, 1] = mine.sum(0) * SUM_SCALE
    for p, rank, child in zip(hop.newest_parent, hop.newest_rank, hop.newest_child, strict=True):
        if rank < how.num_newest:
            out[p, how.num_sums + rank] += rows[child]
    return out


@pytest.mark.parametrize("main", ["mean", "sum"])
@pytest.mark.parametrize("with_sum", [False, True])
@pytest.mark.parametrize("num_newest", [0, 1, 2])
@pytest.mark.parametrize("indexed", [False, True])
def test_pool_and_its_gradient_equal_a_loop(main, with_sum, num_newest, indexed):
    how = Aggregates(main, with_sum, num_newest)
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(4 if indexed else 6, 3, generator=generator, dtype=torch.float64)
    block.requires_grad_()
    index = torch.tensor([3, 0, 0, 2, 1, 3]) if indexed else None
    fast = pool(block, index, HOP, how)
    slow = slow_pool(block if index is None else block[index], HOP, how)
    torch.testing.assert_close(fast, slow)
    towards = torch.randn(fast.shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((x * towards).sum(), block)[0] for x in (fast, slow))
    torch.testing.assert_close(ours, theirs)


def test_pool_ones_is_pool_of_a_column_of_ones():
    for how in (Aggregates("mean", True, 2), Aggregates("sum", False, 1)):
        pooled = pool(torch.ones(6, 1), None, HOP, how).squeeze(2)
        torch.testing.assert_close(pool_ones(HOP, how), pooled)


def test_pool_max_leaves_out_extras_and_gives_zeros_without_children():
    block = torch.tensor([[-1.0], [-3.0], [5.0], [1.0], [2.0], [99.0]])
    assert pool_max(block, HOP).tolist() == [[-1.0], [0.0], [5.0]]


@pytest.mark.parametrize("degrees", [[0, 0], []])
def test_a_hop_without_children_has_gradients_of_zero(degrees):
    hop = make_hop(degrees)
    block = torch.zeros(0, 3, requires_grad=True)
    for result in (pool(block, None, hop, Aggregates("mean", True, 2)), pool_max(block, hop)):
        assert result.shape[0] == len(degrees)
        assert result.eq(0).all()
        assert torch.autograd.grad(result.sum(), block)[0].shape == (0, 3)


def test_bag_sum_and_its_gradient_equal_a_sum_of_look_ups():
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    ids = torch.from_numpy(np.array([[0, 4], [0, 3], [2, 3]]))
    fast, slow = bag_sum(table, ids), table[ids].sum(1)
    torch.testing.assert_close(fast, slow)
    towards = torch.randn(3, 3, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((x * towards).sum(), table)[0] for x in (fast, slow))
    torch.testing.assert_close(ours, theirs)
