from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.snapshot import Snapshot

TABLE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "at": pa.array([30, 10, None, 20], pa.timestamp("ns")),
        "x": [100.0, 1.0, 1000.0, 3.0],
        "colour": ["late", "early", "never", "early"],
        "tags": [["late"], ["early", "both"], ["never"], ["both"]],
        "vector": pa.array([[9.0], [1.0], [9.0], [3.0]], pa.list_(pa.float32())),
        "born": pa.array([5, 6, 7, 8], pa.timestamp("ns")),
    }
)
DTYPES = {"colour": "category", "tags": "multi_categorical", "vector": "embedding"}


def snapshot_of(folder: Path) -> Snapshot:
    spec = table_spec(folder, "a", TABLE, keys=("id",), time="at", dtypes=DTYPES)
    return build(dataset(folder, spec), folder)


def test_statistics_see_the_visible_prefix_alone(tmp_path: Path) -> None:
    stats = snapshot_of(tmp_path).stats(until=20).table("a")
    assert stats.num_rows == 2
    assert (stats.numbers[0].mean, stats.numbers[0].std) == (2.0, 1.0)
    assert stats.categories[0].values == ("early",)
    assert stats.lists[0].values == ("both", "early")
    assert stats.lists[0].counts == (2, 1)
    assert stats.vectors[0].mean == 2.0
    assert (stats.stamps[0].min, stats.stamps[0].max) == (6, 8)


def test_rows_without_a_time_count_only_where_there_is_no_bound(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path)
    latest = int(np.iinfo(np.int64).max) - 1
    assert snapshot.stats(until=latest).table("a").num_rows == 3
    assert snapshot.stats(until=None).table("a").num_rows == 4


def test_statistics_are_kept_beside_the_snapshot(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path)
    first = snapshot.stats(until=20)
    assert snapshot.path is not None
    (snapshot.path / "t0" / "numbers.npy").unlink()
    assert snapshot.stats(until=20) == first


def test_a_bound_before_everything_leaves_nothing(tmp_path: Path) -> None:
    stats = snapshot_of(tmp_path).stats(until=0).table("a")
    assert stats.num_rows == 0
    assert stats.categories[0].values == ()
    assert stats.numbers[0].std == 1.0
