from __future__ import annotations

import numpy as np
import torch

from rle.model.tensors import to_tensors
from tests.model.graphs import make_batch, make_snapshot


def test_children_carry_their_parent_and_indices_are_wide():
    batch = make_batch(make_snapshot())
    tensors = to_tensors(batch, "cpu")
    for hop, narrow in zip(tensors.hops, batch.trees.hops, strict=True):
        assert hop.offset.dtype == hop.parent.dtype == torch.int64
        degree = np.diff(narrow.offset)
        assert hop.parent.tolist() == np.repeat(np.arange(degree.size), degree).tolist()
        assert hop.size == narrow.offset[-1] + narrow.num_extra


def test_rows_of_one_moment_share_a_rank_and_extras_are_among_them():
    snapshot = make_snapshot()
    batch = make_batch(snapshot, fanouts=(1, 1))  # few are drawn, so the newest are extras
    num_extra = 0
    for hop, narrow in zip(to_tensors(batch, "cpu").hops, batch.trees.hops, strict=True):
        if narrow.newest.shape[1] == 0 or narrow.target != "orders":
            assert narrow.target == "orders" or hop.newest_rank.lt(2).all()
            continue
        num_extra += narrow.num_extra
        rows = batch.trees.frontiers[narrow.depth + 1, "orders"].rows[narrow.first :]
        times = snapshot.tables["orders"].times[rows]
        moments: dict[tuple[int, int], set[int]] = {}
        links = zip(hop.newest_parent, hop.newest_rank, hop.newest_child, strict=True)
        for parent, rank, child in links:
            moments.setdefault((int(parent), int(rank)), set()).add(int(times[child]))
        assert all(len(moment) == 1 for moment in moments.values())
        for (parent, rank), moment in moments.items():
            if rank == 0:
                newest = snapshot.tables["orders"].times[narrow.newest_row[parent]]
                assert moment == {int(newest)}
            else:
                assert moment < {*moments[parent, rank - 1], *moment}
    assert num_extra > 0


def test_read_only_arrays_are_copied():
    batch = make_batch(make_snapshot())
    batch.weights.flags.writeable = False
    assert to_tensors(batch, "cpu").weights.sum() == 6
