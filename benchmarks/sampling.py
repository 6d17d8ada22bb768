"""How many seeds does one core sample per CPU second, against the same trees drawn in numpy?

    python -m benchmarks.sampling [--quick | --full]

Seeds are (customer, time) pairs of the generated retail database. "task" seeds are the churn
task's own rows. "active" seeds are customers at the time of one of their purchases, so that busy
customers come more often: 35 and 131 edges per seed here, where the published figures of other
systems were measured with 36.5 at [15,10] and 123 at [128,64].
Where kumo-relational-engine is installed its native sampler is measured beside ours.
--quick draws fewer batches at 2 million transactions; --full adds 20 million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import arguments, measure
from benchmarks.kumo import KumoSampler, is_installed
from benchmarks.retail import generate, seeds, snapshot
from rle.sampling.features import gather
from rle.sampling.sampler import NeighborSampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.retail import Retail
    from rle.graph.snapshot import Snapshot

FANOUTS = ([15, 10], [128, 64])
WINDOWS = tuple(hours * 3600 * 10**9 for hours in (6, 24, 168, 720, 8760))
"""As by default in training."""
WARM_UP_DAYS = 120
"""Active seeds begin after this much history."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Seeds cut into batches."""

    rows: NDArray[np.int32]
    times: NDArray[np.int64]
    size: int

    def of(self, num: int) -> list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]]:
        """Return (rows, times, positions) of the first `num` batches."""
        starts = range(0, min(num * self.size, self.rows.size - self.size + 1), self.size)
        return [
            (
                self.rows[a : a + self.size],
                self.times[a : a + self.size],
                np.arange(a, a + self.size),
            )
            for a in starts
        ]


def active_seeds(retail: Retail, num: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return customers and times of purchases drawn at random after the first months."""
    times = retail.transactions["time"].to_numpy().astype(np.int64)
    first = int(np.searchsorted(times, times[0] + WARM_UP_DAYS * 86_400 * 10**9))
    drawn = np.random.default_rng(2).integers(first, times.size, num)
    return retail.transactions["customer_id"].to_numpy()[drawn].astype(np.int32), times[drawn]


class NumpySampler:
    """The same walk, vectorised: what one would write without a compiler."""

    def __init__(self, graph: Snapshot, fanouts: list[int], *, is_last: bool) -> None:
        self.graph, self.fanouts, self.is_last = graph, fanouts, is_last
        self.rng = np.random.default_rng(0)

    def sample(self, rows: NDArray[np.int32], times: NDArray[np.int64]) -> int:
        """Draw trees from customers; returns the number of edges."""
        cutoff = {
            name: np.full(times.size, table.num_rows)
            if table.times is None
            else np.searchsorted(table.times, times, side="right")
            for name, table in self.graph.tables.items()
        }
        level = [("customers", rows.astype(np.int64), np.arange(rows.size))]
        edges = 0
        for fanout in self.fanouts:
            below = []
            for table, node, seed in level:
                for i, relation in enumerate(self.graph.schema.relations):
                    if relation.source == table:
                        hop = self.children if relation.many else self.parents
                        child, owner = hop(i, node, cutoff[relation.target][seed], fanout)
                        below.append((relation.target, child, seed[owner]))
                        edges += child.size
            level = below
        return edges

    def parents(
        self, relation: int, node: NDArray[np.int64], cutoff: NDArray[np.int64], _fanout: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the visible parents, and which node each belongs to."""
        found = self.graph.topology.parents(relation, node).astype(np.int64)
        owner = np.flatnonzero((found >= 0) & (found < cutoff))
        return found[owner], owner

    def children(
        self, relation: int, node: NDArray[np.int64], cutoff: NDArray[np.int64], fanout: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return at most `fanout` visible children per node, and the node each belongs to."""
        topology = self.graph.topology
        part = topology.relations[relation]
        first = topology.offsets[part.offset_start + node].astype(np.int64) + part.link_start
        last = topology.offsets[part.offset_start + node + 1].astype(np.int64) + part.link_start
        low, high = first.copy(), last.copy()
        while (low < high).any():  # bisect all lists at once
            middle = (low + high) >> 1
            is_open = low < high
            is_below = is_open & (topology.links[np.where(is_open, middle, 0)] < cutoff)
            low = np.where(is_below, middle + 1, low)
            high = np.where(is_open & ~is_below, middle, high)
        count = low - first
        if self.is_last:
            first, count = low - np.minimum(count, fanout), np.minimum(count, fanout)
        owner = np.repeat(np.arange(node.size), count)
        rank = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        if not self.is_last and (count > fanout).any():
            # A random order within each list; its first `fanout` are a uniform draw.
            order = np.lexsort((self.rng.random(owner.size), owner))
            kept = np.sort(order[rank < fanout])
            owner, rank = owner[kept], rank[kept]
        return topology.links[first[owner] + rank].astype(np.int64), owner


def measure_case(
    graph: Snapshot,
    batches: Batches,
    num: int,
    *,
    case: str,
    fanouts: list[int],
    strategy: str,
    newest: int,
    windows: tuple[int, ...] = (),
    backtrack: bool = True,
) -> None:
    """Measure one sampler over `num` batches, with the numpy one as its baseline."""
    sampler = NeighborSampler(
        graph,
        entity_table="customers",
        fanouts=fanouts,
        strategy="last" if strategy == "last" else "uniform",
        inclusive=True,
        seed=0,
        newest=newest,
        windows=windows,
        backtrack=backtrack,
    )
    plain = NumpySampler(graph, fanouts, is_last=strategy == "last")
    work = batches.of(num)
    few = work[: max(1, len(work) // 4)]  # enough not to fit into a cache
    sampled = sum(
        int(hop.offset[-1])
        for rows, times, positions in work
        for hop in sampler.sample(rows, times, epoch=0, positions=positions).hops
    )
    per_seed = sampled / (len(work) * batches.size)

    def run() -> int:
        for rows, times, positions in work:
            sampler.sample(rows, times, epoch=0, positions=positions)
        return len(work) * batches.size

    def baseline() -> int:
        for rows, times, _ in few:
            plain.sample(rows, times)
        return len(few) * batches.size

    more = f"{f' windows {len(windows)}' if windows else ''}{'' if backtrack else ' no way back'}"
    measure(
        "sampling",
        case=f"{case} {strategy} {fanouts} batch {batches.size} newest {newest}{more}, "
        f"{per_seed:.1f} edges/seed",
        unit="seeds/cpu_s",
        run=run,
        work=float,
        baseline=baseline,
        baseline_name="numpy, vectorised",
        repeats=5,
    )


def measure_peer(
    graph: Snapshot, batches: Batches, num: int, *, case: str, fanouts: list[int]
) -> None:
    """Measure `last` against a peer's native sampler, which draws the same trees."""
    ours = NeighborSampler(
        graph, entity_table="customers", fanouts=fanouts, strategy="last", inclusive=True, seed=0
    )
    peer = KumoSampler(graph, fanouts)
    work = batches.of(num)
    few = work[: max(1, len(work) // 8)]
    for rows, times, positions in few[:8]:
        trees = ours.sample(rows, times, epoch=0, positions=positions)
        edges = sum(int(hop.offset[-1]) for hop in trees.hops)
        assert edges == peer.sample(rows, times), "the two do not draw the same trees"

    def run() -> int:
        for rows, times, positions in work:
            ours.sample(rows, times, epoch=0, positions=positions)
        return len(work) * batches.size

    def baseline() -> int:
        for rows, times, _ in few:
            peer.sample(rows, times)
        return len(few) * batches.size

    measure(
        "sampling",
        case=f"{case} last {fanouts} batch {batches.size}",
        unit="seeds/cpu_s",
        run=run,
        work=float,
        baseline=baseline,
        baseline_name="kumo-relational-engine 1.0, native sampler",
    )


def measure_gather(graph: Snapshot, batches: Batches, num: int, *, case: str) -> None:
    """Measure distinct rows, features and ages of trees that are already drawn."""
    sampler = NeighborSampler(
        graph,
        entity_table="customers",
        fanouts=[128, 64],
        strategy="uniform",
        inclusive=True,
        seed=0,
        newest=2,
    )
    trees = [
        (sampler.sample(rows, times, epoch=0, positions=positions), positions)
        for rows, times, positions in batches.of(num)
    ]

    def run() -> int:
        for tree, positions in trees:
            gather(graph, tree, positions=positions)
        return len(trees) * batches.size

    measure("sampling", case=case, unit="seeds/cpu_s", run=run, work=float)


def main() -> None:
    """Run all cases."""
    options = arguments(__doc__ or "", full="also 20 million transactions")
    sizes = [2, 20] if options.full else [2]
    num_seeds = 51_200 if options.quick else 204_800
    for millions in sizes:
        retail = generate(millions * 10**6)
        graph = snapshot(retail)
        kinds = {"task": seeds(retail), "active": active_seeds(retail, num_seeds)}
        for kind, (rows, times) in kinds.items():
            for size in (128, 1024):
                batches = Batches(rows, times, size)
                for fanouts in FANOUTS:
                    for strategy in ("uniform", "last"):
                        for newest in (0, 2) if size == 128 and kind == "active" else (0,):
                            measure_case(
                                graph,
                                batches,
                                num_seeds // size,
                                case=f"{millions}M {kind}",
                                fanouts=fanouts,
                                strategy=strategy,
                                newest=newest,
                            )
        for fanouts in FANOUTS if is_installed() else ():
            batches = Batches(*kinds["active"], 128)
            measure_peer(
                graph, batches, num_seeds // 128, case=f"{millions}M active", fanouts=fanouts
            )
        for fanouts in FANOUTS:  # as the product trains by default; numpy does less here
            measure_case(
                graph,
                Batches(*kinds["active"], 128),
                num_seeds // 128,
                case=f"{millions}M active",
                fanouts=fanouts,
                strategy="uniform",
                newest=2,
                windows=WINDOWS,
                backtrack=False,
            )
        batches = Batches(*kinds["active"], 512)
        measure_gather(graph, batches, num_seeds // 512, case=f"{millions}M gather [128, 64]")


if __name__ == "__main__":
    main()
