"""Shares of events and first meetings, against counting them one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.sampling.history import history_paths
from rle.sampling.negatives import meetings
from rle.sampling.popularity import PopularityReader, num_popularity_features
from tests.sampling.graphs import Source, build_graph

NUM_CUSTOMERS, NUM_PRODUCTS = 4, 5
WINDOWS = (2, 6)


def make_graph(orders):
    """Orders are (time, customer, product)."""
    times, customers, products = ([order[i] for order in orders] for i in range(3))
    return build_graph(
        [
            Source("customers", NUM_CUSTOMERS, None, {}, {}),
            Source("products", NUM_PRODUCTS, None, {}, {}),
            Source(
                "orders",
                len(orders),
                times,
                {"customer": "customers", "product": "products"},
                {"customer": customers, "product": products},
            ),
        ]
    )


def make_reader(graph, *, inclusive, time_window=None):
    (path,) = history_paths(graph.schema, source="customers", target="products")
    return PopularityReader(
        graph.snapshot,
        source="customers",
        target="products",
        path=path,
        inclusive=inclusive,
        windows=WINDOWS,
        time_window=time_window,
    )


def obvious(events, product, time, *, inclusive, span):
    """Log-share of a product among (time, product) events of a span before a moment."""

    def is_seen(when):
        late_enough = span is None or (when > time - span if inclusive else when >= time - span)
        return late_enough and (when <= time if inclusive else when < time)

    seen = [what for when, what in events if is_seen(when)]
    return math.log((seen.count(product) + 1) / (len(seen) + NUM_PRODUCTS))


orders_of_a_shop = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.none() | st.integers(0, NUM_CUSTOMERS - 1),
        st.none() | st.integers(0, NUM_PRODUCTS - 1),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(orders=orders_of_a_shop, inclusive=st.booleans())
def test_shares_are_those_of_counting_one_by_one(orders, inclusive):
    reader = make_reader(make_graph(orders), inclusive=inclusive)
    whole = sorted((o for o in orders if None not in o), key=lambda o: o[0])
    events = [(when, product) for when, _, product in whole]
    firsts, met = [], set()
    for when, customer, product in whole:
        if (customer, product) not in met:
            firsts.append((when, product))
        met.add((customer, product))
    asked = [(product, time) for product in range(NUM_PRODUCTS) for time in (0, 5, 13)]
    rows, times = (np.array(column) for column in zip(*asked, strict=True))
    found = reader.read(rows.astype(np.int32), times)
    assert found.shape == (15, num_popularity_features(len(WINDOWS), time_window=None))
    for features, (product, time) in zip(found, asked, strict=True):
        wanted = [
            obvious(kind, product, time, inclusive=inclusive, span=span)
            for kind in (events, firsts)
            for span in (None, *WINDOWS)
        ]
        assert features == pytest.approx(wanted, rel=1e-6)


def test_what_is_older_than_the_time_window_is_not_counted():
    graph = make_graph([(1, 0, 0), (8, 1, 1), (9, 0, 0)])
    reader = make_reader(graph, inclusive=True, time_window=5)
    found = reader.read(np.array([0], np.int32), np.array([10]))
    assert found.shape == (1, num_popularity_features(len(WINDOWS), time_window=5))
    assert found[0, 0] == pytest.approx(math.log(2 / (2 + NUM_PRODUCTS)))


def test_what_happens_later_changes_nothing():
    orders = [(1, 0, 0), (3, 1, 1), (4, 2, 1)]
    rows, times = np.arange(NUM_PRODUCTS, dtype=np.int32), np.full(NUM_PRODUCTS, 5)
    before = make_reader(make_graph(orders), inclusive=False).read(rows, times)
    after = make_reader(make_graph([*orders, (5, 3, 2), (9, 0, 4)]), inclusive=False)
    np.testing.assert_array_equal(after.read(rows, times), before)


def test_meetings_name_their_sources():
    graph = make_graph([(2, 3, 1), (1, 0, 4)])
    (path,) = history_paths(graph.schema, source="customers", target="products")
    sources, targets, times = meetings(graph.snapshot, path, source="customers")
    assert (sources.tolist(), targets.tolist(), times.tolist()) == ([0, 3], [4, 1], [1, 2])
