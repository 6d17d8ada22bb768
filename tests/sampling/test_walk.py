from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rle.sampling.kernels import clocks as kernels
from rle.sampling.walk import index_times, plan_steps
from tests.sampling.graphs import Source, build_graph, make_store

LIMIT = 2**63 - 1
times_of_rows = st.lists(
    st.one_of(st.none(), st.integers(-3, 3), st.integers(-LIMIT, LIMIT - 1)), max_size=300
)


@settings(max_examples=200, deadline=None)
@given(
    rows=times_of_rows,
    bounds=st.lists(st.one_of(st.integers(-4, 4), st.integers(-LIMIT, LIMIT)), min_size=1),
    repeat=st.integers(1, 200),
)
@example(rows=[-LIMIT], bounds=[1], repeat=1)
def test_cutoffs_count_the_rows_before_each_bound(
    rows: list[int | None], bounds: list[int], repeat: int
) -> None:
    ordered = sorted(t for t in rows * repeat if t is not None)
    ordered_rows: list[int | None] = [*ordered, *[None] * (len(rows) * repeat - len(ordered))]
    store = make_store(Source("t", len(ordered_rows), ordered_rows, {}, {}))
    static = make_store(Source("s", 7, None, {}, {}))
    clocks, buckets = index_times([store, static])
    seeds = np.array(bounds, np.int64)
    cutoffs = np.empty((2, seeds.size), np.int32)
    kernels.find_cutoffs(seeds, clocks, buckets, cutoffs)
    expected = np.searchsorted(np.array(ordered, np.int64), seeds)
    assert cutoffs[0].tolist() == expected.tolist()
    assert cutoffs[1].tolist() == [7] * seeds.size


def test_the_plan_goes_by_depth_target_and_relation() -> None:
    graph = build_graph(
        [
            Source("orders", 1, None, {"c": "customers", "p": "people"}, {"c": [0], "p": [0]}),
            Source("customers", 1, None, {}, {}),
            Source("people", 1, None, {"boss": "people"}, {"boss": [None]}),
        ]
    )
    frontiers, steps = plan_steps(graph.schema, "people", 2)
    names = [graph.schema.relations[s.relation].name for s in steps if s.depth == 0]
    assert names == ["orders.p:children", "people.boss:children", "people.boss:parent"]
    assert frontiers == (
        (0, "people"),
        (1, "orders"),
        (1, "people"),
        (2, "orders"),
        (2, "customers"),
        (2, "people"),
    )
    by_target = [s.target for s in steps]
    assert by_target == sorted(by_target)


def test_every_batch_has_the_same_hops_however_empty() -> None:
    graph = build_graph(
        [Source("a", 1, None, {"x": "b"}, {"x": [None]}), Source("b", 0, None, {}, {})]
    )
    _, steps = plan_steps(graph.schema, "a", 3)
    assert [s.depth for s in steps] == [0, 1, 2]
