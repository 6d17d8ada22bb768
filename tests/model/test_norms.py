from __future__ import annotations

import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed as dist
from torch import nn

from rle.model.norms import BatchNorm

ROWS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
TOWARDS = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([1.0] * 10 + [0.0] * 2)


def run(norm, rows, weights, towards):
    """Outputs and the gradient of the rows."""
    rows = rows.clone().requires_grad_()
    out = norm([[(rows, weights)]])[0][0]
    # Rows of weight 0 have no part in the loss either.
    (out * towards * weights.unsqueeze(1)).sum().backward()
    return out.detach(), rows.grad


def test_batch_norm_equals_that_of_torch_and_rows_of_weight_zero_do_not_count():
    ours, theirs = BatchNorm(1, 4), nn.BatchNorm1d(4)
    out, grad = run(ours, ROWS, WEIGHTS, TOWARDS)
    rows = ROWS[:10].clone().requires_grad_()
    expected = theirs(rows)
    (expected * TOWARDS[:10]).sum().backward()
    torch.testing.assert_close(out[:10], expected.detach())
    torch.testing.assert_close(grad[:10], rows.grad)
    assert grad[10:].eq(0).all()
    torch.testing.assert_close(ours.running_mean[0], theirs.running_mean)
    torch.testing.assert_close(ours.running_var[0], theirs.running_var)
    torch.testing.assert_close(
        ours.eval()([[(ROWS, WEIGHTS)]])[0][0].detach(), theirs.eval()(ROWS).detach()
    )


def test_groups_have_statistics_of_their_own_and_an_empty_one_keeps_what_it_had():
    norm = BatchNorm(3, 4)
    empty = torch.empty(0, 4)
    ones = torch.ones(12)
    first, second, third = norm([[(ROWS, ones)], [(ROWS * 5 + 3, ones)], [(empty, ones[:0])]])
    torch.testing.assert_close(first[0], second[0], atol=1e-3, rtol=1e-3)
    assert third[0].shape == (0, 4)
    assert norm.running_mean[2].eq(0).all()
    assert norm.running_var[2].eq(1).all()


def _rank(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    part = slice(0, 5) if rank == 0 else slice(5, 12)
    norm = BatchNorm(1, 4)
    out, grad = run(norm, ROWS[part], WEIGHTS[part], TOWARDS[part])
    torch.save(
        {"out": out, "grad": grad, "mean": norm.running_mean, "var": norm.running_var},
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    whole = BatchNorm(1, 4)
    out, grad = run(whole, ROWS, WEIGHTS, TOWARDS)
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([p["out"] for p in parts]), out)
    torch.testing.assert_close(torch.cat([p["grad"] for p in parts]), grad)
    for part in parts:
        torch.testing.assert_close(part["mean"], whole.running_mean)
        torch.testing.assert_close(part["var"], whole.running_var)
