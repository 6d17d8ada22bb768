from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import UnknownNameError, ValidationError
from rle.graph.store import NULL_TIME
from rle.sampling.sampler import NeighborSampler
from tests.sampling.graphs import Source, build_graph, graphs, star
from tests.sampling.reference import ReferenceSampler

if TYPE_CHECKING:
    from rle.sampling.batch import Hop, Trees
    from tests.sampling.graphs import Graph


def make_sampler(graph: Graph, **options: Any) -> NeighborSampler:
    defaults = {
        "entity_table": "customers",
        "fanouts": [3],
        "strategy": "uniform",
        "inclusive": False,
        "seed": 0,
    }
    return NeighborSampler(graph.snapshot, **(defaults | options))


def sample(
    graph: Graph,
    rows: list[int],
    times: list[int],
    *,
    epoch: int = 0,
    positions: list[int] | None = None,
    **options: Any,
) -> Trees:
    return make_sampler(graph, **options).sample(
        np.array(rows, np.int32),
        np.array(times, np.int64),
        epoch=epoch,
        positions=np.array(range(len(rows)) if positions is None else positions, np.int64),
    )


def children(trees: Trees, hop: Hop, parent: int) -> list[int]:
    rows = trees.frontiers[hop.depth + 1, hop.target].rows
    first, last = hop.first + hop.offset[parent], hop.first + hop.offset[parent + 1]
    return [int(r) for r in rows[first:last]]


def as_dict(trees: Trees) -> dict[str, Any]:
    """All of the trees as plain values, for equality."""
    return {
        "frontiers": {
            key: list(zip(f.rows.tolist(), f.seed.tolist(), strict=True))
            for key, f in trees.frontiers.items()
        },
        "hops": [
            (
                h.relation,
                h.depth,
                h.first,
                h.num_extra,
                h.offset.tolist(),
                h.count.tolist(),
                h.newest_row.tolist(),
                h.newest.tolist(),
                h.recent.tolist(),
            )
            for h in trees.hops
        ],
    }


@settings(max_examples=200, deadline=None)
@given(data=st.data(), graph=graphs())
def test_trees_equal_the_reference(data: st.DataObject, graph: Graph) -> None:
    entity = data.draw(st.sampled_from([t.name for t in graph.schema.tables]))
    num_rows = graph.sources[entity].num_rows
    num_seeds = data.draw(st.integers(0, 6)) if num_rows else 0
    rows = data.draw(
        st.lists(st.integers(0, max(0, num_rows - 1)), min_size=num_seeds, max_size=num_seeds)
    )
    times = data.draw(st.lists(st.integers(-7, 17), min_size=num_seeds, max_size=num_seeds))
    positions = data.draw(st.lists(st.integers(0, 2**40), min_size=num_seeds, max_size=num_seeds))
    options: dict[str, Any] = {
        "fanouts": data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)),
        "strategy": data.draw(st.sampled_from(["uniform", "last"])),
        "inclusive": data.draw(st.booleans()),
        "seed": data.draw(st.integers(0, 2**63 - 1)),
        "newest": data.draw(st.integers(0, 3)),
        "windows": sorted(data.draw(st.sets(st.integers(1, 25), max_size=4))),
        "backtrack": data.draw(st.booleans()),
        "time_window": data.draw(st.none() | st.integers(1, 22)),
    }
    epoch = data.draw(st.integers(0, 1000))
    trees = sample(
        graph, rows, times, epoch=epoch, positions=positions, entity_table=entity, **options
    )
    frontiers, hops = ReferenceSampler(graph, entity, **options).sample(
        rows, times, epoch, positions
    )
    assert as_dict(trees) == {
        "frontiers": frontiers,
        "hops": [
            (
                h.relation,
                h.depth,
                h.first,
                h.num_extra,
                h.offset,
                h.count,
                h.newest_row,
                h.newest,
                h.recent,
            )
            for h in hops
        ],
    }


@pytest.mark.parametrize("num_children", [5, 63, 64, 65, 100, 129, 4096, 4097, 9000])
@pytest.mark.parametrize("fanout", [1, 4, 64, 127, 5000])
def test_long_lists_equal_the_reference(num_children: int, fanout: int) -> None:
    graph = star(num_children)
    options: dict[str, Any] = {"fanouts": [fanout], "strategy": "uniform", "inclusive": True}
    options |= {"seed": 7, "newest": 2}
    rows, times = [0] * 3, [num_children, num_children // 2, 3]
    trees = sample(graph, rows, times, **options)
    frontiers, _ = ReferenceSampler(graph, "customers", **options).sample(rows, times, 0, range(3))
    assert as_dict(trees)["frontiers"] == frontiers


def test_uniform_draws_every_pair_equally_often() -> None:
    # 8 choose 2 and, through what is left out, 8 choose 6: chi-square with 27 degrees of freedom.
    graph, num = star(8), 28_000
    for fanout in (2, 6):
        trees = sample(graph, [0] * num, [100] * num, fanouts=[fanout], positions=list(range(num)))
        drawn = trees.frontiers[1, "orders"].rows.reshape(num, fanout)
        sets = (1 << drawn).sum(axis=1)
        _, counts = np.unique(sets, return_counts=True)
        assert counts.size == 28
        chi_square = float(((counts - num / 28) ** 2 / (num / 28)).sum())
        assert chi_square < 55.5  # exceeded once in a thousand by chance; the draw is fixed


def test_uniform_draws_every_row_of_a_long_list_equally_often() -> None:
    graph, num = star(200), 10_000
    trees = sample(graph, [0] * num, [1000] * num, fanouts=[10])
    counts = np.bincount(trees.frontiers[1, "orders"].rows, minlength=200)
    expected = num * 10 / 200
    assert float(((counts - expected) ** 2 / expected).sum()) < 268  # 199 degrees of freedom


def test_draws_change_with_epoch_seed_and_position_only() -> None:
    graph = star(50)
    first = sample(graph, [0], [99], positions=[5])
    assert as_dict(first) == as_dict(sample(graph, [0], [99], positions=[5]))
    others = (
        sample(graph, [0], [99], positions=[6]),
        sample(graph, [0], [99], positions=[5], epoch=1),
        sample(graph, [0], [99], positions=[5], seed=1),
    )
    for other in others:
        assert as_dict(other) != as_dict(first)


def test_last_keeps_the_end_of_the_visible_past() -> None:
    trees = sample(star(10), [0, 0], [7, 2], strategy="last")
    assert children(trees, trees.hops[0], 0) == [4, 5, 6]
    assert children(trees, trees.hops[0], 1) == [0, 1]
    assert trees.hops[0].count.tolist() == [7, 2]


@pytest.mark.parametrize(("inclusive", "count"), [(False, 1), (True, 2)])
def test_the_bound_is_exact_to_the_nanosecond(inclusive: bool, count: int) -> None:
    at = 1_700_000_000_000_000_001
    orders = Source("orders", 3, [at, at + 1, at - 1], {"c": "customers"}, {"c": [0, 0, 0]})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    trees = sample(graph, [0], [at], inclusive=inclusive)
    assert trees.hops[0].count.tolist() == [count]


@pytest.mark.parametrize("inclusive", [False, True])
def test_rows_without_a_time_are_invisible_even_to_seeds_without_a_bound(inclusive: bool) -> None:
    orders = Source("orders", 3, [None, 1, None], {"c": "customers"}, {"c": [0, 0, 0]})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    for time in (NULL_TIME, NULL_TIME - 1):
        assert sample(graph, [0], [time], inclusive=inclusive).hops[0].count.tolist() == [1]


def test_times_may_span_all_of_int64() -> None:
    ends = [-(2**63) + 1, -1, 0, 2**63 - 2]
    orders = Source("orders", 4, list(ends), {"c": "customers"}, {"c": [0] * 4})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    counts = sample(graph, [0] * 4, ends, inclusive=True).hops[0].count
    assert counts.tolist() == [1, 2, 3, 4]


def test_the_seeds_own_row_is_there_whatever_its_time() -> None:
    people = Source("people", 2, [50, None], {}, {})
    trees = sample(build_graph([people]), [0, 1], [10, 10], entity_table="people")
    assert trees.frontiers[0, "people"].rows.tolist() == [0, 1]


def test_a_batch_does_not_change_the_trees_in_it() -> None:
    graph = star(40, num_parents=5)
    rows, times = np.arange(20, dtype=np.int32) % 5, np.arange(20, dtype=np.int64) * 2
    positions = np.arange(20, dtype=np.int64) * 3
    sampler = make_sampler(graph, fanouts=[4, 3], newest=2)
    whole = sampler.sample(rows, times, epoch=3, positions=positions)
    for s in range(20):
        alone = sampler.sample(
            rows[s : s + 1], times[s : s + 1], epoch=3, positions=positions[s : s + 1]
        )
        for key, frontier in whole.frontiers.items():
            mine = frontier.rows[frontier.seed == s]
            assert mine.tolist() == alone.frontiers[key].rows.tolist()


def test_a_table_without_links_gives_seeds_alone_whatever_was_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampler = make_sampler(build_graph([Source("people", 3, None, {}, {})]), entity_table="people")

    def huge(shape: Any, dtype: Any) -> Any:
        return np.full(shape, np.iinfo(dtype).max // 2, dtype)

    monkeypatch.setattr(np, "empty", huge)
    rows, times, positions = np.array([2, 0], np.int32), np.array([9, 9]), np.arange(2)
    for epoch in range(3):
        trees = sampler.sample(rows, times, epoch=epoch, positions=positions)
        assert trees.frontiers[0, "people"].rows.tolist() == [2, 0]
        assert trees.hops == ()


def test_threads_draw_the_same_trees() -> None:
    graph = star(300, num_parents=3)
    sampler = make_sampler(graph, fanouts=[70, 30], newest=1)

    def one(i: int) -> dict[str, Any]:
        rows = np.full(5 + i, i % 3, np.int32)
        trees = sampler.sample(
            rows, np.full(rows.size, 250), epoch=0, positions=np.arange(rows.size)
        )
        return as_dict(trees)

    expected = [one(i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(12))) == expected


def test_a_batch_larger_than_any_before_is_drawn_again_with_room() -> None:
    graph = star(400, num_parents=2)
    sampler = make_sampler(graph, fanouts=[300, 200], newest=2)
    small = sampler.sample(
        np.zeros(1, np.int32), np.zeros(1, np.int64), epoch=0, positions=np.zeros(1, np.int64)
    )
    rows = np.zeros(64, np.int32)
    large = sampler.sample(rows, np.full(64, 500), epoch=0, positions=np.arange(64))
    again = sampler.sample(rows, np.full(64, 500), epoch=0, positions=np.arange(64))
    assert small.frontiers[1, "orders"].rows.size == 0
    # 300 sampled, and those of the 2 newest that the draw left out
    assert large.hops[0].offset[-1] == 64 * 300
    assert as_dict(large) == as_dict(again)


def test_extras_stand_behind_the_sampled_children() -> None:
    trees = sample(star(50), [0, 0], [99, 99], newest=2)
    hop, frontier = trees.hops[0], trees.frontiers[1, "orders"]
    assert frontier.rows.size == hop.first + int(hop.offset[-1]) + hop.num_extra
    assert [[int(frontier.rows[n]) for n in pair] for pair in hop.newest] == [[49, 48], [49, 48]]
    assert frontier.seed[hop.newest[1]].tolist() == [1, 1]
    assert hop.newest_row.tolist() == [49, 49]


def test_a_relation_to_one_parent_has_no_newest_children() -> None:
    trees = sample(star(3), [0], [99], entity_table="orders", newest=2)
    assert [h.newest.shape for h in trees.hops] == [(1, 0)]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("num_children", [1, 16, 17, 40, 1000])
def test_rows_within_each_window_are_counted_exactly(num_children: int, inclusive: bool) -> None:
    # One order per moment: a window of w reaches back w moments, less what is not yet visible.
    windows, times = [1, 2, 20, 500], [-3, 0, 1, 15, 39, 999, 1010]
    trees = sample(
        star(num_children), [0] * len(times), times, inclusive=inclusive, windows=windows
    )
    expected = [
        [sum(t - w < r + (not inclusive) <= t for r in range(num_children)) for w in windows]
        for t in times
    ]
    assert trees.hops[0].recent.tolist() == expected


def test_windows_may_reach_beyond_the_first_time_there_is() -> None:
    ends = [-(2**63) + 1, -1, 0, 2**63 - 2]
    orders = Source("orders", 4, list(ends), {"c": "customers"}, {"c": [0] * 4})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    windows = [1, 2, 2**62, 2**63 - 1]
    trees = sample(graph, [0] * 4, ends, inclusive=True, windows=windows)
    expected = [[sum(t - w < r <= t for r in ends) for w in windows] for t in ends]
    assert trees.hops[0].recent.tolist() == expected


@pytest.mark.parametrize(("inclusive", "visible"), [(False, [0, 1]), (True, [1, 2])])
def test_a_time_window_is_exact_to_the_nanosecond(inclusive: bool, visible: list[int]) -> None:
    # As with counted windows: what was visible when the window began is too old.
    at, window = 1_700_000_000_000_000_001, 86_400 * 10**9
    times: list[int | None] = [at - window, at - window + 1, at]
    orders = Source("orders", 3, times, {"c": "customers"}, {"c": [0, 0, 0]})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    trees = sample(graph, [0], [at], inclusive=inclusive, time_window=window, newest=1)
    (hop,) = trees.hops
    assert children(trees, hop, 0) == visible
    assert hop.count.tolist() == [2]
    assert hop.newest_row.tolist() == visible[-1:]


def test_a_time_window_leaves_the_seeds_own_row_and_tables_without_time() -> None:
    shops = Source("shops", 1, None, {}, {})
    people = Source("people", 2, [0, 90], {"shop": "shops"}, {"shop": [0, 0]})
    graph = build_graph([shops, people])
    trees = sample(graph, [0], [100], entity_table="people", fanouts=[5, 5], time_window=20)
    assert trees.frontiers[0, "people"].rows.tolist() == [0]
    assert trees.frontiers[1, "shops"].rows.tolist() == [0]
    assert trees.frontiers[2, "people"].rows.tolist() == [1]


def test_a_parent_older_than_the_time_window_is_not_visible() -> None:
    people = Source("people", 1, [0], {}, {})
    orders = Source("orders", 1, [90], {"c": "people"}, {"c": [0]})
    graph = build_graph([people, orders])
    for window, num in ((None, 1), (101, 1), (100, 0)):
        trees = sample(graph, [0], [100], entity_table="orders", inclusive=True, time_window=window)
        assert trees.frontiers[1, "people"].rows.size == num


def test_a_time_window_may_reach_beyond_the_first_time_there_is() -> None:
    ends = [-(2**63) + 1, -1, 0, 2**63 - 2]
    orders = Source("orders", 4, list(ends), {"c": "customers"}, {"c": [0] * 4})
    graph = build_graph([Source("customers", 1, None, {}, {}), orders])
    for window in (1, 2, 2**62, 2**63 - 1):
        trees = sample(graph, [0] * 4, ends, inclusive=True, time_window=window)
        expected = [sum(t - window < r <= t for r in ends) for t in ends]
        assert trees.hops[0].count.tolist() == expected


@pytest.mark.parametrize("window", [1, 40, 70, 5000])
def test_long_lists_within_a_time_window_equal_the_reference(window: int) -> None:
    graph = star(4200)
    options: dict[str, Any] = {"fanouts": [30], "strategy": "uniform", "inclusive": True}
    options |= {"seed": 7, "newest": 2, "time_window": window, "windows": [10, 50]}
    rows, times = [0] * 3, [4300, 2000, 30]
    trees = sample(graph, rows, times, **options)
    frontiers, hops = ReferenceSampler(graph, "customers", **options).sample(
        rows, times, 0, range(3)
    )
    assert as_dict(trees)["frontiers"] == frontiers
    assert trees.hops[0].recent.tolist() == hops[0].recent


def test_nothing_recent_is_counted_where_there_is_no_time_or_one_parent() -> None:
    visits = Source("visits", 2, None, {"c": "customers"}, {"c": [0, 0]})
    graph = build_graph([Source("customers", 1, [3], {}, {}), visits])
    for entity in ("customers", "visits"):
        trees = sample(graph, [0], [9], entity_table=entity, windows=[1, 2])
        assert [h.recent.shape for h in trees.hops] == [(1, 0)]


def test_without_backtracking_a_row_does_not_lead_back_to_where_it_was_found() -> None:
    orders = Source(
        "orders",
        4,
        [1, 2, 3, 4],
        {"buyer": "people", "seller": "people"},
        {"buyer": [0, 0, 1, 0], "seller": [1, 2, 0, None]},
    )
    graph = build_graph([Source("people", 3, None, {}, {}), orders])
    options: dict[str, Any] = {"entity_table": "people", "fanouts": [2, 2], "strategy": "last"}
    options |= {"newest": 3}  # with an extra: the first order of person 0
    back = sample(graph, [0], [9], **options, backtrack=False)
    names = {h.relation: graph.schema.relations[h.relation].name for h in back.hops}
    found = {
        names[h.relation]: (h.count.tolist(), h.newest_row.tolist())
        for h in back.hops
        if h.depth == 1 and h.source == "orders"
    }
    rows = back.frontiers[1, "orders"].rows.tolist()
    assert rows == [1, 3, 0, 2]
    assert found == {
        "orders.buyer:parent": ([0, 0, 0, 1], [-1, -1, -1, 1]),
        "orders.seller:parent": ([1, 0, 1, 0], [2, -1, 1, -1]),
    }
    there = sample(graph, [0], [9], **options, backtrack=True)
    assert there.frontiers[2, "people"].rows.size > back.frontiers[2, "people"].rows.size


def test_a_seed_and_a_row_reached_as_a_parent_follow_every_key() -> None:
    boss = Source("people", 3, None, {"boss": "people"}, {"boss": [None, 0, 1]})
    trees = sample(
        build_graph([boss]), [2], [0], entity_table="people", fanouts=[1, 1], backtrack=False
    )
    assert trees.frontiers[1, "people"].rows.tolist() == [1]
    assert sorted(trees.frontiers[2, "people"].rows.tolist()) == [0, 2]


def test_wrong_input_is_refused_before_the_walk() -> None:
    graph = star(3)
    with pytest.raises(UnknownNameError, match="Did you mean 'customers'"):
        make_sampler(graph, entity_table="customer")
    with pytest.raises(ValidationError, match="1 or more"):
        make_sampler(graph, fanouts=[3, 0])
    for windows in ([0, 1], [2, 2], [3, 2]):
        with pytest.raises(ValidationError, match="ascending"):
            make_sampler(graph, windows=windows)
    with pytest.raises(ValidationError, match="must be positive, not 0"):
        make_sampler(graph, time_window=0)
    for row in (-1, 1):
        with pytest.raises(ValidationError, match="outside"):
            sample(graph, [row], [5])
    with pytest.raises(ValidationError, match="differ in length"):
        sample(graph, [0], [5, 6])
