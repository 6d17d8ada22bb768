"""Two processes over gloo, without Ray, against one: the same batches, the same losses."""

from __future__ import annotations

import json
import multiprocessing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed as dist

from rle.runs.events import ProgressEvent
from rle.spec.config import TrainerConfig
from rle.spec.metric import EvaluationMetric
from rle.testing.training import TinyJob
from rle.training.loop import fit
from rle.training.ranks import Ranks

if TYPE_CHECKING:
    from pathlib import Path

# (training rows, validation rows, batch norm): counts around multiples of the batch size, a
# split smaller than a batch, and one where a rank has nothing but padding.
CASES = [(203, 101, False), (203, 97, True), (64, 32, True), (63, 33, True), (65, 3, False)]
CPU = torch.device("cpu")


def tiny_job(folder: Path, case: int) -> TinyJob:
    train, validation, batch_norm = CASES[case]
    config = TrainerConfig(
        connector={"kind": "duckdb", "database": "unused.duckdb"},
        device="cpu",
        n_epochs=3,
        train_batch_size=32,
        val_batch_size=32,
        lr=0.02,
        num_workers=0,
    )
    return TinyJob(
        folder=folder,
        config=config,
        metric=EvaluationMetric("roc_auc"),
        num_train_rows=train,
        num_validation_rows=validation,
        batch_norm=batch_norm,
    )


def curve(folder: Path, case: int, ranks: Ranks) -> dict:
    """The losses and validations of a run; on ranks other than 0 without the losses."""
    job, events = tiny_job(folder, case), []
    report = fit(job.build(ranks), job.config, job.metric, on_event=events.append, ranks=ranks)
    return {
        "losses": [e.loss for e in events if isinstance(e, ProgressEvent) and e.stage == "train"],
        "values": [v.value for v in report.history],
        "validation_losses": [v.loss for v in report.history],
        "weights": {name: tensor.tolist() for name, tensor in report.weights.items()},
    }


def run_rank(rank: int, num_ranks: int, folder: Path) -> None:
    """All cases on one of several processes; what it saw goes to a file."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_ranks
    )
    seen = [curve(folder, case, Ranks.current(CPU)) for case in range(len(CASES))]
    (folder / f"rank{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> list[list[dict]]:
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=run_rank, args=(rank, 2, folder)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_ranks_give_the_curve_of_one(two_ranks, tmp_path, case):
    alone = curve(tmp_path, case, Ranks(device=CPU))
    together = two_ranks[0][case]
    assert len(together["losses"]) == 3 * -(-CASES[case][0] // 32)
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert together["values"] == pytest.approx(alone["values"], rel=1e-4)
    assert together["validation_losses"] == pytest.approx(alone["validation_losses"], rel=1e-4)


def test_every_rank_holds_the_same_weights_bit_for_bit(two_ranks):
    first, second = two_ranks
    for case in range(len(CASES)):
        assert first[case]["weights"] == second[case]["weights"]
        assert first[case]["values"] == second[case]["values"]


def test_only_the_first_rank_tells(two_ranks):
    assert all(not seen["losses"] for seen in two_ranks[1])
    assert all(a != b for a, b in pairwise(two_ranks[0][0]["losses"]))
