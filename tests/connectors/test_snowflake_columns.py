"""How Arrow columns are told to Snowflake: types, JSON of lists, statements."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.connectors.base import NewTable
from rle.connectors.snowflake.columns import columns_of, json_lists
from rle.connectors.snowflake.stage import cast_sql, copy_sql, create_sql, gather, landing_sql
from rle.errors import DataError, StorageError, ValidationError

TYPES = {
    "BOOLEAN": pa.bool_(),
    "NUMBER(3,0)": pa.int8(),
    "NUMBER(5,0)": pa.uint16(),
    "NUMBER(10,0)": pa.int32(),
    "NUMBER(19,0)": pa.int64(),
    "NUMBER(20,0)": pa.uint64(),
    "FLOAT": pa.float16(),
    "NUMBER(10,2)": pa.decimal128(10, 2),
    "NUMBER(12,0)": pa.decimal128(10, -2),
    "VARCHAR": pa.large_string(),
    "BINARY": pa.binary(4),
    "DATE": pa.date64(),
    "TIME(0)": pa.time32("s"),
    "TIME(9)": pa.time64("ns"),
    "TIMESTAMP_NTZ(3)": pa.timestamp("ms"),
    "TIMESTAMP_NTZ(9)": pa.timestamp("ns"),
    "TIMESTAMP_LTZ(6)": pa.timestamp("us", tz="Europe/Berlin"),
    "VECTOR(FLOAT, 4096)": pa.list_(pa.float32(), 4096),
    "VECTOR(INT, 2)": pa.list_(pa.int32(), 2),
    "ARRAY": pa.list_(pa.float32(), 4097),
}


@pytest.mark.parametrize(("sql_type", "dtype"), TYPES.items(), ids=TYPES)
def test_each_type_has_its_counterpart(sql_type, dtype):
    (column,) = columns_of("T", pa.schema([("c", dtype)]))
    assert column.sql_type == sql_type
    empty = column.encode(pa.array([None], dtype))
    assert (empty.type, empty.null_count) == (column.staged, 1)


@pytest.mark.parametrize("dtype", [pa.float64(), pa.int64(), pa.string()])
def test_a_list_of_no_vector_is_an_array(dtype):
    kinds = [pa.list_(dtype), pa.large_list(dtype), pa.list_(dtype, 2)]
    schema = pa.schema([(str(i), kind) for i, kind in enumerate(kinds)])
    assert [column.sql_type for column in columns_of("T", schema)] == ["ARRAY"] * 3


def test_dictionaries_are_what_they_stand_for():
    schema = pa.schema([("c", pa.dictionary(pa.int32(), pa.string()))])
    assert columns_of("T", schema)[0].sql_type == "VARCHAR"


@pytest.mark.parametrize(
    "dtype",
    [
        pa.struct([("a", pa.int64())]),
        pa.duration("s"),
        pa.decimal256(50, 2),
        pa.list_(pa.duration("s")),
    ],
)
def test_a_type_without_counterpart_is_refused_by_name(dtype):
    with pytest.raises(ValidationError, match=r"'odd'.*SHOP\.OUT\.P"):
        columns_of("SHOP.OUT.P", pa.schema([("odd", dtype)]))


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two columns of one name"):
        columns_of("T", pa.schema([("a", pa.int64()), ("a", pa.int64())]))


LISTS = [
    pa.array([[1.5, None, -0.0], None, []], pa.list_(pa.float64())),
    pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
    pa.array([['a"b', "日\n\\"], ["x"] * 3, None], pa.large_list(pa.large_string())),
    pa.array([[[1], [2, None], None], None, [None], []], pa.list_(pa.list_(pa.int64()))),
    pa.array([[True, None], [False]], pa.list_(pa.bool_())),
    pa.array([[None], []], pa.list_(pa.null())),
    pa.array([], pa.list_(pa.int64())),
]


@pytest.mark.parametrize("lists", LISTS, ids=lambda lists: str(lists.type))
@pytest.mark.parametrize("skipped", [0, 1])
def test_json_says_what_the_list_says(lists, skipped):
    part = lists.slice(skipped)
    told = [None if text is None else json.loads(text) for text in json_lists(part).to_pylist()]
    assert told == part.to_pylist()


def test_json_of_numbers_is_exact_and_knows_no_nan():
    lists = pa.array([[0.1, float("nan"), float("inf"), 1e30]], pa.list_(pa.float32()))
    assert json_lists(lists).to_pylist() == ["[0.1,null,null,1e+30]"]
    exact = pa.array([[Decimal("1.50")]], pa.list_(pa.decimal128(10, 2)))
    assert json_lists(exact).to_pylist() == ["[1.50]"]
    days = pa.array([[dt.date(2024, 2, 29)]], pa.list_(pa.date32()))
    assert json_lists(days).to_pylist() == ['["2024-02-29"]']


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), None])
def test_a_vector_with_a_hole_is_refused(bad):
    (column,) = columns_of("P", pa.schema([("EMBEDDING", pa.list_(pa.float32(), 2))]))
    with pytest.raises(DataError, match="'EMBEDDING' of P"):
        column.encode(pa.array([[1.0, bad]], pa.list_(pa.float32(), 2)))


def test_plain_columns_are_copied_by_their_names():
    columns = columns_of("P", pa.schema([("ID", pa.int64()), ("when", pa.timestamp("us"))]))
    assert all(column.is_direct for column in columns)
    assert create_sql('"D"."S"."T"', columns) == (
        'CREATE OR REPLACE TABLE "D"."S"."T" ("ID" NUMBER(19,0), "when" TIMESTAMP_NTZ(6))'
    )
    assert copy_sql('"D"."S"."T"', '"D"."S"."G"/0/').startswith(
        'COPY INTO "D"."S"."T" FROM @"D"."S"."G"/0/ FILE_FORMAT = (TYPE = PARQUET '
    )


def test_lists_and_odd_names_go_another_way():
    schema = pa.schema([('a"; DROP', pa.int64()), ("v", pa.list_(pa.float32(), 2))])
    columns = columns_of("P", schema)
    assert landing_sql('"L"', columns) == (
        'CREATE OR REPLACE TRANSIENT TABLE "L" ("C0" NUMBER(19,0), "C1" VARCHAR)'
    )
    assert cast_sql('"T"', '"L"', columns) == (
        'INSERT INTO "T" ("a""; DROP", "v") '
        'SELECT "C0", PARSE_JSON("C1")::ARRAY::VECTOR(FLOAT, 2) FROM "L"'
    )


def test_small_batches_become_large_row_groups(tmp_path):
    schema = pa.schema([("id", pa.int64())])
    rows = ((0, pa.RecordBatch.from_pydict({"id": [i, None]}, schema=schema)) for i in range(500))
    (staged,) = gather([NewTable("P", schema)], rows, tmp_path)
    (file,) = staged.files
    assert pq.read_metadata(file).num_row_groups == 1
    assert (staged.num_rows, staged.num_values) == (1000, [500])
    assert pq.read_table(file)["id"].to_pylist()[:3] == [0, None, 1]


def test_much_becomes_several_files_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("rle.connectors.snowflake.stage.ROW_GROUP_ROWS", 100)
    monkeypatch.setattr("rle.connectors.snowflake.stage.FILE_BYTES", 2000)
    schema = pa.schema([("id", pa.int64())])
    batch = pa.RecordBatch.from_pydict({"id": range(1000)}, schema=schema)
    (staged,) = gather([NewTable("P", schema)], [(0, batch)] * 5, tmp_path)
    assert len(staged.files) > 2
    back = [i for file in staged.files for i in pq.read_table(file)["id"].to_pylist()]
    assert back == list(range(1000)) * 5


def test_no_rows_make_no_file(tmp_path):
    (staged,) = gather([NewTable("P", pa.schema([("id", pa.int64())]))], [], tmp_path)
    assert (staged.files, staged.num_rows, list(tmp_path.iterdir())) == ([], 0, [])


def test_a_full_disk_is_told_with_the_way_out(monkeypatch):
    from pathlib import Path

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is of Linux")
    schema = pa.schema([("id", pa.int64())])
    batch = pa.RecordBatch.from_pydict({"id": range(100_000)}, schema=schema)
    monkeypatch.setattr("rle.connectors.snowflake.stage.ROW_GROUP_ROWS", 50_000)
    monkeypatch.setattr(Path, "__truediv__", lambda _, __: full)
    with pytest.raises(StorageError, match=r"SHOP\.OUT\.P .*No space left.*TMPDIR"):
        gather([NewTable("SHOP.OUT.P", schema)], [(0, batch)], Path("/"))
