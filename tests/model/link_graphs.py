"""Batches of link prediction over the small graph: which items will a user order?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.model.link import LinkModel
from rle.model.link_spec import LinkModelSpec
from rle.model.link_tensors import LinkTensorBatch, to_link_tensors
from rle.sampling.features import gather
from rle.sampling.history import HistoryReader, history_paths
from rle.sampling.link_batch import LinkBatch
from rle.sampling.sampler import NeighborSampler
from rle.values import TaskType
from tests.model.graphs import DAY, SCHEMA, WINDOWS_H, make_stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Batch

PATHS = history_paths(SCHEMA, source="users", target="items")
WINDOWS = [hours * 3600 * 10**9 for hours in WINDOWS_H]


def make_link_spec(
    snapshot: Snapshot, task_type: TaskType = TaskType.LINK_PREDICTION, **knobs: object
) -> LinkModelSpec:
    """A small link model over the small graph; `knobs` are fields of LinkModelSpec."""
    defaults: dict[str, object] = {
        "graph": SCHEMA,
        "stats": make_stats(snapshot),
        "entity_table": "users",
        "target_table": "items",
        "task_type": task_type,
        "paths": PATHS,
        "metric": "link_prediction_map",
        "k": 3,
        "channels": 16,
        "min_category_count": 2,
        "dropout": 0.0,
        "node_dropout": 0.0,
        "category_dropout": 0.0,
        "count_windows_h": WINDOWS_H,
    }
    return LinkModelSpec(**defaults | knobs)


def make_link_model(snapshot: Snapshot, **knobs: object) -> LinkModel:
    """A bound model, in training mode, with no weight at its special first value such as 0."""
    model = LinkModel(make_link_spec(snapshot, **knobs))
    model.name_rows(snapshot)
    model.bind(snapshot)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def make_trees(
    snapshot: Snapshot, table: str, rows: Sequence[int], days: Sequence[int], positions: np.ndarray
) -> Batch:
    """Trees of two hops."""
    sampler = NeighborSampler(
        snapshot,
        entity_table=table,
        fanouts=(4, 3),
        strategy="last",
        inclusive=True,
        seed=1,
        newest=2,
        windows=WINDOWS,
        backtrack=True,
    )
    times = np.array(days, np.int64) * DAY
    trees = sampler.sample(np.array(rows, np.int32), times, epoch=0, positions=positions)
    return gather(snapshot, trees, positions=positions)


def make_link_batch(
    snapshot: Snapshot,
    *,
    rows: Sequence[int] = (11, 4, 5, 7),
    days: Sequence[int] = (60, 30, 60, 30),
    candidates: Sequence[Sequence[int]] = ((0, 1, 2, 5), (3, 1), (5, 0, 1), (2,)),
    positives: Sequence[Sequence[int]] = ((1, 5), (3,), (5, 0, 1), ()),
    is_merged: bool = True,
) -> LinkBatch:
    """Users with some candidates each.

    Args:
        snapshot: The small graph.
        rows: The users.
        days: When.
        candidates: Items per user.
        positives: Those of them that are right.
        is_merged: Whether one tree stands for all candidates of one item at one time.
    """
    reader = HistoryReader(
        snapshot, source="users", target="items", paths=PATHS, inclusive=True, windows=WINDOWS
    )
    history = reader.read(np.array(rows, np.int32), np.array(days, np.int64) * DAY)
    seeds: list[tuple[int, int]] = []
    candidate, pair, positive = [], [], []
    for s, items in enumerate(candidates):
        met = history.targets[history.offset[s] : history.offset[s + 1]].tolist()
        for item in items:
            seed = (item, days[s])
            if seed not in seeds or not is_merged:
                seeds.append(seed)
            candidate.append(seeds.index(seed) if is_merged else len(seeds) - 1)
            pair.append(history.offset[s] + met.index(item) if item in met else -1)
            positive.append(item in positives[s])
    items, item_days = zip(*seeds, strict=True)
    positions = np.array(rows, np.int64) + 100
    return LinkBatch(
        positions=positions,
        weights=np.ones(len(rows), np.float32),
        source=make_trees(snapshot, "users", rows, days, positions),
        target=make_trees(snapshot, "items", items, item_days, np.array(items, np.int64)),
        multiplicity=np.bincount(candidate, minlength=len(seeds)).astype(np.float32),
        popularity=np.empty((len(seeds), 0), np.float32),
        history=history,
        offset=np.cumsum([0, *map(len, candidates)]).astype(np.int32),
        candidate=np.array(candidate, np.int32),
        pair=np.array(pair, np.int32),
        log_weight=np.where(positive, 0, np.arange(len(positive)) / 5).astype(np.float32),
        positive=np.array(positive, bool),
    )


def make_link_tensors(snapshot: Snapshot, **kwargs: object) -> LinkTensorBatch:
    """`make_link_batch` on the CPU."""
    return to_link_tensors(make_link_batch(snapshot, **kwargs), "cpu")


def without_history(batch: LinkBatch) -> LinkBatch:
    """The same batch, its candidates as if no source had met any."""
    return replace(batch, pair=np.full_like(batch.pair, -1))
