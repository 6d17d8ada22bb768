"""Rankings of a split against every row ranked by itself, with all destinations at its own time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from rle.graph.link_task import read_link_split
from rle.model.link_tensors import to_history
from rle.model.tensors import to_tensors
from rle.sampling.features import gather
from rle.sampling.history import HistoryReader
from rle.sampling.link_loader import read_popularity
from rle.training import link_evaluate
from rle.training.link_evaluate import LinkRanker, measure_ranking, moment_limit
from rle.training.link_parts import make_popularity
from rle.training.node_job import make_sampler
from rle.training.ranks import Ranks
from rle.values import Split, TaskType
from tests.link_world import make_config, make_model, make_world

LINK, REPEATED = TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION
ALONE = Ranks(device=torch.device("cpu"))
K = 4


@pytest.fixture(scope="module", params=[LINK, REPEATED], ids=["link", "repeated"])
def world(request, tmp_path_factory):
    spec, snapshot = make_world(tmp_path_factory.mktemp("world"), request.param, k=K)
    config = make_config(spec)
    split = read_link_split(spec.connector, spec, Split.TEST, snapshot, with_targets=True)
    return make_model(spec, config, snapshot), snapshot, spec, config, split


def ranked(world, *, ranks=ALONE, batch_size=3, **options):
    ranker = LinkRanker(*world, k=K, batch_size=batch_size, ranks=ranks)
    return list(ranker.rank(**options))


def by_row(blocks, name):
    return {
        int(row): getattr(block, name)[i]
        for block in blocks
        for i, row in enumerate(block.positions)
    }


def trees(world, entity, rows, times, positions):
    _, snapshot, spec, config, _ = world
    sampler = make_sampler(snapshot, spec, config, lags={}, entity=entity)
    drawn = sampler.sample(
        np.array(rows, np.int32), np.array(times), epoch=0, positions=np.array(positions)
    )
    return to_tensors(gather(snapshot, drawn, positions=np.array(positions)), "cpu")


def obvious_scores(world, position):
    """What a row thinks of every destination it may see: {row of the target table: score}."""
    model, snapshot, spec, config, split = world
    model.eval()
    row, time = split.rows[position], split.times[position]
    store = snapshot.tables["towns"]
    towns = np.flatnonzero(store.times < time)  # current_time=False
    with torch.no_grad():
        source = model.sources(trees(world, 0, [row], [time], [position]))
        reader = make_popularity(snapshot, spec, config, model.spec)
        told = read_popularity(reader, towns.astype(np.int32), np.full(towns.size, time))
        seen = trees(world, 1, towns, [time] * towns.size, towns)
        vectors = model.targets(seen, torch.from_numpy(told))
        reader = HistoryReader(
            snapshot,
            source="people",
            target="towns",
            paths=model.spec.paths,
            inclusive=False,
            windows=config.windows,
        )
        history = to_history(reader.read(np.array([row]), np.array([time])), "cpu")
        terms = model.pair_terms(history, source, vectors[history.targets])
    scores = dict(zip(towns.tolist(), (source @ vectors.T)[0].tolist(), strict=True))
    met = history.targets.tolist()
    for town, term in zip(met, terms.tolist(), strict=True):
        scores[town] += term
    is_repeated = spec.task.task_type is REPEATED
    return {town: score for town, score in scores.items() if not is_repeated or town in met}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_known_row_gets_its_best_destinations(world, batch_size):
    blocks = ranked(world, batch_size=batch_size)
    targets, scores = by_row(blocks, "targets"), by_row(blocks, "scores")
    assert sorted(targets) == [0, 1, 3, 4, 5, 7]
    for row in targets:
        expected = obvious_scores(world, row)
        best = sorted(expected, key=lambda town: -expected[town])[:K]
        assert [t for t in targets[row].tolist() if t >= 0] == best
        assert scores[row][: len(best)] == pytest.approx([expected[t] for t in best], abs=1e-4)
        assert (scores[row][len(best) :] == -np.inf).all()


def test_a_source_without_history_has_an_empty_list_only_where_the_met_are_ranked(world):
    targets = by_row(ranked(world), "targets")
    is_repeated = world[2].task.task_type is REPEATED
    assert (targets[4] == -1).all() == is_repeated


def test_vectors_of_sources_come_with_their_rows(world):
    vectors = by_row(ranked(world, with_embeddings=True), "embeddings")
    model, _, _, _, split = world
    with torch.no_grad():
        own = model.sources(trees(world, 0, [split.rows[5]], [split.times[5]], [5]))
    assert vectors[5] == pytest.approx(own[0].numpy(), abs=1e-5)


def test_few_moments_rank_towns_that_came_up_later_and_say_how_old_the_vectors_are(
    world, monkeypatch
):
    monkeypatch.setattr(link_evaluate, "TREES_PER_ROW", 0)
    monkeypatch.setattr(link_evaluate, "SPARE_TREES", 0)
    model, snapshot, *_ = world
    ranker = LinkRanker(*world, k=40, batch_size=8, ranks=ALONE)
    targets = by_row(ranker.rank(), "targets")
    if model.spec.is_repeated:
        assert ranker.remark() is None
        return
    assert "1 moments, up to 30 days before" in ranker.remark()
    store = snapshot.tables["towns"]
    for row, found in targets.items():
        visible = np.flatnonzero(store.times < world[-1].times[row])
        assert sorted(found[found >= 0]) == visible.tolist()
    assert max(len(t[t >= 0]) for t in targets.values()) > min(
        len(t[t >= 0]) for t in targets.values()
    )


def test_exact_moments_need_no_remark(world):
    assert LinkRanker(*world, k=K, batch_size=8, ranks=ALONE).remark() is None


def test_steps_are_told_up_to_the_last(world):
    told = []
    ranker = LinkRanker(
        *world, k=K, batch_size=3, ranks=ALONE, on_step=lambda *step: told.append(step)
    )
    list(ranker.rank())
    assert told == [(i + 1, len(told)) for i in range(len(told))]


def test_metrics_are_those_of_the_rankings(world):
    split = world[-1]
    found = measure_ranking(ranked(world), split, k=K, ranks=ALONE)
    targets = by_row(ranked(world), "targets")
    recalls = []
    for row, best in targets.items():
        wanted = set(split.targets[split.offsets[row] : split.offsets[row + 1]].tolist())
        if wanted:
            recalls.append(len(wanted & set(best.tolist())) / len(wanted))
    assert found["link_prediction_recall"] == pytest.approx(np.mean(recalls), abs=1e-9)


@dataclass(frozen=True)
class Together(Ranks):
    """Ranks that are threads."""

    barrier: threading.Barrier = None
    given: dict = field(default_factory=dict)

    def sum_(self, tensor):
        self.given[self.rank] = tensor
        self.barrier.wait(60)
        total = self.given[0] + self.given[1]
        self.barrier.wait(60)
        return total


@pytest.mark.parametrize("batch_size", [2, 3])
def test_two_ranks_share_the_rows_and_agree_on_the_metrics(world, batch_size):
    barrier, given, seen = threading.Barrier(2), {}, {}

    def work(rank):
        ranks = Together(torch.device("cpu"), rank, 2, barrier=barrier, given=given)
        blocks = ranked(world, ranks=ranks, batch_size=batch_size)
        seen[rank] = blocks, measure_ranking(blocks, world[-1], k=K, ranks=ranks)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    alone = ranked(world, batch_size=batch_size)
    targets = by_row(seen[0][0] + seen[1][0], "targets")
    assert sum(block.positions.size for rank in seen for block in seen[rank][0]) == len(targets)
    for row, expected in by_row(alone, "targets").items():
        assert targets[row].tolist() == expected.tolist()
    assert seen[0][1] == seen[1][1] == measure_ranking(alone, world[-1], k=K, ranks=ALONE)


def test_there_is_always_a_moment_and_more_where_they_are_cheap():
    assert moment_limit(100_000, 1_000_000) == 1
    assert moment_limit(0, 0) >= 1
    assert moment_limit(5_000, 120) > 300
