from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rle.errors import ValidationError
from rle.sampling.history import HistoryReader, history_paths
from rle.sampling.link_loader import LinkLoader, distinct_targets
from rle.sampling.negatives import NegativeSampler
from rle.sampling.sampler import NeighborSampler
from tests.sampling.graphs import Source, build_graph
from tests.sampling.link_reference import slow_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.sampling.link_batch import LinkBatch
    from tests.sampling.graphs import Graph

NUM_CUSTOMERS, NUM_PRODUCTS, NUM_ORDERS, NUM_ROWS = 8, 30, 400, 41


def shop() -> Graph:
    """Products appear one by one until time 29; customer 7 never buys."""
    rng = np.random.default_rng(4)
    return build_graph(
        [
            Source("customers", NUM_CUSTOMERS, None, {}, {}),
            Source("products", NUM_PRODUCTS, list(range(NUM_PRODUCTS)), {}, {}),
            Source(
                "orders",
                NUM_ORDERS,
                rng.integers(0, 40, NUM_ORDERS).tolist(),
                {"customer": "customers", "product": "products"},
                {
                    "customer": rng.integers(0, NUM_CUSTOMERS - 1, NUM_ORDERS).tolist(),
                    "product": (NUM_PRODUCTS * rng.uniform(size=NUM_ORDERS) ** 2)
                    .astype(int)
                    .tolist(),
                },
            ),
        ]
    )


SHOP = shop()
PATHS = history_paths(SHOP.schema, source="customers", target="products")


@dataclass(frozen=True)
class Rows:
    rows: np.ndarray
    times: np.ndarray
    offsets: np.ndarray | None
    targets: np.ndarray | None


def make_rows(*, unknown: tuple[int, ...] = (), with_targets: bool = True) -> Rows:
    rng = np.random.default_rng(5)
    rows = (np.arange(NUM_ROWS) % NUM_CUSTOMERS).astype(np.int32)
    rows[list(unknown)] = -1
    sizes = rng.integers(0, 5, NUM_ROWS)
    sizes[3] = 20
    lists = [np.sort(rng.choice(NUM_PRODUCTS, size, replace=False)) for size in sizes]
    return Rows(
        rows,
        rng.integers(5, 45, NUM_ROWS),
        np.cumsum([0, *sizes]) if with_targets else None,
        np.concatenate(lists).astype(np.int32) if with_targets else None,
    )


ROWS = make_rows()


def make_loader(
    rows: Rows = ROWS,
    *,
    candidates: str = "sampled",
    strategy: str | None = "random",
    num_negative: int = 6,
    **options: Any,
) -> LinkLoader:
    snapshot = SHOP.snapshot
    shared: dict[str, Any] = {"inclusive": True, "seed": 1}
    tables: dict[str, Any] = {"source": "customers", "target": "products"}
    draws = shared | {"fanouts": [3, 2], "strategy": "uniform"}
    negatives = None
    if strategy is not None:
        negatives = NegativeSampler(snapshot, **tables, strategy=strategy, paths=PATHS, **shared)  # type: ignore[arg-type]
    defaults: dict[str, Any] = {"batch_size": 6, "shuffle": candidates == "sampled", "threads": 2}
    return LinkLoader(
        snapshot,
        rows,
        target="products",
        source_sampler=NeighborSampler(snapshot, entity_table="customers", **draws),
        target_sampler=NeighborSampler(snapshot, entity_table="products", **draws),
        reader=HistoryReader(snapshot, **tables, paths=PATHS, inclusive=True, windows=(4,)),
        candidates=candidates,  # type: ignore[arg-type]
        negatives=negatives,
        num_negative=num_negative,
        **(shared | defaults | options),
    )


@pytest.fixture
def loaders() -> Iterator[Any]:
    """Makes loaders and closes them after the test."""
    made: list[LinkLoader] = []

    def make(*args: Any, **options: Any) -> LinkLoader:
        made.append(make_loader(*args, **options))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def history_of(position: int) -> list[int]:
    events = slow_events(
        SHOP, PATHS[0], int(ROWS.rows[position]), int(ROWS.times[position]), inclusive=True
    )
    return sorted({event.target for event in events})


def wanted_of(position: int) -> list[int]:
    assert ROWS.offsets is not None
    assert ROWS.targets is not None
    return ROWS.targets[ROWS.offsets[position] : ROWS.offsets[position + 1]].tolist()


def target_trees(batch: LinkBatch) -> list[tuple[int, int, list[int]]]:
    """Row, time and the rows of the first hop of every target's tree."""
    assert batch.target is not None
    trees = batch.target.trees
    (hop,) = (h for h in trees.hops if h.depth == 0)
    orders = trees.frontiers[1, "orders"].rows[hop.first :]
    return [
        (row, time, orders[hop.offset[i] : hop.offset[i + 1]].tolist())
        for i, (row, time) in enumerate(zip(trees.rows.tolist(), trees.times.tolist(), strict=True))
    ]


def content(batch: LinkBatch) -> list[list[Any]]:
    """Per source all that hangs on it, whatever batch it is in."""
    trees = target_trees(batch) if batch.target is not None else []
    orders = batch.source.trees.frontiers[1, "orders"]
    out = []
    for s, position in enumerate(batch.positions.tolist()):
        mine = slice(batch.offset[s], batch.offset[s + 1])
        out.append(
            [
                position,
                float(batch.weights[s]),
                orders.rows[orders.seed == s].tolist(),
                [trees[i] for i in batch.candidate[mine].tolist()],
                [p if p < 0 else p - int(batch.history.offset[s]) for p in batch.pair[mine]],
                batch.log_weight[mine].tolist(),
                batch.positive[mine].tolist(),
                batch.history.targets[
                    batch.history.offset[s] : batch.history.offset[s + 1]
                ].tolist(),
            ]
        )
    return out


def per_source(batch: LinkBatch) -> Iterator[tuple[int, np.ndarray, slice]]:
    """Position, candidate rows and where they are."""
    assert batch.target is not None
    rows = batch.target.trees.rows[batch.candidate]
    for s, position in enumerate(batch.positions.tolist()):
        mine = slice(batch.offset[s], batch.offset[s + 1])
        yield position, rows[mine], mine


@pytest.mark.parametrize("strategy", ["random", "degree_based"])
def test_training_candidates_are_positives_history_and_negatives(
    strategy: str, loaders: Any
) -> None:
    for batch in loaders(strategy=strategy):
        for position, rows, mine in per_source(batch):
            time = ROWS.times[position]
            visible = set(range(min(NUM_PRODUCTS, int(time) + 1)))
            wanted, met = wanted_of(position), history_of(position)
            positives = rows[batch.positive[mine]].tolist()
            assert len(positives) == len(set(positives)) == min(16, len(visible & set(wanted)))
            assert (visible & set(wanted)).issuperset(positives)
            others = rows[(batch.pair[mine] >= 0) & ~batch.positive[mine]].tolist()
            assert others == [row for row in met if row not in wanted]
            drawn = rows[(batch.pair[mine] < 0) & ~batch.positive[mine]].tolist()
            allowed = visible - set(wanted) - set(met)
            assert allowed.issuperset(drawn)
            assert len(drawn) == min(6, len(allowed))


def test_repeated_candidates_are_the_history_and_its_positives_are_marked(loaders: Any) -> None:
    for options in ({"max_positives": 30}, {"candidates": "history"}):
        for batch in loaders(strategy=None, **options):
            for position, rows, mine in per_source(batch):
                met, wanted = history_of(position), wanted_of(position)
                assert rows.tolist() == met
                assert batch.positive[mine].tolist() == [row in wanted for row in met]
            assert batch.pair.tolist() == list(range(batch.history.targets.size))
            assert batch.offset.tolist() == batch.history.offset.tolist()
            assert not batch.log_weight.any()


def test_without_candidates_there_are_sources_and_their_history(loaders: Any) -> None:
    batches = list(loaders(candidates="none", strategy=None))
    assert [p for b in batches for p in b.positions.tolist()] == list(range(NUM_ROWS))
    for batch in batches:
        assert batch.target is None
        assert batch.candidate.size == batch.multiplicity.size == 0
        assert batch.offset.tolist() == [0] * (batch.positions.size + 1)
        for s, position in enumerate(batch.positions.tolist()):
            mine = slice(batch.history.offset[s], batch.history.offset[s + 1])
            assert batch.history.targets[mine].tolist() == history_of(position)


def test_what_the_caps_keep_stands_for_all_and_changes_with_the_epoch(loaders: Any) -> None:
    loader = loaders(max_positives=2, max_history=3, batch_size=NUM_ROWS)
    kept_of_3: set[int] = set()
    seen = dict.fromkeys(range(NUM_ROWS), 0)
    for epoch in range(40):
        loader.set_epoch(epoch)
        (batch,) = loader
        for position, rows, mine in per_source(batch):
            is_positive, is_met = batch.positive[mine], batch.pair[mine] >= 0
            weights = batch.log_weight[mine]
            time = int(ROWS.times[position])
            wanted = [row for row in wanted_of(position) if row <= time]
            others = [row for row in history_of(position) if row not in wanted_of(position)]
            for chosen, everything, cap in (
                (is_positive, wanted, 2),
                (is_met & ~is_positive, others, 3),
            ):
                assert set(everything).issuperset(rows[chosen].tolist())
                assert chosen.sum() == min(cap, len(everything))
                expected = np.log(max(1, len(everything) / cap))
                np.testing.assert_allclose(weights[chosen], expected, rtol=1e-6)
            if position == 3:
                kept_of_3 |= set(rows[is_positive].tolist())
            seen[position] += 1
    assert len(kept_of_3) > 10  # 20 positives, 2 of them at a time
    assert set(seen.values()) == {40}


def test_a_target_at_one_time_is_expanded_once_however_many_share_it(loaders: Any) -> None:
    for batch in loaders(batch_size=NUM_ROWS):
        trees = target_trees(batch)
        moments = [(row, time) for row, time, _ in trees]
        assert len(set(moments)) == len(moments)
        source = np.repeat(np.arange(batch.positions.size), np.diff(batch.offset))
        times = ROWS.times[batch.positions][source]
        assert batch.target.trees.times[batch.candidate].tolist() == times.tolist()
        assert batch.multiplicity.tolist() == np.bincount(batch.candidate).tolist()
        assert batch.multiplicity.min() >= 1


def test_where_no_source_has_a_candidate_there_is_one_tree_that_counts_nothing(
    loaders: Any,
) -> None:
    lonely = Rows(np.array([7], np.int32), np.array([9]), None, None)
    for candidates in ("sampled", "history"):
        (batch,) = loaders(lonely, strategy=None, candidates=candidates, batch_size=1)
        assert batch.candidate.size == 0
        assert batch.offset.tolist() == [0, 0]
        assert batch.target.trees.rows.tolist() == [0]
        assert batch.multiplicity.tolist() == [0]


def test_threads_change_nothing(loaders: Any) -> None:
    expected = [content(batch) for batch in loaders(threads=0)]
    assert len(expected) == 7
    assert [content(batch) for batch in loaders(threads=3)] == expected


@pytest.mark.parametrize("candidates", ["sampled", "history", "none"])
def test_ranks_together_see_the_batches_of_one(candidates: str, loaders: Any) -> None:
    options: dict[str, Any] = {"candidates": candidates}
    if candidates != "sampled":
        options["strategy"] = None
    whole = [content(batch) for batch in loaders(**options)]
    assert [content(batch) for batch in loaders(num_workers=1, **options)] == whole
    shares = [loaders(num_workers=3, rank=rank, **options) for rank in range(3)]
    for expected, *parts in zip(whole, *shares, strict=True):
        assert list(itertools.chain(*map(content, parts))) == expected


@pytest.mark.parametrize("threads", [0, 2])
def test_a_restart_continues_after_the_last_batch_handed_out(threads: int, loaders: Any) -> None:
    first = loaders(threads=threads)
    first.set_epoch(3)
    expected = [content(batch) for batch in first]
    batches = iter(first)
    for _ in range(3):
        next(batches)
    state = first.state_dict()
    assert state == {"epoch": 3, "step": 3}
    second = loaders(threads=threads)
    second.load_state_dict(state)
    assert [content(batch) for batch in second] == expected[3:]


def test_each_epoch_draws_anew(loaders: Any) -> None:
    loader = loaders(shuffle=False)
    first = [content(batch) for batch in loader]
    loader.set_epoch(1)
    assert [content(batch) for batch in loader] != first


def test_unknown_sources_are_never_loaded(loaders: Any) -> None:
    rows = make_rows(unknown=(0, 7))
    batches = list(loaders(rows, candidates="history", strategy=None))
    positions = [p for batch in batches for p in batch.positions.tolist()]
    assert positions == [i for i in range(NUM_ROWS) if i not in (0, 7)]


def test_a_split_without_targets_has_no_positives(loaders: Any) -> None:
    rows = make_rows(with_targets=False)
    for batch in loaders(rows, candidates="history", strategy=None):
        assert not batch.positive.any()


def test_close_joins_the_threads() -> None:
    before = set(threading.enumerate())
    loader = make_loader()
    next(iter(loader))
    loader.close()
    assert set(threading.enumerate()) == before


def test_distinct_targets_are_pairs_of_row_and_time() -> None:
    rows, times = np.array([5, 2, 5, 5, 2], np.int32), np.array([9, 9, -4, 9, 9])
    found, moments, index = distinct_targets(rows, times)
    assert list(zip(found.tolist(), moments.tolist(), strict=True)) == [(2, 9), (5, -4), (5, 9)]
    assert found[index].tolist() == rows.tolist()
    assert moments[index].tolist() == times.tolist()
    nothing = distinct_targets(rows[:0], times[:0])
    assert [part.size for part in nothing] == [0, 0, 0]


def test_what_cannot_be_loaded_is_refused() -> None:
    with pytest.raises(ValidationError, match="'history' have no negatives"):
        make_loader(candidates="history")
    with pytest.raises(ValidationError, match="must be kept"):
        make_loader(max_positives=0)
