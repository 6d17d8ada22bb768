from __future__ import annotations

import torch

from rle.model.dropout import MaskDropout, ValueDropout


def test_the_mask_of_a_row_does_not_depend_on_its_batch():
    rows, positions = torch.ones(10, 64), torch.arange(10)
    whole = MaskDropout(0.5, 64, seed=3)(rows, positions)
    first, second = MaskDropout(0.5, 64, seed=3), MaskDropout(0.5, 64, seed=3)
    parts = [first(rows[:4], positions[:4]), second(rows[4:], positions[4:])]
    assert torch.equal(whole, torch.cat(parts))


def test_masks_differ_between_steps_seeds_and_rows_and_continue_from_a_state():
    rows, positions = torch.ones(10, 64), torch.arange(10)
    dropout = MaskDropout(0.5, 64, seed=3)
    first = dropout(rows, positions)
    state = {name: value.clone() for name, value in dropout.state_dict().items()}
    second = dropout(rows, positions)
    again = MaskDropout(0.5, 64, seed=3)
    again.load_state_dict(state)
    assert torch.equal(second, again(rows, positions))
    assert not torch.equal(first, second)
    assert not torch.equal(first, MaskDropout(0.5, 64, seed=4)(rows, positions))
    assert not torch.equal(first[0], first[1])


def test_the_share_is_dropped_and_the_mean_is_kept():
    dropped = MaskDropout(0.3, 64, seed=0)(torch.ones(500, 64), torch.arange(500))
    assert abs((dropped == 0).float().mean() - 0.3) < 0.02
    assert abs(dropped.mean() - 1) < 0.02


def test_values_become_unknown_by_row_and_column():
    ids = torch.full((1000, 2), 7)
    dropout = ValueDropout(0.4, seed=0)
    dropped = dropout(ids, torch.tensor([1, 2]), torch.arange(1000))
    assert set(dropped[:, 0].tolist()) == {1, 7}
    assert set(dropped[:, 1].tolist()) == {2, 7}
    assert abs((dropped != 7).float().mean() - 0.4) < 0.05
    assert not torch.equal(dropped[:, 0] == 7, dropped[:, 1] == 7)


def test_nothing_is_dropped_outside_training():
    rows = torch.ones(3, 4)
    assert MaskDropout(0.5, 4, seed=0).eval()(rows, torch.arange(3)) is rows
    assert MaskDropout(0.0, 4, seed=0)(rows, torch.arange(3)) is rows
