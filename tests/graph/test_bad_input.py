from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from rle.errors import DataError, UnknownNameError
from rle.graph.store import NULL_STAMP
from tests.graph.test_build import DTYPES, FEATURES, lists_of, parents_of
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path


def refuses(tmp_path: Path, table: pa.Table, match: str, **roles: Any) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", table, **({"keys": ("id",)} | roles)))
    with pytest.raises(DataError, match=match):
        build(spec, tmp_path)


@pytest.mark.parametrize(
    ("ids", "example"),
    [([4, 5, 4], "4"), (["x", "y", "x"], "'x'"), ([1.5, 2.5, 1.5], "1.5"), ([10**15, 1, 1], "1")],
)
def test_a_duplicate_key_is_refused_with_an_example(
    tmp_path: Path, ids: list[Any], example: str
) -> None:
    refuses(tmp_path, pa.table({"id": ids}), f"'id' of table 'a' is not unique: {example}")


def test_an_empty_entity_table_is_refused_but_an_empty_child_is_not(tmp_path: Path) -> None:
    empty = pa.table({"id": pa.array([], pa.int64())})
    refuses(tmp_path, empty, "'a' .* is empty")
    parent = table_spec(tmp_path, "parent", pa.table({"id": [1, 2]}), keys=("id",))
    rows = pa.table({"id": pa.array([], pa.int64())})
    child = table_spec(tmp_path, "child", rows, links={"id": "parent.id"})
    snapshot = build(dataset(tmp_path, parent, child), tmp_path)
    assert lists_of(snapshot, "child.id:children") == [[], []]
    assert snapshot.report.warnings() == ("child: there are no rows.",)


@pytest.mark.parametrize("value", ["1500-01-01", "2300-01-01"])
def test_a_time_that_nanoseconds_cannot_hold_is_refused(tmp_path: Path, value: str) -> None:
    times = pa.array([np.datetime64(value, "us")], pa.timestamp("us"))
    table = pa.table({"id": [1], "at": times})
    refuses(tmp_path, table, f"'a.at' holds {value}", time="at")


def test_a_feature_date_that_nanoseconds_cannot_hold_is_clamped_and_counted(
    tmp_path: Path,
) -> None:
    times = pa.array([dt.date(1500, 1, 1), dt.date(2300, 1, 1), dt.date(2000, 1, 1)])
    table = pa.table({"id": [1, 2, 3], "at": times})
    snapshot = build(dataset(tmp_path, table_spec(tmp_path, "a", table, keys=("id",))), tmp_path)
    ends = np.iinfo(np.int64)
    stamps = snapshot.tables["a"].stamps[:, 0].tolist()
    assert stamps[:2] == [ends.min + 1, ends.max - 1]
    assert NULL_STAMP not in stamps
    assert snapshot.report.tables[0].columns[0].num_clamped == 2


def test_text_never_equals_a_number(tmp_path: Path) -> None:
    parent = table_spec(
        tmp_path, "parent", pa.table({"id": [7]}), keys=("id",), dtypes={"id": "text"}
    )
    child = table_spec(tmp_path, "child", pa.table({"p": ["7"]}), links={"p": "parent.id"})
    with pytest.raises(DataError, match=r"'child.p' holds text but 'parent.id' holds numbers"):
        build(dataset(tmp_path, parent, child), tmp_path)


def test_a_foreign_key_of_nulls_only_links_nothing(tmp_path: Path) -> None:
    parent = table_spec(tmp_path, "parent", pa.table({"id": [7]}), keys=("id",))
    rows = pa.table({"p": pa.array([None, None], pa.null()), "x": [1, 2]})
    child = table_spec(tmp_path, "child", rows, links={"p": "parent.id"}, dtypes={"p": "integer"})
    snapshot = build(dataset(tmp_path, parent, child), tmp_path)
    assert parents_of(snapshot, "child.p:parent") == [-1, -1]
    assert snapshot.report.tables[1].links[0].num_null == 2


def test_dangling_and_null_keys_are_counted_with_an_example(tmp_path: Path) -> None:
    parent = table_spec(tmp_path, "parent", pa.table({"id": [7, None]}), keys=("id",))
    rows = pa.table({"p": [7, 8, None, 9]})
    child = table_spec(tmp_path, "child", rows, links={"p": "parent.id"})
    report = build(dataset(tmp_path, parent, child), tmp_path).report
    link = report.tables[1].links[0]
    assert (link.num_edges, link.num_dangling, link.num_null, link.example) == (1, 2, 1, "8")
    assert report.tables[0].num_null_keys == 1
    assert report.num_rows == 6
    assert report.render().row_count == 2


def test_a_column_that_has_gone_is_named_before_anything_is_read(tmp_path: Path) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    table_spec(tmp_path, "a", FEATURES.drop(["colour"]), keys=("id",), dtypes=DTYPES)
    with pytest.raises(UnknownNameError, match="colour"):
        build(spec, tmp_path)


def test_a_table_of_two_thousand_columns(tmp_path: Path) -> None:
    columns = {f"c{i}": np.arange(3.0) for i in range(2000)}
    spec = table_spec(tmp_path, "a", pa.table({"id": [2, 0, 1]} | columns), keys=("id",))
    store = build(dataset(tmp_path, spec), tmp_path).tables["a"]
    assert store.numbers.shape == (3, 2000)
    assert store.numbers[:, 0].tolist() == [1, 2, 0]


def test_a_string_of_a_megabyte(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "text": ["word " * 200_000], "code": ["x" * 2**20]})
    spec = table_spec(tmp_path, "a", table, keys=("id",), dtypes={"code": "category"})
    store = build(dataset(tmp_path, spec), tmp_path).tables["a"]
    assert len(store.dictionary("code")[0].as_py()) == 2**20
    assert np.isfinite(store.vectors["text"]).all()
