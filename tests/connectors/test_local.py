from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.connectors.base import NewTable
from rle.connectors.local import LocalConnector
from rle.errors import (
    ConnectionError,
    OutputExistsError,
    PermissionError,
    UnknownNameError,
    ValidationError,
)
from tests.connectors.warehouse import numbers, read_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(numbers(50), tmp_path / "orders.parquet", row_group_size=10)
    (tmp_path / "tasks").mkdir()
    pq.write_table(numbers(5), tmp_path / "tasks" / "train.parquet")
    return tmp_path


@pytest.fixture
def connector(folder: Path) -> LocalConnector:
    return LocalConnector(connector_type="parquet", url=str(folder))


def test_a_folder_is_a_database_in_one_call(connector: LocalConnector, folder: Path) -> None:
    assert connector.sources() == [f"{folder.name}.main.orders"]
    names = [*connector.sources(), "orders.parquet", str(folder / "orders.parquet")]
    assert {connector.num_rows(name) for name in names} == {50}
    assert connector.num_rows("tasks/train.parquet") == 5


def test_a_file_is_a_database_too(folder: Path) -> None:
    connector = LocalConnector(connector_type="parquet", url=str(folder / "orders.parquet"))
    assert connector.num_rows("orders.parquet") == 50


def test_row_groups_become_chunks(connector: LocalConnector) -> None:
    chunks = connector.chunks("orders.parquet", columns=["id"], max_rows=25)
    assert [chunk.num_rows for chunk in chunks] == [20, 20, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connector_type": "parquet"}, "needs url"),
        ({"connector_type": "excel", "url": "/data"}, "'parquet' or 'csv'"),
        ({"connector_type": "csv", "url": "s3://bucket/data"}, "files of this machine"),
        ({"connector_type": "csv", "url": "/data", "prot": 1}, "no field"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LocalConnector(**arguments)


def test_a_file_of_another_type_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="cannot read"):
        LocalConnector(connector_type="csv", url=str(folder / "orders.parquet"))


def test_a_missing_folder_is_a_connection_error(tmp_path: Path) -> None:
    connector = LocalConnector(connector_type="csv", url=str(tmp_path / "none"))
    with pytest.raises(ConnectionError, match="There is no folder"):
        connector.sources()
    with pytest.raises(ConnectionError, match="There is no folder"):
        connector.num_rows("orders.csv")


def test_missing_paths_are_told_with_the_nearest(connector: LocalConnector) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'orders\.parquet'"):
        connector.num_rows("ordres.parquet")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'tasks/train\.parquet'"):
        connector.num_rows("tasks/trian.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 5000])
def test_a_damaged_file_is_a_connection_error(
    connector: LocalConnector, folder: Path, content: bytes
) -> None:
    (folder / "bad.parquet").write_bytes(content)
    with pytest.raises(ConnectionError, match=r"bad\.parquet is damaged"):
        connector.arrow_schema("bad.parquet")


def test_a_csv_that_is_none_is_a_connection_error(folder: Path) -> None:
    (folder / "bad.csv").write_bytes(b"a,b\n1,2\n3\n\xff\xfe,4,5,6\n")
    with pytest.raises(ConnectionError, match=r"bad\.csv cannot be read"):
        LocalConnector(connector_type="csv", url=str(folder)).num_rows("bad.csv")


def test_columns_that_are_there_twice_are_refused(connector: LocalConnector, folder: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    pq.write_table(twice, folder / "twice.parquet")
    with pytest.raises(ValidationError, match="'id' is there twice"):
        connector.arrow_schema("twice.parquet")


def test_a_dotted_column_is_not_a_path(connector: LocalConnector, folder: Path) -> None:
    rows = pa.table({"a": [{"b": 1}], "a.b": [2]})
    pq.write_table(rows, folder / "odd.parquet")
    assert read_all(connector, "odd.parquet", ["a.b"], 10)["a.b"].to_pylist() == [2]


def test_version_follows_the_file(connector: LocalConnector, folder: Path) -> None:
    before = connector.version("orders.parquet")
    os.utime(folder / "orders.parquet", ns=(1, 1))
    assert connector.version("orders.parquet") != before


def test_csv_tells_null_from_empty_text_and_types_from_the_whole_file(folder: Path) -> None:
    lines = ["id,name,mixed,day", *(f'{i},"",{i},2020-01-01' for i in range(30_000))]
    (folder / "t.csv").write_text("\n".join([*lines, "30000,,late,"]))
    connector = LocalConnector(connector_type="csv", url=str(folder))
    assert connector.arrow_schema("t.csv") == pa.schema(
        [("id", pa.int64()), ("name", pa.string()), ("mixed", pa.string()), ("day", pa.date32())]
    )
    names = read_all(connector, "t.csv", ["name"], 10)["name"]
    assert names.null_count == 1
    assert names[0].as_py() == ""


def test_lists_are_json_in_csv(tmp_path: Path) -> None:
    connector = LocalConnector(connector_type="csv", url=str(tmp_path))
    rows = pa.table({"id": [1, 2], "tags": [["a", 'b"'], None]})
    connector.write("out.csv", rows.to_batches(), schema=rows.schema)
    tags = read_all(connector, "out.csv", ["tags"], 10)["tags"].to_pylist()
    assert [json.loads(tags[0]), tags[1]] == [["a", 'b"'], None]


def test_a_pickle_holds_a_data_frame(tmp_path: Path) -> None:
    connector = LocalConnector(connector_type="parquet", url=str(tmp_path / "new" / "folder"))
    connector.can_create("out.pkl")
    connector.write("out.pkl", numbers(3).to_batches(), schema=numbers(3).schema)
    frame = pickle.loads((tmp_path / "new" / "folder" / "out.pkl").read_bytes())
    assert isinstance(frame, pd.DataFrame)
    assert frame["id"].tolist() == [0, 1, 2]
    with pytest.raises(ValidationError, match="cannot be read"):
        connector.num_rows("out.pkl")


def test_vectors_with_null_can_be_read_back(connector: LocalConnector, folder: Path) -> None:
    vectors = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    pq.write_table(
        pa.table({"id": [1, 2, 3], "v": vectors}), folder / "v.parquet", row_group_size=2
    )
    rows = read_all(connector, "v.parquet", ["v", "id"], 1)
    assert rows["v"].to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_an_unknown_ending_is_told_before_work(connector: LocalConnector) -> None:
    with pytest.raises(ValidationError, match=r"DB\.SCHEMA\.TABLE"):
        connector.can_create("out.xlsx")


def test_a_full_disk_leaves_nothing(
    connector: LocalConnector, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConnectionError, match="No space left on device"):
        connector.write("out.parquet", numbers(3).to_batches(), schema=numbers(3).schema)
    assert sorted(folder.rglob("*")) == before


def test_a_read_only_folder_is_told_before_work(
    connector: LocalConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.R_OK)
    with pytest.raises(PermissionError, match="not writable"):
        connector.can_create("out.parquet")


def test_a_name_taken_while_the_old_file_is_aside_stays_taken(
    connector: LocalConnector,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = ["a.parquet", "p.parquet"]
    tables = [NewTable(file, numbers(0).schema) for file in files]
    rows = [(i, batch) for i in (0, 1) for batch in numbers(3).to_batches()]
    connector.write_tables(tables, rows)
    real = Path.rename

    def raced(self: Path, target: Path) -> Path:
        moved = real(self, target)
        if self.name == "a.parquet":
            self.write_bytes(b"somebody else's")
        return moved

    monkeypatch.setattr(Path, "rename", raced)
    with pytest.raises(OutputExistsError, match=r"a\.parquet exists already"):
        connector.write_tables(tables, rows, replacing=files)
    assert (folder / "a.parquet").read_bytes() == b"somebody else's"
    assert connector.num_rows("p.parquet") == 3
    (old,) = folder.glob(".a.parquet.*.old")
    assert f"What was {folder / 'a.parquet'} is now {old}" in caplog.text


def test_a_file_system_without_links_keeps_the_promise(
    connector: LocalConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    connector.write("out.parquet", numbers(3).to_batches(), schema=numbers(3).schema)
    assert connector.num_rows("out.parquet") == 3
    with pytest.raises(OutputExistsError):
        connector.write("out.parquet", numbers(3).to_batches(), schema=numbers(3).schema)
