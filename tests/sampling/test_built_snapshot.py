"""The sampler over files that the build wrote, against the reference over the tables it read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from rle.graph.snapshot import Snapshot
from rle.sampling.features import gather
from rle.sampling.sampler import NeighborSampler
from tests.graph.test_inherit import airline
from tests.graph.tiny import build, dataset, table_spec
from tests.sampling.graphs import Source, build_graph
from tests.sampling.reference import ReferenceSampler
from tests.sampling.test_sampler import as_dict

if TYPE_CHECKING:
    from pathlib import Path

NUM_PEOPLE, NUM_CALLS = 9, 120


def test_trees_over_a_built_snapshot_equal_the_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    # Rows arrive in no order; some keys and some times are NULL.
    times = [None if rng.uniform() < 0.1 else int(t) for t in rng.integers(0, 25, NUM_CALLS)]
    keys = {
        column: [None if rng.uniform() < 0.1 else int(k) for k in rng.integers(0, NUM_PEOPLE, 120)]
        for column in ("caller", "called")
    }
    people = pa.table({"id": list(range(NUM_PEOPLE)), "age": rng.uniform(size=NUM_PEOPLE)})
    calls = pa.table(
        {
            "id": list(range(NUM_CALLS)),
            "at": pa.array(times, pa.timestamp("ns")),
            "length": rng.uniform(size=NUM_CALLS),
            **{column: pa.array(values, pa.int64()) for column, values in keys.items()},
        }
    )
    links = {"caller": "people.id", "called": "people.id"}
    spec = dataset(
        tmp_path,
        table_spec(tmp_path, "people", people, keys=("id",)),
        table_spec(tmp_path, "calls", calls, keys=("id",), links=links, time="at", group_rows=50),
    )
    built = build(spec, tmp_path)
    assert built.path is not None
    snapshot = Snapshot.open(built.path)
    parents = dict.fromkeys(keys, "people")
    graph = build_graph(
        [
            Source("people", NUM_PEOPLE, None, {}, {}),
            Source("calls", NUM_CALLS, times, parents, keys),
        ]
    )
    assert snapshot.schema.relations == graph.schema.relations
    options: dict[str, Any] = {
        "fanouts": [4, 3],
        "strategy": "uniform",
        "inclusive": False,
        "seed": 5,
        "newest": 2,
    }
    sampler = NeighborSampler(snapshot, entity_table="people", **options)
    rows, at = np.arange(NUM_PEOPLE, dtype=np.int32), np.arange(NUM_PEOPLE) * 3
    trees = sampler.sample(rows, at, epoch=1, positions=np.arange(NUM_PEOPLE))
    frontiers, _ = ReferenceSampler(graph, "people", **options).sample(
        rows.tolist(), at.tolist(), 1, range(NUM_PEOPLE)
    )
    assert as_dict(trees)["frontiers"] == frontiers
    batch = gather(snapshot, trees, positions=np.arange(NUM_PEOPLE))
    ids = snapshot.tables["calls"].keys("id").to_numpy()[batch.tables["calls"].rows]
    lengths = calls["length"].to_numpy()[ids].astype(np.float32)
    assert batch.tables["calls"].numbers[:, 0].tolist() == lengths.tolist()


@pytest.mark.parametrize("time_window", [None, 4])
@pytest.mark.parametrize("inclusive", [False, True])
def test_rows_due_are_those_extended_that_much_earlier(
    tmp_path: Path, inclusive: bool, time_window: int | None
) -> None:
    snapshot = build(airline(tmp_path, departed=[12, 11, 10]), tmp_path / "snapshots")
    lag, windows, times = 2, [1, 2, 10], list(range(9))
    trees = NeighborSampler(
        snapshot,
        entity_table="airports",
        fanouts=[2],
        strategy="last",
        inclusive=inclusive,
        seed=1,
        windows=windows,
        lags={"departures.flight>origin:children": lag},
        time_window=time_window,
    ).sample(
        np.zeros(len(times), np.int32),
        np.array(times, np.int64),
        epoch=0,
        positions=np.arange(len(times)),
    )
    (hop,) = [h for h in trees.hops if h.due is not None]
    assert snapshot.schema.relations[hop.relation].target == "departures"
    # Airport A is row 0; its flights were published at 1 and 3.
    reach = [min(lag + w, time_window or 100) for w in windows]
    expected = [
        [sum(t + inclusive - r <= at < t + inclusive - lag for at in (1, 3)) for r in reach]
        for t in times
    ]
    assert hop.due is not None
    assert hop.due.tolist() == expected
