"""How many seeds does one core train on per CPU second, against the same model in torch-geometric?

A step samples 512 trees, gathers their rows, and runs the model forward and backward, on one
thread. "task" seeds are the churn task's own rows; "active" seeds are customers at the time of one
of their purchases, so that busy customers come more often and trees are larger.

The last lines share the time of a step out over its stages.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.harness import arguments, measure, record
from benchmarks.pyg import PyGModel
from benchmarks.retail import generate, seeds, snapshot
from benchmarks.sampling import active_seeds
from rle.ingest.labels import LabelCodec
from rle.model.heads import Objective
from rle.model.relational import ModelSpec, RelationalModel
from rle.model.tensors import to_tensors
from rle.sampling.features import gather
from rle.sampling.sampler import NeighborSampler
from rle.values import TaskType

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.model.tensors import TensorBatch

BATCH = 512
STAGES = ("sampling", "gather", "encode", "message passing", "head", "backward")


class Steps:
    """Training steps over one set of seeds."""

    def __init__(self, graph: Snapshot, rows: np.ndarray, times: np.ndarray, fanouts: list[int]):
        self.graph, self.rows, self.times = graph, rows, times
        labels = LabelCodec(
            task_type=TaskType.BINARY_CLASSIFICATION, classes=(0, 1), class_type="int64"
        )
        self.spec = ModelSpec(
            graph=graph.schema,
            stats=graph.stats(until=None),
            entity_table="customers",
            labels=labels,
            metric="auroc",
            num_layers=len(fanouts),
        )
        self.objective = Objective(self.spec)
        self.sampler = NeighborSampler(
            graph,
            entity_table="customers",
            fanouts=fanouts,
            strategy="uniform",
            inclusive=True,
            seed=0,
            newest=self.spec.newest_children,
            windows=self.spec.windows,
        )
        self.batches = itertools.count()

    def sample(self) -> tuple[np.ndarray, object]:
        """Draw the next 512 trees."""
        position = (next(self.batches) * BATCH + np.arange(BATCH)) % self.rows.size
        rows, times = self.rows[position], self.times[position]
        return position, self.sampler.sample(rows, times, epoch=0, positions=position)

    def gather(self, position: np.ndarray, trees: object) -> TensorBatch:
        """Collect their rows as tensors."""
        batch = gather(self.graph, trees, positions=position, labels=position % 2)
        return to_tensors(batch, "cpu")

    def loss(self, outputs: torch.Tensor, batch: TensorBatch) -> torch.Tensor:
        """The mean loss of a batch."""
        total, weight = self.objective.loss(outputs, batch.labels, batch.weights)
        return total / weight

    def run(self, model: torch.nn.Module, num: int) -> int:
        """Train `num` steps without an optimiser; returns the seeds seen."""
        for _ in range(num):
            batch = self.gather(*self.sample())
            model.zero_grad()
            self.loss(model(batch), batch).backward()
        return num * BATCH

    def shares(self, model: RelationalModel, num: int) -> dict[str, float]:
        """CPU seconds per step of every stage."""
        spent = dict.fromkeys(STAGES, 0.0)
        for _ in range(num):
            clock = time.process_time()

            def lap(stage: str) -> None:
                nonlocal clock
                now = time.process_time()
                spent[stage] += (now - clock) / num
                clock = now

            drawn = self.sample()
            lap("sampling")
            batch = self.gather(*drawn)
            lap("gather")
            states = model.encode(batch)
            lap("encode")
            history = model.propagate(states, batch)
            lap("message passing")
            model.zero_grad()
            loss = self.loss(model.outputs(history, batch), batch)
            lap("head")
            loss.backward()
            lap("backward")
        return spent


def compare(steps: Steps, case: str, num: int) -> None:
    """Measure one case against torch-geometric, then share out its time."""
    fast = RelationalModel(steps.spec)
    fast.bind(steps.graph)
    for is_trimmed in (False, True):
        slow = PyGModel(steps.spec, is_trimmed=is_trimmed, num_outputs=steps.spec.num_outputs)
        slow.bind(steps.graph)
        measure(
            "train",
            case=f"{case}, baseline {'trimmed' if is_trimmed else 'plain'}",
            unit="seeds/cpu_s",
            run=lambda: steps.run(fast, num),
            work=float,
            baseline=lambda slow=slow: steps.run(slow, max(num // 4, 1)),
            baseline_name="the same model from torch-geometric modules",
        )
    spent = steps.shares(fast, num)
    total = sum(spent.values())
    for stage, seconds in spent.items():
        record(
            "train_share",
            case=f"{case} {stage}",
            value=seconds / total,
            unit="share",
            higher_is_better=False,
            cpu_s=seconds,
        )


def main() -> None:
    """Run all cases."""
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    retail = generate()
    graph = snapshot(retail)
    num = 8 if options.quick else 40
    kinds = {"task": seeds(retail), "active": active_seeds(retail, 2 * 51_200)}
    for kind, (rows, times) in kinds.items():
        for fanouts in ([15, 10], [128, 64]):
            case = f"{kind} {fanouts} batch {BATCH}"
            compare(Steps(graph, rows, times, fanouts), case, num)


if __name__ == "__main__":
    main()
