from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.errors import DataError, UnknownNameError
from rle.graph.task import read_labels, read_split
from rle.graph.task_table import END_OF_TIME
from rle.ingest.labels import LabelCodec
from rle.values import Split, TaskType
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

CODEC = LabelCodec.fit(TaskType.BINARY_CLASSIFICATION, pa.array([0, 1]))
ROWS = {
    "entity": pa.array(["b", "a", None, "zzz"]),
    "t": pa.array([2, 1, 3, 4], pa.timestamp("s")),
    "label": pa.array([1, 0, 1, 0]),
}


def prepared(folder: Path, *, has_time: bool = True) -> tuple[DatasetSpec, Snapshot]:
    table = {"id": ["a", "b"], "x": [1.0, 2.0]}
    if has_time:
        table["at"] = pa.array([9, 5], pa.timestamp("s"))
    spec = dataset(
        folder,
        table_spec(
            folder, "people", pa.table(table), keys=("id",), time="at" if has_time else None
        ),
    )
    return spec, build(spec, folder)


def write(folder: Path, split: Split, **changes: Any) -> None:
    columns = {k: v for k, v in (ROWS | changes).items() if v is not None}
    pq.write_table(pa.table(columns), folder / f"task_{split.value}.parquet")


def test_a_split_keeps_its_order_keys_and_times(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TRAIN)
    split = read_split(spec.connector, spec, Split.TRAIN, snapshot, CODEC)
    assert split.rows.dtype == np.int32
    assert split.rows.tolist() == [0, 1, -1, -1]
    assert split.times.tolist() == [2 * 10**9, 10**9, 3 * 10**9, 4 * 10**9]
    assert split.labels is not None
    assert split.labels.tolist() == [1, 0, 1, 0]
    assert split.keys.to_pylist() == ["b", "a", None, "zzz"]
    assert split.task_times is not None
    assert split.task_times.type == pa.timestamp("ms")  # as the file has it
    assert split.num_unknown == 2


def test_a_task_without_time_sees_everything_that_has_a_time(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path, has_time=False)
    write(tmp_path, Split.TEST, t=None)
    split = read_split(spec.connector, spec, Split.TEST, snapshot, None)
    assert set(split.times.tolist()) == {END_OF_TIME}
    assert split.task_times is None
    assert split.labels is None


@pytest.mark.parametrize("label", [None, pa.array([None] * 4, pa.int64())])
def test_a_test_table_may_lack_labels(tmp_path: Path, label: pa.Array | None) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TEST, label=label)
    assert read_split(spec.connector, spec, Split.TEST, snapshot, CODEC).labels is None


def test_other_tables_may_not(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TRAIN, label=None)
    with pytest.raises(UnknownNameError, match="label"):
        read_split(spec.connector, spec, Split.TRAIN, snapshot, CODEC)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"t": pa.array([1, None, 3, 4], pa.timestamp("s"))}, "NULL in 1 rows"),
        ({"t": pa.array([1, 2, 3, 10**12], pa.timestamp("s"))}, "holds 33658-.*not between"),
        ({"label": pa.array([0, 1, None, 1])}, "1 NULL labels"),
        ({"entity": pa.array([1, 2, 3, 4])}, "never equals"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, changes: dict[str, pa.Array], match: str) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.VALIDATION, **changes)
    with pytest.raises(DataError, match=match):
        read_split(spec.connector, spec, Split.VALIDATION, snapshot, CODEC)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    spec, _ = prepared(tmp_path)
    write(tmp_path, Split.TRAIN, **{k: v.slice(0, 0) for k, v in ROWS.items()})
    with pytest.raises(DataError, match=r"train table of task 'task' .* is empty"):
        read_labels(spec.connector, spec.task, Split.TRAIN)


def test_test_rows_that_cannot_be_measured_are_marked_and_told(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TEST, label=pa.array([1, None, 7, 0]))
    split = read_split(spec.connector, spec, Split.TEST, snapshot, CODEC)
    assert split.labels is not None
    assert split.labels.tolist() == [1, 0, 0, 0]
    assert split.is_measured is not None
    assert split.is_measured.tolist() == [True, False, False, True]
    assert split.left_out == (
        "2 of 4 test rows are predicted but left out of the metrics: 1 without a label and 1 with "
        "a class that no training row has, such as 7."
    )


def test_a_test_split_of_which_nothing_can_be_measured_has_no_labels(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TEST, label=pa.array([7, None, 8, 7]))
    split = read_split(spec.connector, spec, Split.TEST, snapshot, CODEC)
    assert split.labels is None
    assert "4 of 4 test rows" in str(split.left_out)


def test_a_test_split_that_can_be_measured_says_nothing(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    write(tmp_path, Split.TEST)
    split = read_split(spec.connector, spec, Split.TEST, snapshot, CODEC)
    assert (split.is_measured, split.left_out) == (None, None)
