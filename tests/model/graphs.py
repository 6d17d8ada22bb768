"""A small graph in memory with every dtype and every shape of relation, and batches from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from rle.graph.report import BuildReport, TableReport
from rle.graph.schema import (
    GraphSchema,
    TableLayout,
    relations_of_edge_table,
    relations_of_link,
)
from rle.graph.snapshot import Snapshot
from rle.graph.store import TableStore
from rle.graph.topology import Topology
from rle.ingest.labels import LabelCodec
from rle.ingest.stats import (
    CategoryStats,
    DatasetStats,
    NumberStats,
    StampStats,
    TableStats,
    VectorStats,
)
from rle.model.relational import ModelSpec, RelationalModel
from rle.model.tensors import TensorBatch, to_tensors
from rle.sampling.features import gather
from rle.sampling.sampler import NeighborSampler
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rle.sampling.batch import Batch

DAY = 86_400 * 10**9
WINDOWS_H = (24, 240)
NULL_STAMP = np.iinfo(np.int64).min
NUM_ROWS = {"users": 12, "orders": 60, "items": 7, "views": 4}
USERS = TableLayout(
    name="users",
    has_time=False,
    number_columns=("age", "income"),
    code_columns=("region", "plan"),
    vector_columns=(("bio", 3),),
    list_columns=("tags",),
)
ORDERS = TableLayout(
    name="orders",
    has_time=True,
    number_columns=("price", "year"),
    code_columns=("channel",),
    stamp_columns=("due",),
)
ITEMS = TableLayout(name="items", has_time=False)
VIEWS = TableLayout(name="views", has_time=True, number_columns=("seconds",))
SCHEMA = GraphSchema(
    tables=(USERS, ORDERS, ITEMS, VIEWS),
    relations=(
        *relations_of_link("orders.user", child="orders", parent="users"),
        *relations_of_link("orders.item", child="orders", parent="items"),
        *relations_of_link("orders.previous", child="orders", parent="orders"),
        *relations_of_link("views.user", child="views", parent="users"),
        *relations_of_edge_table("follows", columns=("who", "whom"), parents=("users", "users")),
    ),
)
DICTIONARIES = {
    "region": ["east", "north", "rare", "south"],
    "plan": ["free", "paid"],
    "channel": ["app", "web"],
    "tags": ["a", "b", "c"],
}


def make_snapshot(
    seed: int = 0, dictionaries: Mapping[str, Sequence[str]] | None = None
) -> Snapshot:
    """Build the graph; other dictionaries give the same codes other meanings."""
    rng = np.random.default_rng(seed)
    values = DICTIONARIES | dict(dictionaries or {})
    stores = {
        layout.name: _store(rng, layout, NUM_ROWS[layout.name], values) for layout in SCHEMA.tables
    }
    parents = {
        "orders": np.stack(
            [_parents(rng, "users", 60), _parents(rng, "items", 60), _earlier(rng, 60)], axis=1
        ).astype(np.int32),
        "views": np.array([[0], [0], [3], [-1]], np.int32),
        "follows": rng.integers(0, NUM_ROWS["users"], (20, 2)).astype(np.int32),
    }
    rows = {name: store.num_rows for name, store in stores.items()}
    topology = Topology.of(SCHEMA, rows, parents)
    report = BuildReport(tables=tuple(TableReport(table=n, num_rows=r) for n, r in rows.items()))
    return Snapshot(None, "small", SCHEMA, report, stores, topology)


def make_stats(snapshot: Snapshot) -> DatasetStats:
    """Statistics over all rows."""
    return DatasetStats(
        until=None, tables=tuple(_stats(snapshot, layout) for layout in SCHEMA.tables)
    )


def make_codec(task_type: TaskType) -> LabelCodec:
    """The codec that fitting on two or three classes, or on numbers around 5, would give."""
    if task_type is TaskType.REGRESSION:
        return LabelCodec(task_type=task_type, classes=(), class_type="double", mean=5.0, std=2.0)
    classes = (0, 1) if task_type is TaskType.BINARY_CLASSIFICATION else (0, 1, 2)
    return LabelCodec(task_type=task_type, classes=classes, class_type="int64")


def make_spec(
    snapshot: Snapshot, task_type: TaskType = TaskType.BINARY_CLASSIFICATION, **knobs: object
) -> ModelSpec:
    """A small model over the small graph; `knobs` are fields of ModelSpec."""
    defaults: dict[str, object] = {
        "channels": 16,
        "num_layers": 2,
        "min_category_count": 2,
        "dropout": 0.0,
        "node_dropout": 0.0,
        "category_dropout": 0.0,
        "count_windows_h": WINDOWS_H,
        "metric": "auroc",
    }
    return ModelSpec(
        graph=SCHEMA,
        stats=make_stats(snapshot),
        entity_table="users",
        labels=make_codec(task_type),
        **defaults | knobs,
    )


def make_model(
    snapshot: Snapshot, task_type: TaskType = TaskType.BINARY_CLASSIFICATION, **knobs: object
) -> RelationalModel:
    """A bound model, in training mode, with no weight at its special first value such as 0."""
    model = RelationalModel(make_spec(snapshot, task_type, **knobs))
    model.bind(snapshot)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def make_batch(
    snapshot: Snapshot,
    *,
    rows: Sequence[int] = (0, 3, 5, 5, 9, 11),
    days: Sequence[int] = (50, 20, 60, 30, 2, 55),
    fanouts: Sequence[int] = (3, 2),
    newest: int = 2,
    windows_h: Sequence[float] = WINDOWS_H,
    backtrack: bool = True,
    labels: np.ndarray | None = None,
) -> Batch:
    """Sample and gather around `rows` at `days`."""
    sampler = NeighborSampler(
        snapshot,
        entity_table="users",
        fanouts=fanouts,
        strategy="uniform",
        inclusive=True,
        seed=1,
        newest=newest,
        windows=[round(hours * 3600 * 10**9) for hours in windows_h],
        backtrack=backtrack,
    )
    positions = np.array(rows, np.int64) + 100
    trees = sampler.sample(
        np.array(rows, np.int32), np.array(days, np.int64) * DAY, epoch=0, positions=positions
    )
    return gather(snapshot, trees, positions=positions, labels=labels)


def make_tensors(snapshot: Snapshot, **kwargs: object) -> TensorBatch:
    """`make_batch` on the CPU."""
    return to_tensors(make_batch(snapshot, **kwargs), "cpu")


def _parents(rng: np.random.Generator, table: str, size: int) -> np.ndarray:
    drawn = rng.integers(0, NUM_ROWS[table], size)
    return np.where(rng.uniform(size=size) < 0.1, -1, drawn)


def _earlier(rng: np.random.Generator, size: int) -> np.ndarray:
    drawn = (np.arange(size) * rng.uniform(size=size)).astype(np.int64)
    return np.where((np.arange(size) == 0) | (rng.uniform(size=size) < 0.3), -1, drawn)


def _store(
    rng: np.random.Generator,
    layout: TableLayout,
    num_rows: int,
    values: Mapping[str, Sequence[str]],
) -> TableStore:
    numbers = rng.normal(3, 2, (num_rows, len(layout.number_columns))).astype(np.float32)
    if layout.name == "users":
        numbers[::3, 1] = np.nan
        numbers[:4, 0] = 1.5  # a tie that fills several quantiles
    if layout.name == "orders":
        numbers[:, 1] = np.arange(num_rows)
    codes = np.stack(
        [rng.integers(-1, len(values[c]), num_rows) for c in layout.code_columns] or [[]], axis=1
    ).astype(np.int32)
    stamps = rng.integers(-400 * DAY, 900 * DAY, (num_rows, len(layout.stamp_columns)))
    stamps[rng.uniform(size=stamps.shape) < 0.2] = NULL_STAMP
    vectors = {
        n: rng.normal(size=(num_rows, d)).astype(np.float16) for n, d in layout.vector_columns
    }
    for block in vectors.values():
        block[1] = np.nan
    lists = {}
    for column in layout.list_columns:
        lengths = rng.integers(0, 3, num_rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        lists[column] = offsets, rng.integers(0, 3, offsets[-1]).astype(np.int32)
    return TableStore(
        name=layout.name,
        num_rows=num_rows,
        # A quarter of a day apart at least, so that some rows share a moment.
        times=np.sort(rng.integers(0, 240, num_rows)) * (DAY // 4) if layout.has_time else None,
        numbers=numbers,
        codes=codes.reshape(num_rows, len(layout.code_columns)),
        stamps=stamps,
        vectors=vectors,
        lists=lists,
        dictionaries={
            c: (lambda column=c: pa.array(values[column], pa.string()))
            for c in (*layout.code_columns, *layout.list_columns)
        },
    )


def _stats(snapshot: Snapshot, layout: TableLayout) -> TableStats:
    store = snapshot.tables[layout.name]
    numbers = []
    for i, column in enumerate(layout.number_columns):
        values = store.numbers[:, i]
        seen = values[~np.isnan(values)].astype(np.float64)
        levels = tuple(np.quantile(seen, np.linspace(0, 1, 33)).tolist())
        numbers.append(
            NumberStats(
                column=column,
                num_nulls=int(np.isnan(values).sum()),
                mean=float(seen.mean()),
                std=float(seen.std()),
                quantiles=levels,
                time_correlation=1.0 if column == "year" else 0.0,
            )
        )
    categories = [
        _category(store, column, store.codes[:, i]) for i, column in enumerate(layout.code_columns)
    ]
    lists = [_category(store, column, store.lists[column][1]) for column in layout.list_columns]
    stamps = [
        StampStats(column=c, min=int(seen.min()), max=int(seen.max()))
        for i, c in enumerate(layout.stamp_columns)
        for seen in [store.stamps[:, i][store.stamps[:, i] != NULL_STAMP]]
    ]
    return TableStats(
        table=layout.name,
        num_rows=store.num_rows,
        numbers=tuple(numbers),
        categories=tuple(categories),
        lists=tuple(lists),
        vectors=tuple(
            VectorStats(column=n, dim=d, mean=0.1, std=1.5) for n, d in layout.vector_columns
        ),
        stamps=tuple(stamps),
    )


def _category(store: TableStore, column: str, codes: np.ndarray) -> CategoryStats:
    values = store.dictionary(column).to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    order = sorted(range(len(values)), key=lambda i: (-counts[i], values[i]))
    return CategoryStats(
        column=column,
        values=tuple(values[i] for i in order),
        counts=tuple(int(counts[i]) for i in order),
    )
