from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.graph.store import NULL_TIME
from rle.ingest.stats import MAX_LAG, median_lag
from tests.graph.test_inherit import airline
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


def test_the_lag_of_an_extension_is_the_median_over_visible_rows(tmp_path: Path) -> None:
    # Published at 1, 2, 3; left at 102, 101, 100: lags 101, 99 and 97.
    snapshot = build(airline(tmp_path, departed=[12, 11, 10]), tmp_path / "snapshots")
    lags = {until: snapshot.stats(until=until).lags for until in (99, 101, None)}
    assert {lag.relation for lag in lags[None]} == {"departures.flight>origin:children"}
    assert {until: lag.median for until, (lag,) in lags.items()} == {99: 0, 101: 98, None: 99}


def test_a_lag_is_never_negative_and_fits_beside_any_window() -> None:
    first, last = np.array([5, 5, NULL_TIME]), np.array([1, NULL_TIME, 9])
    assert median_lag("r", first, last).median == 0
    assert median_lag("r", np.array([-(2**63) + 1]), np.array([2**63 - 2])).median == MAX_LAG
