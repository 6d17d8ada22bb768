"""Features: nothing after the seed counts, and each number is what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.baseline.features import Features
from rle.baseline.plan import FeaturePlan, plan_features
from rle.errors import DataError
from rle.graph.store import NULL_TIME
from tests.baseline.worlds import furnished, one_value, until
from tests.graph.tiny import build, dataset, table_spec
from tests.sampling.graphs import Graph, graphs

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400 * 10**9


def plan_of(graph: Graph, **changes: object) -> FeaturePlan:
    plan = plan_features(graph.snapshot, entity_table="t0", until=NULL_TIME - 1, inclusive=True)
    return plan.replace(windows_h=(1e-12, 2e-12), **changes)


@settings(max_examples=60)
@given(
    graph=graphs(),
    time=st.integers(-6, 16),
    inclusive=st.booleans(),
    window=st.none() | st.integers(1, 12),
)
def test_what_happens_later_changes_no_feature(
    graph: Graph, time: int, inclusive: bool, window: int | None
) -> None:
    whole = furnished(graph)
    plan = plan_features(
        whole.snapshot, entity_table="t0", until=NULL_TIME - 1, inclusive=inclusive,
        time_window=window,
    )  # fmt: skip
    plan = plan.replace(windows_h=(1e-12, 2e-12), near=2, far=5)
    before = until(whole, time, inclusive=inclusive, entity_table="t0")
    rows = np.arange(whole.snapshot.tables["t0"].num_rows, dtype=np.int32)
    times = np.full(rows.size, time, np.int64)
    np.testing.assert_array_equal(
        Features(before.snapshot, plan).compute(rows, times),
        Features(whole.snapshot, plan).compute(rows, times),
    )


@settings(max_examples=40)
@given(graph=graphs(), inclusive=st.booleans(), data=st.data())
def test_lists_are_counted_and_pooled_as_a_loop_would(
    graph: Graph, inclusive: bool, data: st.DataObject
) -> None:
    whole = furnished(graph)
    plan = plan_of(whole, near=2, far=5).replace(inclusive=inclusive)
    features = Features(whole.snapshot, plan)
    row, time = (
        data.draw(st.integers(0, whole.sources["t0"].num_rows - 1)),
        data.draw(st.integers(-6, 16)),
    )
    found = features.compute(np.array([row], np.int32), np.array([time], np.int64))
    for path in plan.lists:
        if plan.places[path.place].path or len(path.path) > 1:
            continue
        relation = next(r for r in whole.schema.relations if r.name == path.path[0])
        seen = [
            r
            for r in whole.neighbours(relation, row)
            if whole.is_visible(relation.target, r, time, inclusive=inclusive)
        ]
        numbers = whole.snapshot.tables[relation.target].numbers
        if path.label in [p.label for p in plan.lists if p is not path]:
            continue  # two edge tables between the same tables share a name here
        if "n" not in plan.columns_of(path.table).numbers:
            continue
        near = [numbers[r, 0] for r in seen[-2:] if not np.isnan(numbers[r, 0])]
        far = [numbers[r, 0] for r in seen[-5:] if not np.isnan(numbers[r, 0])]

        def value(name: str, label: str = path.label) -> float:
            return one_value(found, features.names, f"{label}.{name}")

        assert value("count") == len(seen)
        for name, expected in (
            ("n mean of last 2", np.mean(near) if near else np.nan),
            ("n mean of last 5", np.mean(far) if far else np.nan),
            ("n sum of last 5", np.sum(far) if far else np.nan),
            ("n highest of last 5", np.max(far) if far else np.nan),
        ):
            assert value(name) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_names_are_distinct_and_say_where_a_number_is_from(tmp_path: Path) -> None:
    features = Features(*_orders(tmp_path))
    assert len(set(features.names)) == len(features.names)
    for name in (
        "people.age",
        "orders.count in 7 days",
        "orders.amount mean of last 8",
        "orders.amount newest",
        "orders.days between previous and newest",
        "orders.shops.size newest",
        "orders.lines.price sum of last 64",
    ):
        assert name in features.names


def test_a_feature_is_what_its_name_says(tmp_path: Path) -> None:
    features = Features(*_orders(tmp_path))
    # Seen on day 5: orders of days 1, 3 and 3; not the one of day 9.
    found = features.compute(np.array([0], np.int32), np.array([5 * DAY], np.int64))

    def value(name: str) -> float:
        return one_value(found, features.names, name)

    assert value("people.age") == 30
    assert value("orders.count") == 3
    assert value("orders.count in 24 h") == 0
    assert value("orders.count in 7 days") == 3
    assert value("orders.newest age in days") == 2
    assert value("orders.oldest age in days") == 4
    # Both orders of day 3 are one moment.
    assert value("orders.days between previous and newest") == 2
    assert value("orders.amount newest") == 20 + 30
    assert value("orders.amount previous") == 10
    assert np.isnan(value("orders.amount third newest"))
    assert value("orders.amount mean of last 8") == 20
    assert value("orders.amount highest of last 64") == 30
    assert value("orders.shops.size newest") == 7
    # The lines have no time: they are seen with their order.
    assert value("orders.lines.count") == 4
    assert value("orders.lines.price sum of last 64") == 1 + 2 + 3 + 4
    assert value("orders.lines.price newest") == 2 + 3 + 4
    assert value("orders.lines.price previous") == 1


def test_nothing_is_known_of_a_seed_before_its_first_row(tmp_path: Path) -> None:
    features = Features(*_orders(tmp_path))
    found = features.compute(np.array([0], np.int32), np.array([0], np.int64))
    assert one_value(found, features.names, "orders.count") == 0
    assert np.isnan(one_value(found, features.names, "orders.amount mean of last 8"))
    assert np.isnan(one_value(found, features.names, "orders.newest age in days"))


def test_only_what_is_kept_is_computed_and_in_the_same_order(tmp_path: Path) -> None:
    snapshot, plan = _orders(tmp_path)
    whole = Features(snapshot, plan)
    kept = (0, 3, len(whole.names) - 1)
    some = Features(snapshot, plan.replace(kept=kept))
    seeds = np.array([0, 1, 0], np.int32), np.array([5, 5, 20], np.int64) * DAY
    assert some.names == tuple(whole.names[i] for i in kept)
    np.testing.assert_array_equal(some.compute(*seeds), whole.compute(*seeds)[:, kept])


def test_a_plan_survives_its_json(tmp_path: Path) -> None:
    _, plan = _orders(tmp_path)
    assert FeaturePlan.from_json(plan.to_json()) == plan


def test_a_number_that_follows_time_is_left_out(tmp_path: Path) -> None:
    features = Features(*_orders(tmp_path, num_later=40))
    assert not [name for name in features.names if "orders.year" in name]


def test_a_plan_of_another_graph_is_refused(tmp_path: Path) -> None:
    snapshot, plan = _orders(tmp_path)
    schema = snapshot.schema
    fewer = schema.replace(relations=tuple(r for r in schema.relations if r.target != "orders"))
    with pytest.raises(DataError, match=r"orders\.person:children"):
        Features(replace(snapshot, schema=fewer), plan)


def test_chunks_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features(*_orders(tmp_path))
    monkeypatch.setattr("rle.baseline.features.CHUNK_ROWS", 3)
    rows = np.array([0, 1, 0, 1, 0, 1, 0], np.int32)
    times = np.arange(7, dtype=np.int64) * DAY
    parts = list(features.chunks(rows, times))
    assert [first for first, _ in parts] == [0, 3, 6]
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in parts]), features.compute(rows, times)
    )


def _orders(folder: Path, *, num_later: int = 0):
    days = [3, 1, 9, 3] + [10 + i for i in range(num_later)]
    num = len(days)
    orders = pa.table(
        {
            "id": list(range(num)),
            "person": [0] * num,
            "shop": [0, 1, 0, 0] + [1] * num_later,
            "at": pa.array([d * DAY for d in days], pa.timestamp("ns")),
            "amount": [20.0, 10.0, 99.0, 30.0] + [5.0] * num_later,
            "year": [float(d) for d in days],
        }
    )
    # Rows of equal time come in the order of their keys: order 3 is the newest on day 5.
    lines = pa.table({"id": [0, 1, 2, 3, 4], "order": [1, 0, 0, 3, 2], "price": [1.0, 2, 3, 4, 50]})
    spec = dataset(
        folder,
        table_spec(
            folder, "people", pa.table({"id": [0, 1], "age": [30.0, 40.0]}), keys=("id",)
        ),
        table_spec(folder, "shops", pa.table({"id": [0, 1], "size": [7.0, 8.0]}), keys=("id",)),
        table_spec(
            folder, "orders", orders, keys=("id",), time="at",
            links={"person": "people.id", "shop": "shops.id"},
        ),
        table_spec(folder, "lines", lines, keys=("id",), links={"order": "orders.id"}),
    )  # fmt: skip
    snapshot = build(spec, folder)
    plan = plan_features(snapshot, entity_table="people", until=100 * DAY, inclusive=True)
    return snapshot, plan


def test_what_is_overdue_is_counted_where_rows_extend_others(tmp_path: Path) -> None:
    hour = DAY // 24
    trips = pa.table(
        {
            "id": [0, 1, 2, 3],
            "stop": [0, 0, 0, 0],
            "published": pa.array([1 * hour, 2 * hour, 3 * hour, 9 * hour], pa.timestamp("ns")),
        }
    )
    leaves = pa.table(
        {
            "id": [0, 1, 2],
            "trip": [0, 1, 3],
            "left": pa.array([3 * hour, 4 * hour, 11 * hour], pa.timestamp("ns")),
        }
    )
    spec = dataset(
        tmp_path,
        table_spec(tmp_path, "stops", pa.table({"id": [0], "size": [1.0]}), keys=("id",)),
        table_spec(
            tmp_path, "trips", trips, keys=("id",), time="published", links={"stop": "stops.id"}
        ),
        table_spec(
            tmp_path, "leaves", leaves, keys=("id",), time="left", links={"trip": "trips.id"}
        ),
    )
    plan = plan_features(
        build(spec, tmp_path), entity_table="stops", until=20 * hour, inclusive=True
    )
    features = Features(build(spec, tmp_path), plan)
    found = features.compute(np.array([0], np.int32), np.array([6 * hour], np.int64))

    def value(name: str) -> float:
        return one_value(found, features.names, name)

    # Half leave two hours after they were published: at six, three should have left and two have.
    assert value("leaves.count in 6 h") == 2
    assert value("leaves.overdue of 6 h") == 1
    assert value("trips.count") == 3
    assert value("trips.share with leaves of last 8") == pytest.approx(2 / 3)
