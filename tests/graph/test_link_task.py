from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.errors import DataError, UnknownNameError, ValidationError
from rle.graph.link_task import LinkSplitRows, check_link_split, read_link_split
from rle.graph.task_table import END_OF_TIME
from rle.spec.metric import EvaluationMetric
from rle.spec.task import LinkTaskSpec
from rle.values import Split, TaskType
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec

SECOND = 10**9


def prepared(folder: Path, *, has_time: bool = True) -> tuple[DatasetSpec, Snapshot]:
    people: dict[str, Any] = {"id": ["a", "b"], "city": [30, 10]}
    if has_time:
        people["at"] = pa.array([9, 5], pa.timestamp("s"))
    spec = dataset(
        folder,
        table_spec(
            folder,
            "people",
            pa.table(people),
            keys=("id",),
            links={"city": "cities.id"},
            time="at" if has_time else None,
        ),
        table_spec(folder, "cities", pa.table({"id": [30, 10, 20]}), keys=("id",)),
    )
    task = LinkTaskSpec(
        name="task",
        task_type=TaskType.LINK_PREDICTION,
        sources=spec.task.sources,
        source_entity_table="people",
        source_entity_column="who",
        target_entity_table="cities",
        target_entity_column="where",
        time_column="t" if has_time else None,
        metric=EvaluationMetric("link_prediction_map", eval_at_k=3),
    )
    spec = spec.model_copy(update={"task": task})
    return spec, build(spec, folder)


def write(folder: Path, split: Split, **columns: Any) -> None:
    pq.write_table(pa.table(columns), folder / f"task_{split.value}.parquet")


def stamps(*seconds: int | None) -> pa.Array:
    return pa.array(seconds, pa.timestamp("s"))


def read(
    folder: Path, split: Split = Split.TRAIN, *, with_targets: bool = True, **columns: Any
) -> LinkSplitRows:
    spec, snapshot = prepared(folder, has_time="t" in columns)
    write(folder, split, **columns)
    return read_link_split(spec.connector, spec, split, snapshot, with_targets=with_targets)


def lists_of(split: LinkSplitRows) -> list[list[int]]:
    assert split.offsets is not None
    assert split.targets is not None
    assert split.offsets.dtype == np.int64
    assert split.targets.dtype == np.int32
    return [part.tolist() for part in np.split(split.targets, split.offsets[1:-1])]


# Cities are ordered by key: 10 is row 0, 20 row 1, 30 row 2. People by time: b is 0, a is 1.


@pytest.mark.parametrize(
    "make",
    [
        lambda lists: pa.array(lists, pa.list_(pa.int64())),
        lambda lists: pa.array(lists, pa.large_list(pa.int32())),
        lambda lists: pa.array([None if v is None else json.dumps(v) for v in lists]),
    ],
    ids=["list", "large list", "JSON text"],
)
def test_lists_become_distinct_ascending_rows_and_what_is_odd_is_counted(
    tmp_path: Path, make: Any
) -> None:
    split = read(
        tmp_path,
        who=["a", "b", None, "zzz", "a"],
        t=stamps(2, 1, 3, 4, 5),
        where=make([[30, 10, 30], [], [20], None, [99, None, 20]]),
    )
    assert split.rows.tolist() == [1, 0, -1, -1, 1]
    assert split.times.tolist() == [n * SECOND for n in (2, 1, 3, 4, 5)]
    assert lists_of(split) == [[0, 2], [], [1], [], [1]]
    assert split.keys.to_pylist() == ["a", "b", None, "zzz", "a"]
    assert split.task_times is not None
    assert (split.num_unknown, split.example_unknown) == (2, "NULL")
    assert (split.num_unknown_targets, split.example_unknown_target) == (2, "99")
    assert (split.num_duplicate_targets, split.num_empty) == (1, 2)


def test_a_list_of_fixed_length_is_a_list(tmp_path: Path) -> None:
    spec, snapshot = prepared(tmp_path)
    values = pa.array([[30, 10], [20, 20]], pa.list_(pa.int64(), 2))
    table = pa.table({"who": ["a", "b"], "t": stamps(1, 2), "where": values})
    pq.write_table(table, tmp_path / "task_train.parquet")
    split = read_link_split(spec.connector, spec, Split.TRAIN, snapshot, with_targets=True)
    assert lists_of(split) == [[0, 2], [1]]


def test_exploded_rows_are_grouped_by_source_and_time_in_the_order_they_first_come(
    tmp_path: Path,
) -> None:
    split = read(
        tmp_path,
        who=["b", "a", "b", "zzz", "a", None, "b", "a", None, "zzz"],
        t=stamps(7, 2, 7, 1, 3, 1, 6, 2, 1, 1),
        where=[30, 10, 20, 10, 77, 20, 10, 10, 30, 10],
    )
    assert split.keys.to_pylist() == ["b", "a", "zzz", "a", None, "b"]
    assert split.times.tolist() == [n * SECOND for n in (7, 2, 1, 3, 1, 6)]
    assert split.task_times is not None
    assert len(split.task_times) == 6
    assert split.rows.tolist() == [0, 1, -1, 1, -1, 0]
    assert lists_of(split) == [[1, 2], [0], [0], [], [1, 2], [0]]
    assert (split.num_unknown, split.example_unknown) == (2, "zzz")
    assert (split.num_unknown_targets, split.example_unknown_target) == (1, "77")
    assert split.num_duplicate_targets == 2
    assert split.num_empty == 0


def test_lists_and_their_explosion_give_the_same_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    who = rng.permutation(["a", "b", "c"] * 4).tolist()
    times = np.repeat(np.arange(4), 3)[rng.permutation(12)]
    pairs = sorted({(w, int(t)) for w, t in zip(who, times, strict=True)})
    lists = [rng.choice([10, 20, 30, 40], rng.integers(1, 4)).tolist() for _ in pairs]
    whole = read(
        tmp_path,
        who=[w for w, _ in pairs],
        t=stamps(*(t for _, t in pairs)),
        where=pa.array(lists),
    )
    exploded = read(
        tmp_path,
        who=[w for (w, _), values in zip(pairs, lists, strict=True) for _ in values],
        t=stamps(*(t for (_, t), values in zip(pairs, lists, strict=True) for _ in values)),
        where=[v for values in lists for v in values],
    )
    assert lists_of(whole) == lists_of(exploded)
    assert whole.rows.tolist() == exploded.rows.tolist()
    assert whole.keys.to_pylist() == exploded.keys.to_pylist()
    assert whole.times.tolist() == exploded.times.tolist()
    assert whole.num_unknown_targets == exploded.num_unknown_targets
    assert whole.num_duplicate_targets == exploded.num_duplicate_targets


def test_without_time_exploded_rows_are_grouped_by_source_alone(tmp_path: Path) -> None:
    split = read(tmp_path, who=["b", "a", "b"], where=[30, 10, 20])
    assert split.keys.to_pylist() == ["b", "a"]
    assert split.times.tolist() == [END_OF_TIME] * 2
    assert split.task_times is None
    assert lists_of(split) == [[1, 2], [0]]


@pytest.mark.parametrize(
    "targets",
    [{}, {"where": pa.nulls(3, pa.list_(pa.int64()))}, {"where": pa.nulls(3)}],
    ids=["no column", "NULL lists", "untyped NULLs"],
)
def test_a_test_table_may_lack_targets_and_keeps_its_rows(
    tmp_path: Path, targets: dict[str, pa.Array]
) -> None:
    split = read(tmp_path, Split.TEST, who=["b", "b", "a"], t=stamps(1, 1, 1), **targets)
    assert split.keys.to_pylist() == ["b", "b", "a"]
    assert split.offsets is None
    assert split.targets is None


def test_targets_that_are_not_asked_for_still_group_an_exploded_table(tmp_path: Path) -> None:
    split = read(
        tmp_path, Split.TEST, with_targets=False, who=["b", "b"], t=stamps(1, 1), where=[10, 20]
    )
    assert split.keys.to_pylist() == ["b"]
    assert split.targets is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"t": stamps(1, None)}, "NULL in 1 rows"),
        ({"where": pa.array([["x"], ["y"]])}, r"task\.where \(train\)' holds string.*cities\.id"),
        ({"where": pa.array([[99], [98, None]])}, r"where.* no target .*'cities'; 99 is not"),
        (
            {"where": pa.array([[], None], pa.list_(pa.int64()))},
            r"task\.where.*every list is empty",
        ),
        ({"where": pa.array([[{"x": 1}], []])}, r"task\.where.*keys must be"),
        ({"where": pa.array([[[1]], []])}, r"task\.where.*keys must be"),
        ({"where": pa.array(["[1]", "[x]"])}, r"task\.where.*no JSON list"),
        ({"who": [1, 2]}, "never equals"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    good = {"who": ["a", "b"], "t": stamps(1, 2), "where": pa.array([[10], [20]])}
    with pytest.raises(DataError, match=match):
        read(tmp_path, **(good | changes))


@pytest.mark.parametrize("missing", ["who", "where"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    columns = {"who": ["a"], "t": stamps(1), "where": pa.array([[10]])}
    del columns[missing]
    with pytest.raises(UnknownNameError, match=missing):
        read(tmp_path, **columns)


def test_what_can_be_known_without_a_graph_is_refused_before_one_is_built(tmp_path: Path) -> None:
    spec, _ = prepared(tmp_path)
    assert isinstance(spec.task, LinkTaskSpec)
    good = {"who": ["a", "b"], "t": stamps(1, 2)}
    write(tmp_path, Split.TEST, **good)
    check_link_split(spec.connector, spec.task, Split.TEST)
    write(tmp_path, Split.TRAIN, **good)
    with pytest.raises(UnknownNameError, match="where"):
        check_link_split(spec.connector, spec.task, Split.TRAIN)
    write(tmp_path, Split.TRAIN, **good, where=pa.array([[], None], pa.list_(pa.int64())))
    with pytest.raises(DataError, match="no target in any of its 2 rows"):
        check_link_split(spec.connector, spec.task, Split.TRAIN)
    write(tmp_path, Split.TRAIN, **good, where=pa.array([[{"x": 1}], []]))
    with pytest.raises(DataError, match="keys must be"):
        check_link_split(spec.connector, spec.task, Split.TRAIN)
    write(tmp_path, Split.TRAIN, who=["a"], t=stamps(None), where=[1])
    with pytest.raises(DataError, match="NULL in 1 rows"):
        check_link_split(spec.connector, spec.task, Split.TRAIN)


def test_a_node_task_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    spec = dataset(folder, table_spec(folder, "people", pa.table({"id": ["a"]}), keys=("id",)))
    with pytest.raises(ValidationError, match="node task"):
        read_link_split(spec.connector, spec, Split.TRAIN, build(spec, folder), with_targets=True)
