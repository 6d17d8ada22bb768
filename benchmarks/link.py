"""How many pairs of a source and a destination does one core train on and rank per CPU second?

Training: a step takes 128 customers at the ends of months, the articles that each bought in the
next 30 days, those it bought before and 10 negatives; it samples and gathers the trees of both
sides and runs the model forward and backward, on one thread. The baseline is the same two towers of
torch-geometric's modules, on the same trees or with a tree for each candidate.

Ranking: the best 12 of all destinations for each source, against one full matrix of scores; and the
memory of a process that ranks a million destinations, for few and for many sources.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.harness import arguments, measure, record
from benchmarks.pyg import PyGModel
from benchmarks.retail import generate, snapshot
from rle.model.link import LinkModel, LinkObjective
from rle.model.link_spec import LinkModelSpec
from rle.model.link_tensors import to_link_tensors
from rle.model.retrieval import PairTerms, top_k
from rle.sampling import link_loader
from rle.sampling.history import HistoryReader, history_paths
from rle.sampling.link_loader import LinkLoader
from rle.sampling.negatives import NegativeSampler
from rle.sampling.sampler import NeighborSampler
from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.retail import Retail
    from rle.graph.snapshot import Snapshot
    from rle.model.link_tensors import LinkTensorBatch

BATCH, NEGATIVES, K, WIDTH, MET = 128, 10, 12, 65, 20
MONTH = 30 * 86_400 * 10**9
SIDES = {"source": "customers", "target": "articles"}


class Rows:
    """Customers at the ends of months, and what they bought in the next 30 days."""

    def __init__(self, retail: Retail) -> None:
        bought = retail.transactions
        when = bought["time"].to_numpy().astype(np.int64)
        who, what = bought["customer_id"].to_numpy(), bought["article_id"].to_numpy()
        parts = []
        for month in range(12, 20):
            now = when[0] + month * MONTH
            first, last = np.searchsorted(when, [now, now + MONTH], side="right")
            pairs = np.unique(np.column_stack([who[first:last], what[first:last]]), axis=0)
            parts.append(np.column_stack([pairs, np.full(len(pairs), now)]))
        pairs = np.concatenate(parts)
        is_first = np.append(True, (pairs[1:, [0, 2]] != pairs[:-1, [0, 2]]).any(axis=1))
        starts = np.flatnonzero(is_first)
        self.rows: NDArray[np.int32] = pairs[starts, 0].astype(np.int32)
        self.times: NDArray[np.int64] = pairs[starts, 2]
        self.offsets: NDArray[np.int64] = np.append(starts, len(pairs))
        self.targets: NDArray[np.int32] = pairs[:, 1].astype(np.int32)


class Steps:
    """Training steps over the rows, in random order."""

    def __init__(self, graph: Snapshot, rows: Rows, fanouts: list[int]) -> None:
        paths = history_paths(graph.schema, **SIDES)
        self.graph = graph
        self.spec = LinkModelSpec(
            graph=graph.schema,
            stats=graph.stats(until=None),
            entity_table=SIDES["source"],
            target_table=SIDES["target"],
            task_type=TaskType.LINK_PREDICTION,
            paths=paths,
            metric="link_prediction_map",
            k=K,
            num_layers=len(fanouts),
        )
        shared = {"inclusive": True, "seed": 0}
        samplers = [
            NeighborSampler(
                graph,
                entity_table=table,
                fanouts=fanouts,
                strategy="uniform",
                newest=self.spec.newest_children,
                windows=self.spec.windows,
                **shared,
            )
            for table in SIDES.values()
        ]
        self.loader = LinkLoader(
            graph,
            rows,
            target=SIDES["target"],
            source_sampler=samplers[0],
            target_sampler=samplers[1],
            reader=HistoryReader(
                graph, **SIDES, paths=paths, inclusive=True, windows=self.spec.windows
            ),
            candidates="sampled",
            negatives=NegativeSampler(graph, **SIDES, strategy="random", paths=paths, **shared),
            num_negative=NEGATIVES,
            batch_size=BATCH,
            shuffle=True,
            threads=0,
            inclusive=True,
        )
        self.epochs = itertools.count()

    def batches(self, num: int, *, is_merged: bool) -> list[LinkTensorBatch]:
        """Load some batches; unless merged, every candidate has a tree of its own."""
        self.loader.set_epoch(next(self.epochs))
        merge = link_loader.distinct_targets
        if not is_merged:
            link_loader.distinct_targets = lambda rows, times: (
                rows,
                times,
                np.arange(rows.size, dtype=np.int32),
            )
        try:
            loaded = itertools.islice(self.loader, num)
            return [to_link_tensors(batch, "cpu") for batch in loaded]
        finally:
            link_loader.distinct_targets = merge

    def run(self, model: LinkModel, num: int, *, is_merged: bool = True) -> int:
        """Train `num` steps without an optimiser; returns the pairs seen."""
        pairs = 0
        for _ in range(num):
            (batch,) = self.batches(1, is_merged=is_merged)
            model.zero_grad()
            losses = LinkObjective().row_losses(model(batch), batch.labels)
            (losses * batch.weights).sum().div(batch.weights.sum()).backward()
            pairs += batch.candidate.shape[0]
        return pairs

    def models(self) -> tuple[LinkModel, LinkModel]:
        """The model, and one whose towers are made of torch-geometric's modules."""
        fast, slow = LinkModel(self.spec), LinkModel(self.spec)
        outputs = {"source_tower": self.spec.channels, "target_tower": self.spec.width}
        for name, num_outputs in outputs.items():
            spec = getattr(slow, name).spec
            setattr(slow, name, PyGModel(spec, is_trimmed=True, num_outputs=num_outputs))
        for model in (fast, slow):
            model.bind(self.graph)
        return fast, slow


def train(*, is_quick: bool) -> None:
    """Measure training steps."""
    retail = generate(500_000 if is_quick else 2_000_000)
    graph, rows = snapshot(retail), Rows(retail)
    num = 2 if is_quick else 12
    for fanouts in ([16, 8],) if is_quick else ([16, 8], [32, 16]):
        steps = Steps(graph, rows, fanouts)
        fast, slow = steps.models()
        for is_merged in (True, False):
            trees = "the same trees" if is_merged else "a tree per candidate"
            measure(
                "link",
                case=f"train {fanouts} batch {BATCH}, baseline on {trees}",
                unit="pairs/cpu_s",
                run=lambda steps=steps, fast=fast: steps.run(fast, num),
                work=float,
                baseline=lambda steps=steps, slow=slow, is_merged=is_merged: steps.run(
                    slow, max(num // 6, 1), is_merged=is_merged
                ),
                baseline_name="the same towers from torch-geometric modules",
                repeats=1 if is_quick else 3,
            )


def rank(num_sources: int, num_targets: int) -> int:
    """Rank random vectors as a prediction does, batch by batch; returns the sources."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(num_targets, WIDTH, generator=generator)
    with torch.inference_mode():
        for first in range(0, num_sources, BATCH):
            num = min(BATCH, num_sources - first)
            terms = PairTerms(
                offset=torch.arange(num + 1) * MET,
                target=torch.randint(num_targets, (num * MET,), generator=generator),
                value=torch.randn(num * MET, generator=generator),
            )
            sources = torch.randn(num, WIDTH, generator=generator)
            visible = torch.full((num,), num_targets)
            top_k(sources, targets, k=K, num_visible=visible, extra=terms)
    return num_sources


def rank_by_full_matrix(num_sources: int, num_targets: int) -> int:
    """The same from one matrix of all scores."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(num_targets, WIDTH, generator=generator)
    with torch.inference_mode():
        scores = torch.randn(num_sources, WIDTH, generator=generator) @ targets.T
        source = torch.arange(num_sources).repeat_interleave(MET)
        met = torch.randint(num_targets, (num_sources * MET,), generator=generator)
        scores.index_put_((source, met), torch.randn(met.shape, generator=generator), True)
        scores.topk(K, dim=1)
    return num_sources


def retrieve(*, is_quick: bool) -> None:
    """Measure ranking, and the memory of processes that rank."""
    few, many = (500, 5_000) if is_quick else (10_000, 100_000)
    num_targets = 200_000 if is_quick else 1_000_000
    for shape in ((1_024, 100_000), (512, 400_000)):
        measure(
            "link",
            case=f"rank {shape[0]} sources among {shape[1]} destinations",
            unit="sources/cpu_s",
            run=lambda shape=shape: rank(*shape),
            work=float,
            baseline=lambda shape=shape: rank_by_full_matrix(*shape),
            baseline_name="one matrix of all scores, then topk",
            repeats=1 if is_quick else 3,
        )
    for num_sources in (few, many):
        command = [sys.executable, "-m", "benchmarks.link", "--rank", f"{num_sources}"]
        told = subprocess.run(
            [*command, f"{num_targets}"], capture_output=True, text=True, check=True
        )
        peak_kib, cpu_s = told.stdout.split()
        record(
            "link",
            case=f"peak memory of a process: {num_sources} sources, {num_targets} destinations",
            value=int(peak_kib) / 1024,
            unit="MiB",
            higher_is_better=False,
            baseline="one matrix of all scores, computed",
            baseline_value=num_sources * num_targets * 4 / 2**20,
            cpu_s=float(cpu_s),
        )


def main() -> None:
    """Run all cases; with --rank SOURCES DESTINATIONS only rank, and print KiB and CPU seconds."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--rank"]:
        rank(*map(int, sys.argv[2:]))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_maxrss, used.ru_utime)
        return
    options = arguments(__doc__ or "")
    train(is_quick=options.quick)
    retrieve(is_quick=options.quick)


if __name__ == "__main__":
    main()
