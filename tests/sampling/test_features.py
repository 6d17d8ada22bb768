from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.graph.store import NULL_TIME
from rle.sampling.features import gather, gather_rows
from rle.sampling.kernels import rows as kernels
from rle.sampling.sampler import NeighborSampler
from tests.sampling.graphs import Graph, Source, build_graph, graphs, make_store

DAY = 86_400 * 10**9


@settings(max_examples=100, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 2**32 - 1), num_seeds=st.integers(0, 8))
def test_every_node_finds_its_rows_features_and_ages(
    graph: Graph, seed: int, num_seeds: int
) -> None:
    rng = np.random.default_rng(seed)
    sampler = NeighborSampler(
        graph.snapshot,
        entity_table="t0",
        fanouts=[3, 2],
        strategy="uniform",
        inclusive=True,
        seed=0,
        newest=1,
    )
    rows = rng.integers(0, graph.sources["t0"].num_rows, num_seeds).astype(np.int32)
    times = rng.integers(-5, 20, num_seeds)
    trees = sampler.sample(rows, times, epoch=0, positions=np.arange(num_seeds))
    batch = gather(graph.snapshot, trees, positions=np.arange(num_seeds))
    for key, frontier in trees.frontiers.items():
        table, store = batch.tables[key[1]], graph.snapshot.tables[key[1]]
        assert table.rows[batch.index[key]].tolist() == frontier.rows.tolist()
        assert np.unique(table.rows).size == table.rows.size
        assert (key in batch.ages) == (store.times is not None)
        if store.times is not None:
            at = store.times[frontier.rows]
            expected = np.where(at == NULL_TIME, np.nan, (times[frontier.seed] - at) / DAY)
            np.testing.assert_array_equal(batch.ages[key], expected.astype(np.float32))
    for hop, age in zip(trees.hops, batch.newest_ages, strict=True):
        times_of = graph.snapshot.tables[hop.target].times
        assert (age is None) == (times_of is None)
        if age is not None and times_of is not None:
            assert np.isnan(age).tolist() == (hop.newest_row < 0).tolist()
            seeds = trees.frontiers[hop.depth, hop.source].seed[hop.newest_row >= 0]
            at = times_of[hop.newest_row[hop.newest_row >= 0]]
            expected = ((times[seeds] - at) / DAY).astype(np.float32)
            np.testing.assert_array_equal(age[~np.isnan(age)], expected)
    assert batch.weights.tolist() == [1.0] * num_seeds


def test_blocks_are_copied_row_by_row() -> None:
    store = make_store(Source("t", 30, None, {}, {}))
    rows = np.array([4, 29, 0, 4], np.int32)
    got = gather_rows(store, rows)
    np.testing.assert_array_equal(got.numbers, store.numbers[rows])
    np.testing.assert_array_equal(got.codes, store.codes[rows])
    np.testing.assert_array_equal(got.stamps, store.stamps[rows])
    np.testing.assert_array_equal(got.vectors["v"], store.vectors["v"][rows])
    offsets, codes = got.lists["l"]
    first, values = store.lists["l"]
    expected = [values[first[r] : first[r + 1]].tolist() for r in rows]
    assert [codes[a:b].tolist() for a, b in itertools.pairwise(offsets)] == expected
    assert got.vectors["v"].dtype == np.float16


def test_no_rows_keep_the_width_of_every_block() -> None:
    got = gather_rows(make_store(Source("t", 3, None, {}, {})), np.empty(0, np.int32))
    assert got.numbers.shape == (0, 2)
    assert got.lists["l"][0].tolist() == [0]


@pytest.mark.parametrize("num_rows", [1, 16, 17, 100_000])
def test_distinct_rows_come_in_the_order_of_the_nodes(num_rows: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, num_rows, 5000).astype(np.int32)
    index, found = np.empty(5000, np.int32), np.empty(5000, np.int32)
    num = kernels.distinct_rows(rows, num_rows, index, found)
    unique, first = np.unique(rows, return_index=True)
    assert found[:num].tolist() == unique[np.argsort(first)].tolist()
    assert found[index].tolist() == rows.tolist()


def test_a_seed_without_a_bound_has_a_finite_age_to_rows_before_1970() -> None:
    orders = Source("orders", 1, [-(2**62)], {"c": "customers"}, {"c": [0]})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    sampler = NeighborSampler(
        graph.snapshot,
        entity_table="customers",
        fanouts=[1],
        strategy="last",
        inclusive=False,
        seed=0,
    )
    trees = sampler.sample(
        np.zeros(1, np.int32), np.array([NULL_TIME - 1]), epoch=0, positions=np.zeros(1, np.int64)
    )
    age = gather(graph.snapshot, trees, positions=np.zeros(1, np.int64)).ages[1, "orders"]
    assert age.tolist() == pytest.approx([(2**63 + 2**62) / DAY], rel=1e-6)
