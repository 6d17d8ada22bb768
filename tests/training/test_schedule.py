"""Pure decisions of a run: learning rate, averages, when to validate and save."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rle.spec.config import TrainerConfig
from rle.training.schedule import Schedule


def schedule(num_steps: int = 10, **changes) -> Schedule:
    connector = {"kind": "duckdb", "database": "unused.duckdb"}
    config = TrainerConfig(**{"connector": connector, "device": "cpu", "n_epochs": 6} | changes)
    return Schedule.of(config, num_steps)


def test_at_whole_epochs_the_rate_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([parameter], lr=0.01)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=6, eta_min=1e-4)
    ours = schedule(lr=0.01, eta_min=1e-4, warmup=0.0)
    for epoch in range(6):
        assert ours.lr_at(epoch, 0) == pytest.approx(adam.param_groups[0]["lr"], rel=1e-6)
        adam.step()
        reference.step()


def test_after_t_max_the_rate_stays_at_its_lowest():
    ours = schedule(lr=0.01, eta_min=1e-4, T_max=3, warmup=0.0)
    assert ours.lr_at(0, 0) == 0.01
    assert ours.lr_at(1, 5) == pytest.approx((0.01 + 1e-4) / 2)
    assert [ours.lr_at(epoch, 4) for epoch in (3, 4, 5)] == [1e-4] * 3


def test_the_rate_warms_up_to_the_cosine():
    plain, ours = schedule(lr=0.01, warmup=0.0), schedule(lr=0.01, warmup=0.1)
    shares = [ours.lr_at(*divmod(s, 10)) / plain.lr_at(*divmod(s, 10)) for s in range(12)]
    # A tenth of six epochs of ten steps.
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6] + [1.0] * 7)


def test_the_average_is_short_at_first():
    ours = schedule(ema_decay=0.99)
    assert ours.ema_decay_at(0) == pytest.approx(0.1)
    assert ours.ema_decay_at(10) == pytest.approx(0.55)
    assert ours.ema_decay_at(10_000) == 0.99


@given(st.integers(1, 200), st.integers(1, 20))
def test_validations_within_an_epoch_are_evenly_spaced(num_steps, evals):
    ours = schedule(num_steps, evals_per_epoch=evals)
    at = [step for step in range(1, num_steps + 1) if ours.due_after(0, step).validate]
    assert at[-1] == num_steps
    assert len(at) == min(evals, num_steps) or num_steps < 2 * evals
    gaps = [b - a for a, b in zip([0, *at], at, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_several_validations_per_epoch_need_one_in_every_epoch():
    ours = schedule(eval_every=2, evals_per_epoch=4)
    due = [(e, s) for e in range(6) for s in range(1, 11) if ours.due_after(e, s).validate]
    assert due == [(1, 10), (3, 10), (5, 10)]
