"""The training of link models on people who go back to their favourite towns."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist

from rle.errors import DataError, ValidationError
from rle.graph.link_task import read_link_split
from rle.graph.snapshot import Snapshot
from rle.model.link import LinkModel
from rle.runs.events import MetricEvent, ProgressEvent, WarningEvent
from rle.spec.metric import EvaluationMetric
from rle.spec.task import LinkTaskSpec
from rle.training.checkpoint import CheckpointStore, read_weights
from rle.training.job import carry_out
from rle.training.jobs import make_job
from rle.training.link_evaluate import LinkRanker, measure_ranking
from rle.training.link_job import LinkTrainingJob
from rle.training.link_rows import load_split, save_split
from rle.training.preflight import check_before_training
from rle.training.ranks import Ranks
from rle.training.workers import run_training
from rle.values import Split, TaskType
from tests.graph.tiny import build, dataset, table_spec
from tests.link_world import days, make_config
from tests.training.restarts import check_restart, losses

if TYPE_CHECKING:
    from pathlib import Path

LINK, REPEATED = TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION
CPU = torch.device("cpu")
NUM_PEOPLE, NUM_TOWNS, LAST_DAY = 60, 24, 120
SPLIT_DAYS = {
    Split.TRAIN: range(20, 85, 8),
    Split.VALIDATION: range(90, 100, 5),
    Split.TEST: range(105, 115, 5),
}


def draw_visits() -> pa.Table:
    """Everyone has two favourites, of which one takes turns with the other every few visits."""
    rng = np.random.default_rng(0)
    who, where, when = [], [], []
    for person in range(NUM_PEOPLE):
        # People of one quarter know the same six towns.
        known = 6 * (person % 4) + rng.permutation(6)[:4]
        for day in np.sort(rng.integers(0, LAST_DAY, 30)):
            is_favourite = rng.uniform() < 0.85
            who.append(person)
            where.append(known[int(day) // 40 % 2] if is_favourite else rng.choice(known))
            when.append(day)
    return pa.table({"who": who, "where": np.array(where), "at": days(when)})


def write_rows(folder: Path, split: Split, visits: pa.Table) -> None:
    """Who goes where in the five days after each day of the split."""
    when = visits.column("at").cast(pa.int64()).to_numpy() // (86_400 * 10**6)
    who, where = visits.column("who").to_numpy(), visits.column("where").to_numpy()
    rows = []
    for day in SPLIT_DAYS[split]:
        for person in range(NUM_PEOPLE):
            soon = where[(who == person) & (when > day) & (when <= day + 5)]
            if soon.size:
                rows.append((person, day, np.unique(soon)))
    people, moments, towns = zip(*rows, strict=True)
    table = {"person": people, "day": days(moments), "next_town": [t.tolist() for t in towns]}
    pq.write_table(pa.table(table), folder / f"task_{split.value}.parquet")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder of the files, and the dataset with either task."""
    folder = tmp_path_factory.mktemp("towns")
    rng = np.random.default_rng(1)
    visits = draw_visits()
    people = pa.table({"id": np.arange(NUM_PEOPLE), "age": rng.normal(size=NUM_PEOPLE)})
    towns = pa.table({"id": np.arange(NUM_TOWNS), "size": rng.normal(size=NUM_TOWNS)})
    links = {"who": "people.id", "where": "towns.id"}
    spec = dataset(
        folder,
        table_spec(folder, "people", people, keys=("id",)),
        table_spec(folder, "towns", towns, keys=("id",)),
        table_spec(folder, "visits", visits, links=links, time="at"),
    )
    for split in Split:
        write_rows(folder, split, visits)
    return folder, {
        task_type: spec.replace(task=task(spec, task_type)) for task_type in (LINK, REPEATED)
    }


def task(spec, task_type) -> LinkTaskSpec:
    return LinkTaskSpec(
        name="next",
        task_type=task_type,
        sources=spec.task.sources,
        source_entity_table="people",
        source_entity_column="person",
        target_entity_table="towns",
        target_entity_column="next_town",
        time_column="day",
        metric=EvaluationMetric("link_prediction_map", eval_at_k=5),
    )


def town_job(world, folder, task_type=LINK, **changes) -> LinkTrainingJob:
    files, specs = world
    spec = specs[task_type]
    base = {
        "n_epochs": 2,
        "train_batch_size": 64,
        "val_batch_size": 50,
        "channels": 16,
        "lr": 0.01,
        "num_negative": 6,
    }
    config = make_config(spec, **base | changes)
    snapshot = build(spec, files)
    return make_job(spec, config, snapshot, labels=None, folder=folder)


@pytest.mark.parametrize("task_type", [LINK, REPEATED])
def test_both_link_tasks_learn_and_the_kept_weights_rank_as_well_again(world, tmp_path, task_type):
    job, events = town_job(world, tmp_path, task_type, n_epochs=4), []
    result = run_training(job, on_event=events.append)
    per_epoch = [
        e.loss
        for e in events
        if isinstance(e, ProgressEvent) and e.stage == "train" and e.step == e.num_steps
    ]
    assert per_epoch[-1] < per_epoch[0]
    told = [e.value for e in events if isinstance(e, MetricEvent) and e.name == "validation_loss"]
    assert len(told) == len(result.history)
    assert np.isfinite(told).all()
    # Guessing among 24 towns gives about 0.1; the favourite of these days is right most often.
    assert result.best.value > 0.7

    snapshot, config = Snapshot.open(job.snapshot), job.config
    model = LinkModel(job.model)
    model.load_state_dict(read_weights(result.weights))
    model.bind(snapshot)
    split = read_link_split(
        job.dataset.connector, job.dataset, Split.VALIDATION, snapshot, with_targets=True
    )
    alone = Ranks(device=CPU)
    ranker = LinkRanker(
        model, snapshot, job.dataset, config, split, k=5, batch_size=50, ranks=alone
    )
    values = measure_ranking(ranker.rank(), split, k=5, ranks=alone)
    assert values["link_prediction_map"] == pytest.approx(result.best.value, abs=1e-9)


def test_the_job_is_equal_to_its_json(world, tmp_path):
    job = town_job(world, tmp_path)
    assert LinkTrainingJob.from_json(job.to_json()) == job


def test_a_restart_within_an_epoch_gives_the_same_curve(world, tmp_path):
    changes = {"evals_per_epoch": 2, "shallow_embeddings_list": ("towns",), "id_awareness": True}
    job = town_job(world, tmp_path, **changes)
    weights = check_restart(job)
    vectors = weights["target_tower.inputs.1.encoder.row_vectors.vectors"]
    assert vectors.shape == (NUM_TOWNS, 16)
    assert vectors.any()


def run_rank(rank: int, job_json: str, folder: Path) -> None:
    """One of two processes that train a job together."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    events = []
    carry_out(LinkTrainingJob.from_json(job_json), Ranks.current(CPU), on_event=events.append)
    if rank == 0:
        np.save(folder / "losses.npy", losses(events))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_give_the_curve_of_one(world, tmp_path):
    # Norms over the batch are where ranks could differ most: a target that both weigh is one tree
    # on one rank and two trees on two.
    changes = {"gnn_norm": "batch_norm", "shallow_embeddings_list": ("towns",)}
    alone, events = town_job(world, tmp_path / "one", **changes), []
    expected = run_training(alone, on_event=events.append)
    job = alone.replace(folder=tmp_path / "two")
    job.prepare()
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=run_rank, args=(rank, job.to_json(), tmp_path)) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert np.load(tmp_path / "losses.npy") == pytest.approx(losses(events), rel=1e-3)
    state = CheckpointStore(job.folder / "checkpoints").load()
    found = state.position.history
    assert [v.loss for v in found] == pytest.approx([v.loss for v in expected.history], rel=5e-3)
    values = [v.value for v in expected.history]
    assert [v.value for v in found] == pytest.approx(values, abs=5e-3)


def rewrite(world, folder, change):
    """The dataset with its training rows changed, in a folder of their own."""
    files, specs = world
    table = pq.read_table(files / "task_train.parquet")
    path = folder / "task_train.parquet"
    pq.write_table(change(table), path)
    spec = specs[REPEATED]
    sources = dict(spec.task.sources) | {Split.TRAIN: str(path)}
    return files, {REPEATED: spec.replace(task=spec.task.replace(sources=sources))}


def with_targets(table, lists):
    return table.set_column(2, "next_town", pa.array(lists, pa.list_(pa.int64())))


def test_odd_rows_are_told_and_left_out(world, tmp_path):
    def change(table):
        lists = table.column("next_town").to_pylist()
        lists[0], lists[1], lists[2] = [], [*lists[1], 777], [*lists[2], lists[2][0]]
        table = with_targets(table, lists)
        who = table.column("person").to_pylist()
        who[3] = 999
        return table.set_column(0, "person", pa.array(who))

    odd = rewrite(world, tmp_path, change)
    job, events = town_job(odd, tmp_path / "job", REPEATED, n_epochs=1), []
    run_training(job, on_event=events.append)
    told = "\n".join(e.message for e in events if isinstance(e, WarningEvent))
    assert "source that is not in the graph, such as '999'" in told
    assert "1 targets of the train table are not in the graph, such as '777'" in told
    assert "1 targets of the train table are named more than once" in told
    assert "have no target; they teach nothing" in told
    train = load_split(tmp_path / "job" / "splits" / "train", Split.TRAIN)
    assert (train.rows >= 0).all()
    assert (np.diff(train.offsets) > 0).all()


def test_a_repeated_task_whose_targets_are_always_new_is_refused(world, tmp_path):
    def change(table):
        # Towns of another quarter than the person's.
        who = table.column("person").to_pylist()
        return with_targets(table, [[6 * ((person + 1) % 4)] for person in who])

    job = town_job(rewrite(world, tmp_path, change), tmp_path / "job", REPEATED)
    with pytest.raises(DataError, match=r"none of .* training rows .*LINK_PREDICTION"):
        run_training(job, on_event=lambda event: None)


def test_targets_that_are_all_unknown_are_refused(world, tmp_path):
    def change(table):
        return with_targets(table, [[777]] * table.num_rows)

    job = town_job(rewrite(world, tmp_path, change), tmp_path / "job", REPEATED)
    with pytest.raises(DataError, match="777"):
        run_training(job, on_event=lambda event: None)


def test_rows_of_a_table_without_a_key_cannot_have_vectors(world):
    spec = world[1][LINK]
    config = make_config(spec, shallow_embeddings_list=("visits",))
    with pytest.raises(ValidationError, match="table 'visits', which has no key"):
        check_before_training(spec, config, needs_test=False)


def test_a_split_survives_its_files(world, tmp_path):
    job = town_job(world, tmp_path)
    snapshot = Snapshot.open(job.snapshot)
    split = read_link_split(
        job.dataset.connector, job.dataset, Split.TRAIN, snapshot, with_targets=True
    )
    at = np.array([5, 2, 9])
    save_split(tmp_path / "files", split, at)
    found = load_split(tmp_path / "files", Split.TRAIN)
    assert found.rows.tolist() == split.rows[at].tolist()
    assert found.times.tolist() == split.times[at].tolist()
    for i, row in enumerate(at):
        mine = found.targets[found.offsets[i] : found.offsets[i + 1]]
        assert mine.tolist() == split.targets[split.offsets[row] : split.offsets[row + 1]].tolist()
