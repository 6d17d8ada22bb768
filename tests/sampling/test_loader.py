from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rle.errors import ValidationError
from rle.sampling.loader import BatchLoader
from rle.sampling.plan import plan_epoch
from rle.sampling.sampler import NeighborSampler
from tests.sampling.graphs import star

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.sampling.batch import Batch
    from rle.sampling.plan import EpochPlan

GRAPH = star(30, num_parents=10)


@dataclass(frozen=True)
class Seeds:
    rows: np.ndarray
    times: np.ndarray
    labels: np.ndarray | None


def make_loader(
    num_rows: int = 25, *, unknown: tuple[int, ...] = (), **options: Any
) -> BatchLoader:
    rows = np.arange(num_rows, dtype=np.int32) % 10
    rows[list(unknown)] = -1
    seeds = Seeds(rows, np.arange(num_rows, dtype=np.int64), np.arange(num_rows, dtype=np.float32))
    sampler = NeighborSampler(
        GRAPH.snapshot,
        entity_table="customers",
        fanouts=[5],
        strategy="uniform",
        inclusive=False,
        seed=1,
    )
    defaults: dict[str, Any] = {"batch_size": 4, "shuffle": True, "threads": 2}
    return BatchLoader(GRAPH.snapshot, seeds, sampler, **(defaults | options))


@pytest.fixture
def loaders() -> Iterator[Any]:
    """Makes loaders and closes them after the test."""
    made: list[BatchLoader] = []

    def make(*args: Any, **options: Any) -> BatchLoader:
        made.append(make_loader(*args, **options))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def plans(num_rows: int, num_workers: int, *, shuffle: bool, **options: Any) -> list[EpochPlan]:
    defaults: dict[str, Any] = {"batch_size": 8, "epoch": 0, "seed": 0}
    return [
        plan_epoch(
            num_rows, num_workers=num_workers, rank=rank, shuffle=shuffle, **(defaults | options)
        )
        for rank in range(max(1, num_workers))
    ]


def global_batches(ranks: list[EpochPlan]) -> list[list[int]]:
    """What all ranks together see per step, without padding."""
    out = []
    for step in range(ranks[0].num_steps):
        shares = [plan.share(step) for plan in ranks]
        assert all(positions.size > 0 for positions, _ in shares)
        out.append(np.concatenate([p[w > 0] for p, w in shares]).tolist())
    return out


SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33]


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("num_workers", range(5))
def test_evaluation_counts_each_row_once_in_equal_steps(num_rows: int, num_workers: int) -> None:
    ranks = plans(num_rows, num_workers, shuffle=False)
    assert len({plan.num_steps for plan in ranks}) == 1
    assert list(itertools.chain(*global_batches(ranks))) == list(range(num_rows))


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("num_workers", range(5))
def test_training_batches_are_full_and_the_same_on_any_number_of_workers(
    num_rows: int, num_workers: int
) -> None:
    batches = global_batches(plans(num_rows, num_workers, shuffle=True))
    assert batches == global_batches(plans(num_rows, 1, shuffle=True))
    assert all(len(batch) == 8 for batch in batches)
    flat = list(itertools.chain(*batches))
    assert sorted(flat[:num_rows]) == list(range(num_rows))
    (plan,) = plans(num_rows, 1, shuffle=True)
    assert plan.num_wrapped == len(flat) - num_rows
    assert flat[num_rows:] == (flat[:num_rows] * 8)[: plan.num_wrapped]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_rows_of_one_group_come_in_runs(num_workers: int) -> None:
    groups = np.arange(100) % 3
    options: dict[str, Any] = {"shuffle": True, "batch_size": 20, "groups": groups}
    batches = global_batches(plans(100, num_workers, **options))
    assert sorted(itertools.chain(*batches)) == list(range(100))
    runs = [groups[batch[i : i + 5]] for batch in batches for i in range(0, 20, 5)]
    # A run lies in one group, but for the two that begin in one and end in the next.
    assert sum(np.unique(run).size > 1 for run in runs) == 2
    assert batches == global_batches(plans(100, 1, **options))
    assert batches != global_batches(plans(100, 1, **options, epoch=1))


def test_each_epoch_and_seed_shuffles_anew_and_repeatably() -> None:
    orders = [
        plans(50, 1, shuffle=True, epoch=epoch, seed=seed)[0].order.tolist()
        for epoch, seed in [(0, 0), (0, 0), (1, 0), (0, 1), (0, -1)]
    ]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 4


def test_max_iters_ends_the_epoch_early() -> None:
    (plan,) = plans(20, 1, shuffle=True, max_iters=2)
    assert (plan.num_steps, plan.num_wrapped, plan.order.size) == (2, 0, 16)
    assert plans(20, 1, shuffle=True, max_iters=9)[0].num_steps == 3


def test_a_plan_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValidationError, match="below the number of workers"):
        plans(20, 9, shuffle=False)
    with pytest.raises(ValidationError, match="no rows"):
        plans(0, 1, shuffle=True)
    assert plans(0, 3, shuffle=False)[0].num_steps == 0


def content(batch: Batch) -> list[Any]:
    assert batch.labels is not None
    frontier = batch.trees.frontiers[1, "orders"]
    return [batch.positions.tolist(), batch.labels.tolist(), frontier.rows.tolist()]


def test_threads_change_nothing(loaders: Any) -> None:
    expected = [content(batch) for batch in loaders(threads=0)]
    assert len(expected) == 7
    for threads in (1, 3):
        assert [content(batch) for batch in loaders(threads=threads)] == expected


def test_ranks_together_draw_the_trees_of_one(loaders: Any) -> None:
    whole = [content(batch) for batch in loaders()]
    shares = [loaders(num_workers=2, rank=rank) for rank in range(2)]
    for expected, *parts in zip(whole, *shares, strict=True):
        assert [a + b for a, b in zip(*map(content, parts), strict=True)] == expected


def test_unknown_entities_are_left_out_and_positions_stay_those_of_the_split(loaders: Any) -> None:
    batches = list(loaders(unknown=(0, 7), shuffle=False))
    positions = np.concatenate([batch.positions for batch in batches]).tolist()
    assert positions == [i for i in range(25) if i not in (0, 7)]


def test_padding_weighs_nothing(loaders: Any) -> None:
    last = list(loaders(9, num_workers=3, rank=2, shuffle=False))[-1]
    assert last.weights.tolist() == [0.0]


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
    second.set_epoch(3)  # what a training loop does before each epoch
    assert [content(batch) for batch in second] == expected[3:]
    assert second.state_dict() == {"epoch": 3, "step": 7}
    assert [content(batch) for batch in second] == expected
    second.set_epoch(4)
    assert second.state_dict() == {"epoch": 4, "step": 0}


def test_a_finished_epoch_is_not_repeated_after_a_restart(loaders: Any) -> None:
    loader = loaders()
    loader.load_state_dict({"epoch": 2, "step": 7})
    assert list(loader) == []


def test_what_a_thread_raises_reaches_the_consumer_at_its_step(
    loaders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loaders(shuffle=False)
    sample = NeighborSampler.sample

    def fail_on_the_third(self: NeighborSampler, rows: Any, times: Any, **options: Any) -> Any:
        if 8 in options["positions"]:
            raise RuntimeError("the disk is gone")
        return sample(self, rows, times, **options)

    monkeypatch.setattr(NeighborSampler, "sample", fail_on_the_third)
    seen = []
    with pytest.raises(RuntimeError, match="the disk is gone"):
        seen.extend(loader)
    assert len(seen) == 2


def test_close_joins_the_threads_in_the_middle_of_an_epoch() -> None:
    before = set(threading.enumerate())
    loader = make_loader()
    next(iter(loader))
    assert set(threading.enumerate()) != before
    loader.close()
    assert set(threading.enumerate()) == before
    assert len(list(loader)) == len(loader)
    loader.close()


def test_an_interrupt_in_the_consumer_leaves_no_work_behind(loaders: Any) -> None:
    loader = loaders(threads=2)

    def consume() -> None:
        for _ in loader:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    loader.close()
    assert loader.state_dict()["step"] == 1
