from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import UnknownNameError, ValidationError
from rle.sampling.history import history_paths
from rle.sampling.negatives import NegativeSampler, path_events
from tests.sampling.graphs import Source, build_graph, graphs
from tests.sampling.link_reference import slow_events

if TYPE_CHECKING:
    from tests.sampling.graphs import Graph

STRATEGIES = ("random", "degree_based")
NUM_PRODUCTS = 12


def shop() -> Graph:
    """Products appear at times 0, 1, 2, ...; orders come at all times, most for old products."""
    rng = np.random.default_rng(0)
    product = (NUM_PRODUCTS * rng.uniform(size=300) ** 2).astype(int)
    times: list[int | None] = rng.integers(0, 20, 300).tolist()
    times[:9] = [None] * 9
    keys: list[int | None] = [None if i % 50 == 0 else int(p) for i, p in enumerate(product)]
    return build_graph(
        [
            Source("customers", 5, None, {}, {}),
            Source("products", NUM_PRODUCTS, list(range(NUM_PRODUCTS)), {}, {}),
            Source(
                "orders",
                300,
                times,
                {"customer": "customers", "product": "products"},
                {"customer": rng.integers(0, 5, 300).tolist(), "product": keys},
            ),
        ]
    )


SHOP = shop()
PATHS = history_paths(SHOP.schema, source="customers", target="products")


def make_sampler(strategy: str, *, inclusive: bool = True, seed: int = 1) -> NegativeSampler:
    return NegativeSampler(
        SHOP.snapshot,
        source="customers",
        target="products",
        strategy=strategy,  # type: ignore[arg-type]
        paths=PATHS,
        inclusive=inclusive,
        seed=seed,
    )


def draw(
    sampler: NegativeSampler,
    excluded: list[int],
    *,
    time: int,
    num: int,
    times_drawn: int = 1,
    epoch: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `times_drawn` times for the same source at different positions."""
    offset = np.arange(times_drawn + 1) * len(excluded)
    return sampler.draw(
        np.full(times_drawn, time),
        np.arange(times_drawn),
        epoch=epoch,
        num=num,
        excluded_offset=offset,
        excluded=np.tile(np.array(excluded, np.int32), times_drawn),
    )


def degrees(time: int, *, inclusive: bool = True) -> np.ndarray:
    """Visible orders of each product."""
    out = np.zeros(NUM_PRODUCTS, int)
    for customer in range(5):
        for event in slow_events(SHOP, PATHS[0], customer, time, inclusive=inclusive):
            out[event.target] += 1
    return out


def fits(counts: np.ndarray, shares: np.ndarray) -> bool:
    """Whether the chi-square statistic is within four standard deviations of what it should be."""
    expected = shares / shares.sum() * counts.sum()
    freedom = counts.size - 1
    return ((counts - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom)


def test_random_negatives_are_uniform_over_what_is_visible_and_not_excluded() -> None:
    rows, weights = draw(make_sampler("random"), [0, 4, 11], time=9, num=3, times_drawn=8000)
    allowed = [r for r in range(10) if r not in (0, 4)]
    counts = np.bincount(rows.ravel(), minlength=NUM_PRODUCTS)
    assert np.flatnonzero(counts).tolist() == allowed
    # Without replacement counts spread less than the test expects, never more.
    assert fits(counts[allowed], np.ones(len(allowed)))
    assert all(len(set(row)) == 3 for row in rows.tolist())
    np.testing.assert_allclose(weights, np.log(8 / 3), rtol=1e-6)


@pytest.mark.parametrize("excluded", [[], [0, 4, 11], [0, 1, 2, 3, 4, 5]])
def test_negatives_by_degree_follow_the_events_visible_at_that_time(excluded: list[int]) -> None:
    sampler = make_sampler("degree_based")
    rows, weights = draw(sampler, excluded, time=9, num=2, times_drawn=20_000)
    mass = (degrees(9) + 1) * (np.arange(NUM_PRODUCTS) < 10)
    mass[excluded] = 0
    counts = np.bincount(rows.ravel(), minlength=NUM_PRODUCTS)
    allowed = np.flatnonzero(mass)
    assert np.flatnonzero(counts).tolist() == allowed.tolist()
    expected = mass[allowed] / mass.sum()
    # What is left of the excluded after all tries is drawn uniformly; it is part of the weight.
    share = np.zeros(NUM_PRODUCTS)
    share[allowed] = np.exp(-log_weight_of(rows, weights)[allowed]) / 2
    assert share.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(share[allowed], expected, rtol=0.02)
    assert fits(counts[allowed], share[allowed])


def log_weight_of(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weight of each product: the same wherever it was drawn."""
    out = np.full(NUM_PRODUCTS, np.nan)
    for row, weight in zip(rows.ravel().tolist(), weights.ravel().tolist(), strict=True):
        assert np.isnan(out[row]) or out[row] == weight
        out[row] = weight
    return out


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weighted_draws_estimate_the_sum_over_all(strategy: str) -> None:
    scores = np.linspace(-1, 2, NUM_PRODUCTS)
    rows, weights = draw(make_sampler(strategy), [3, 5], time=10, num=4, times_drawn=20_000)
    estimates = np.exp(scores[rows] + weights).sum(axis=1)
    allowed = [r for r in range(11) if r not in (3, 5)]
    error = estimates.std() / np.sqrt(estimates.size)
    assert estimates.mean() == pytest.approx(np.exp(scores[allowed]).sum(), abs=4 * error)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_there_are_few_they_all_come_once_with_weight_one(strategy: str) -> None:
    rows, weights = draw(make_sampler(strategy), [0, 2, 9], time=4, num=5)
    assert rows.tolist() == [[1, 3, 4, -1, -1]]
    assert weights.tolist() == [[0.0] * 5]
    rows, _ = draw(make_sampler(strategy), list(range(5)), time=4, num=3)
    assert rows.tolist() == [[-1] * 3]
    rows, _ = draw(make_sampler(strategy), [], time=-1, num=3)
    assert rows.tolist() == [[-1] * 3]
    rows, _ = draw(make_sampler(strategy, inclusive=False), [], time=1, num=2)
    assert rows.tolist() == [[0, -1]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_draw_depends_on_seed_epoch_and_position_alone(strategy: str) -> None:
    whole, weights = draw(make_sampler(strategy), [1], time=11, num=4, times_drawn=40)
    again, _ = draw(make_sampler(strategy), [1], time=11, num=4, times_drawn=40)
    assert again.tolist() == whole.tolist()
    part, part_weights = make_sampler(strategy).draw(
        np.full(2, 11),
        np.array([7, 30]),
        epoch=0,
        num=4,
        excluded_offset=np.array([0, 1, 2]),
        excluded=np.array([1, 1], np.int32),
    )
    assert part.tolist() == whole[[7, 30]].tolist()
    assert part_weights.tolist() == weights[[7, 30]].tolist()
    for other in (
        draw(make_sampler(strategy), [1], time=11, num=4, times_drawn=40, epoch=1),
        draw(make_sampler(strategy, seed=2), [1], time=11, num=4, times_drawn=40),
    ):
        assert other[0].tolist() != whole.tolist()


@settings(max_examples=100, deadline=None)
@given(
    graph=graphs(),
    inclusive=st.booleans(),
    strategy=st.sampled_from(STRATEGIES),
    pick=st.integers(0, 99),
)
def test_negatives_exist_at_that_time_and_are_never_excluded(
    graph: Graph, inclusive: bool, strategy: str, pick: int
) -> None:
    tables = [s.name for s in graph.sources.values() if not s.is_edge and s.num_rows]
    joined = [
        (source, target, paths)
        for source, target in itertools.product(tables, tables)
        if (paths := history_paths(graph.schema, source=source, target=target))
    ]
    if not joined:
        return
    source, target, paths = joined[pick % len(joined)]
    rng = np.random.default_rng(pick)
    num_targets = graph.sources[target].num_rows
    excluded = [
        np.flatnonzero(rng.uniform(size=num_targets) < share)
        for share in rng.choice([0, 0.3, 0.9, 1], 20)
    ]
    times = rng.integers(-6, 17, 20)
    sampler = NegativeSampler(
        graph.snapshot,
        source=source,
        target=target,
        strategy=strategy,  # type: ignore[arg-type]
        paths=paths,
        inclusive=inclusive,
        seed=pick,
    )
    offset = np.cumsum([0, *map(len, excluded)])
    rows, weights = sampler.draw(
        times,
        np.arange(20),
        epoch=3,
        num=5,
        excluded_offset=offset,
        excluded=np.concatenate(excluded).astype(np.int32),
    )
    assert np.isfinite(weights).all()
    for s, time in enumerate(times.tolist()):
        allowed = {
            row
            for row in range(num_targets)
            if graph.is_visible(target, row, time, inclusive=inclusive)
            and row not in set(excluded[s].tolist())
        }
        drawn = [row for row in rows[s].tolist() if row >= 0]
        assert allowed.issuperset(drawn)
        assert len(drawn) == min(5, len(allowed))
        if len(allowed) <= 5 or strategy == "random":
            assert len(set(drawn)) == len(drawn)


@settings(max_examples=100, deadline=None)
@given(graph=graphs(), pick=st.integers(0, 99))
def test_the_events_of_a_path_are_those_of_all_sources(graph: Graph, pick: int) -> None:
    tables = [s.name for s in graph.sources.values() if not s.is_edge and s.num_rows]
    joined = [
        (source, path)
        for source, target in itertools.product(tables, tables)
        for path in history_paths(graph.schema, source=source, target=target)
        if graph.schema.relations[path[0]].many
    ]
    if not joined:
        return
    source, path = joined[pick % len(joined)]
    destinations, times = path_events(graph.snapshot, path, source=source)
    assert (np.diff(times) >= 0).all()
    for time in (-3, 4, 30):
        expected = [
            event.target
            for row in range(graph.sources[source].num_rows)
            for event in slow_events(graph, path, row, time, inclusive=True)
        ]
        assert sorted(destinations[times <= time].tolist()) == sorted(expected)


def test_a_parent_counts_the_sources_that_are_there() -> None:
    graph = build_graph(
        [
            Source("cities", 2, None, {}, {}),
            Source("customers", 4, [1, 2, 3, None], {"city": "cities"}, {"city": [0, 1, 1, 0]}),
        ]
    )
    (path,) = history_paths(graph.schema, source="customers", target="cities")
    destinations, times = path_events(graph.snapshot, path, source="customers")
    assert destinations.tolist() == [0, 1, 1]
    assert times.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strategy": "degree"}, "Did you mean 'degree_based'"),
        ({"target": "product"}, "Did you mean 'products'"),
        ({"paths": ()}, "negative_sampling_strategy='random'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any], match: str) -> None:
    good: dict[str, Any] = {
        "source": "customers",
        "target": "products",
        "strategy": "degree_based",
        "paths": PATHS,
        "inclusive": True,
        "seed": 0,
    }
    with pytest.raises((UnknownNameError, ValidationError), match=match):
        NegativeSampler(SHOP.snapshot, **(good | changes))
    with pytest.raises(ValidationError, match="1 or more negatives"):
        draw(make_sampler("random"), [], time=3, num=0)
