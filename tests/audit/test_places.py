"""Where an audit looks: exactly what a prediction may see, compared with a slow way to find it."""

from __future__ import annotations

import numpy as np
import pytest

from rle import DuckDBConnector
from rle.audit.places import Basis, Children, Place, Seeds, Surroundings
from rle.audit.run import open_graph
from rle.testing.shop_dataset import shop_dataset

DAY = 86_400 * 10**9


@pytest.fixture(scope="module")
def snapshot(shop_db, tmp_path_factory):
    spec = shop_dataset(
        DuckDBConnector(database=str(shop_db)), tables=("customers", "transactions")
    ).spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(tmp_path_factory.mktemp("home")))
        return open_graph(spec, lambda stage, done, of: None)


def visible(snapshot, row, first, last, *, closed):
    """Transactions of a customer from `first` on, up to `last`, one by one."""
    times = snapshot.tables["transactions"].times
    relation = next(
        i for i, r in enumerate(snapshot.schema.relations)
        if r.many and r.source == "customers" and r.target == "transactions"
    )  # fmt: skip
    children = snapshot.topology.children(relation, row)
    kept = [c for c in children if first is None or times[c] >= first]
    return [int(c) for c in kept if (times[c] <= last if closed else times[c] < last)]


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("daily", [frozenset(), frozenset({"transactions"})])
def test_children_are_the_visible_ones_and_those_of_the_moment_apart(snapshot, inclusive, daily):
    rng = np.random.default_rng(0)
    times = rng.choice(snapshot.tables["transactions"].times[:-50], 60)
    rows = rng.integers(snapshot.tables["customers"].num_rows, size=60).astype(np.int32)
    seeds = Seeds(rows, times, 30)
    walker = Surroundings(snapshot, inclusive=inclusive, daily=daily)
    found = [f for f in walker.walk("customers", seeds, max_depth=1) if f.table == "transactions"]
    counts = {f.basis: f for f in found if isinstance(f, Children)}
    newest = {f.basis: f for f in found if isinstance(f, Place)}
    assert (Basis.AT_T in counts) == (inclusive or bool(daily))
    for s, (row, t) in enumerate(zip(rows, times, strict=True)):
        all_ = visible(snapshot, row, None, t, closed=inclusive)
        begin = t - t % DAY if daily else t
        now = visible(snapshot, row, begin, t, closed=inclusive) if Basis.AT_T in counts else []
        before = [c for c in all_ if c not in now]
        assert counts[Basis.DATED].count[s] == len(before)
        assert newest[Basis.DATED].rows[s] == (before[-1] if before else -1)
        members = [m for m in counts[Basis.DATED].members[s] if m >= 0]
        assert members == before[::-1][: len(members)]
        if Basis.AT_T in counts:
            assert counts[Basis.AT_T].count[s] == len(now)


def test_nothing_later_is_reached_at_two_hops(snapshot):
    num = snapshot.tables["customers"].num_rows
    t = int(np.median(snapshot.tables["transactions"].times[:-50]))
    seeds = Seeds(np.arange(num, dtype=np.int32), np.full(num, t, np.int64), num)
    depths = set()
    for found in Surroundings(snapshot, inclusive=False, daily=frozenset()).walk(
        "customers", seeds
    ):
        if isinstance(found, Place) and found.depth:
            rows = found.rows[found.rows >= 0]
            assert (snapshot.tables[found.table].times[rows] < t).all()
            depths.add(found.depth)
    assert depths == {1, 2}
