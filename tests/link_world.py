"""A tiny database with a link task: people who visit towns, which are founded over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rle.model.link import LinkModel
from rle.model.link_spec import LinkModelSpec
from rle.sampling.history import history_paths
from rle.spec.config import TrainerConfig
from rle.spec.metric import EvaluationMetric
from rle.spec.task import LinkTaskSpec
from rle.values import Split, TaskType
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

DAY = 86_400 * 10**6
NUM_PEOPLE, NUM_TOWNS, NUM_VISITS = 15, 40, 150
TOWNS = [f"town {i:02d}" for i in range(NUM_TOWNS)]
TEST_ROWS = [
    # who, day, where to
    (3, 60, [4, 5]),
    (7, 90, [1]),
    (99, 90, [2]),  # nobody knows
    (3, 75, []),
    (14, 60, [0, 9]),  # has never been anywhere
    (5, 90, [5, 6, 7]),
    (None, 60, [1]),
    (8, 75, [3]),
]


def days(values: object) -> pa.Array:
    return pa.array(np.array(values, np.int64) * DAY, pa.int64()).cast(pa.timestamp("us"))


def make_world(
    folder: Path, task_type: TaskType, *, has_targets: bool = True, k: int = 4
) -> tuple[DatasetSpec, Snapshot]:
    """Write the database and its task tables into `folder`, and build its graph."""
    rng = np.random.default_rng(0)
    people = pa.table({"id": np.arange(NUM_PEOPLE), "age": rng.normal(size=NUM_PEOPLE)})
    founded = np.where(np.arange(NUM_TOWNS) < 30, 0, 55 + np.arange(NUM_TOWNS))  # some on day 85+
    towns = pa.table({"name": TOWNS, "size": rng.normal(size=NUM_TOWNS), "at": days(founded)})
    visits = pa.table(
        {
            "who": rng.integers(0, NUM_PEOPLE - 1, NUM_VISITS),
            "where": [TOWNS[i] for i in rng.integers(0, 12, NUM_VISITS)],
            "at": days(rng.integers(1, 95, NUM_VISITS)),
        }
    )
    spec = dataset(
        folder,
        table_spec(folder, "people", people, keys=("id",)),
        table_spec(folder, "towns", towns, keys=("name",), time="at"),
        table_spec(
            folder, "visits", visits, links={"who": "people.id", "where": "towns.name"}, time="at"
        ),
    )
    task = LinkTaskSpec(
        name="next",
        task_type=task_type,
        sources=spec.task.sources,
        source_entity_table="people",
        source_entity_column="person",
        target_entity_table="towns",
        target_entity_column="next_town",
        time_column="day",
        current_time=False,
        metric=EvaluationMetric("link_prediction_map", eval_at_k=k),
    )
    for split in Split:
        write_split(folder, split, TEST_ROWS, has_targets=has_targets)
    spec = spec.model_copy(update={"task": task})
    return spec, build(spec, folder)


def write_split(folder: Path, split: Split, rows: list, *, has_targets: bool = True) -> None:
    table = {
        "person": pa.array([who for who, _, _ in rows], pa.int32()),
        "day": days([day for _, day, _ in rows]),
    }
    if has_targets:
        wanted = [[TOWNS[i] for i in where] for _, _, where in rows]
        table["next_town"] = pa.array(wanted, pa.list_(pa.string()))
    pq.write_table(pa.table(table), folder / f"task_{split.value}.parquet")


def make_config(spec: DatasetSpec, **changes: object) -> TrainerConfig:
    settings: dict[str, object] = {
        "device": "cpu",
        "n_epochs": 1,
        "channels": 8,
        "fanouts": (4, 3),
        "temporal_strategy": "last",
        "num_workers": 0,
        "sampler_workers": 0,
    }
    return TrainerConfig(connector=spec.connector, **settings | changes)


def make_model(spec: DatasetSpec, config: TrainerConfig, snapshot: Snapshot) -> LinkModel:
    """A model that nobody trained, with no weight at its special first value such as 0."""
    source, target = spec.entities[0][0], spec.entities[1][0]
    model = LinkModel(
        LinkModelSpec.from_config(
            config,
            graph=snapshot.schema,
            stats=snapshot.stats(until=None),
            source_table=source,
            target_table=target,
            task_type=spec.task.task_type,
            paths=history_paths(snapshot.schema, source=source, target=target),
            metric=spec.task.metric,
        )
    )
    model.bind(snapshot)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    return model
