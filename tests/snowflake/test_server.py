"""The stand-in for Snowflake keeps Snowflake's promises to the real driver."""

from __future__ import annotations

import datetime as dt
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.testing.fake_snowflake import driver_version
from tests.snowflake.cursors import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.testing.fake_snowflake import FakeSnowflake

NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
LATE = dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)
EARLY = dt.datetime(2020, 1, 1, 0, 0, 0, 123_456)
COLUMNS = {
    "NUM": ("number(38,0)", "7", 7),
    "PRICE": ("number(10,2)", "-1.50", Decimal("-1.50")),
    "LARGE": ("number(38,0)", str(10**30), 10**30),
    "REAL": ("float", "0.25", 0.25),
    "TEXT": ("varchar(20)", "'日本'", "日本"),
    "DAY": ("date", "'1864-06-30'", dt.date(1864, 6, 30)),
    "CLOCK": ("time", "'01:02:03'", dt.time(1, 2, 3)),
    "LOCAL": ("timestamp_ntz", "'2020-01-01 00:00:00.123456'", EARLY),
    "SHORT": ("timestamp_ntz(3)", "'1969-12-31 23:59:59.5'", LATE),
    "ZONED": ("timestamp_tz", "'2020-01-01 12:00:00+00'", NOON),
    "HERE": ("timestamp_ltz", "'2020-01-01 12:00:00+00'", NOON),
    "FLAG": ("boolean", "true", True),
    "TREE": ("variant", "parse_json('{\"a\":1}')", '{"a":1}'),
    "LIST": ("array", "parse_json('[1]')", "[1]"),
    "BYTES": ("binary", "to_binary('00ff', 'hex')", b"\x00\xff"),
    "PLACE": ("geography", "parse_json('{}')", "{}"),
    "VEC": ("vector(float, 2)", "[1, 2]::vector(float, 2)", [1.0, 2.0]),
}


@pytest.fixture
def cursor(snowflake_server: FakeSnowflake) -> Iterator[Any]:
    with snowflake_server.connect() as connection:
        yield connection.cursor()


def big(server: FakeSnowflake, num_rows: int = 5000) -> None:
    """A table that comes as 1000 rows inline and chunks of 1000."""
    server.put("BIG", pa.table({"ID": range(num_rows), "HALF": [i / 2 for i in range(num_rows)]}))
    server.settings(rows_per_chunk=1000, first_rows=1000)


def every_type(cursor: Any) -> None:
    declared = ", ".join(f"{name} {kind}" for name, (kind, _, _) in COLUMNS.items())
    cursor.execute(f"create or replace table every_type (n int, {declared})")
    cursor.execute("insert into every_type select 0, " + ", ".join(c[1] for c in COLUMNS.values()))
    cursor.execute("insert into every_type (n) values (1)")


@pytest.mark.parametrize("has_arrow", [True, False])
@pytest.mark.parametrize("column", COLUMNS)
def test_every_type_has_its_value_and_null(snowflake_server, cursor, column, has_arrow):
    every_type(cursor)
    snowflake_server.settings(has_arrow=has_arrow)
    rows = cursor.execute(f"select {column} from every_type order by n").fetchall()
    expected = COLUMNS[column][2]
    value = bytes(rows[0][0]) if column == "BYTES" else rows[0][0]
    assert value == expected
    assert rows[1][0] is None


def test_arrow_has_nulls_where_moments_are_null(cursor):
    every_type(cursor)
    names = ["LOCAL", "SHORT", "ZONED", "HERE"]
    cursor.execute(f"select {', '.join(names)} from every_type order by n")
    rows = cursor.fetch_arrow_all()
    assert [rows[name].null_count for name in names] == [1, 1, 1, 1]


def test_describe_and_columns_say_what_was_declared(cursor):
    every_type(cursor)
    found = {row[0]: row[1] for row in cursor.execute("describe table every_type").fetchall()}
    assert found["PRICE"] == "NUMBER(10,2)"
    assert found["TEXT"] == "VARCHAR(20)"
    assert found["SHORT"] == "TIMESTAMP_NTZ(3)"
    assert found["HERE"] == "TIMESTAMP_LTZ(9)"
    assert found["LIST"] == "ARRAY"
    assert found["VEC"] == "VECTOR(FLOAT, 2)"
    assert found["PLACE"] == "GEOGRAPHY"


def test_number_types_follow_the_values_of_the_whole_result(snowflake_server, cursor):
    big(snowflake_server)
    cursor.execute("select id from big")
    assert cursor.fetch_arrow_all().schema.field("ID").type == pa.int16()


def test_a_long_result_comes_in_chunks(snowflake_server, cursor):
    big(snowflake_server, 4500)
    cursor.execute("select * from big order by id")
    batches = cursor.get_result_batches()
    assert [batch.rowcount for batch in batches] == [1000, 1000, 1000, 1000, 500]
    rows = pa.concat_tables(batch.to_arrow() for batch in batches)
    assert rows["ID"].to_pylist() == list(range(4500))


def test_a_chunk_is_fetched_elsewhere_and_holds_no_rows_itself(snowflake_server, cursor):
    big(snowflake_server)
    cursor.execute("select * from big order by id")
    carried = pickle.dumps(cursor.get_result_batches()[3])
    assert len(carried) < 4000
    assert pickle.loads(carried).to_arrow()["ID"].to_pylist() == list(range(3000, 4000))


def test_a_chunk_wants_its_key_and_a_good_address(snowflake_server, cursor):
    import requests

    big(snowflake_server)
    snowflake_server.settings(link_s=0)
    cursor.execute("select * from big")
    batch = cursor.get_result_batches()[1]
    if driver_version()[0] < 5:
        url = batch._remote_chunk_info.url
        assert requests.get(url, timeout=10).status_code == 403
        assert requests.get(url, headers=batch._chunk_headers, timeout=10).status_code == 403


def test_json_results_come_in_chunks_too(snowflake_server, cursor):
    big(snowflake_server)
    snowflake_server.settings(has_arrow=False)
    cursor.execute("select * from big order by id")
    assert len(cursor.get_result_batches()) == 5
    assert cursor.fetchall() == [(i, i / 2) for i in range(5000)]


def test_an_empty_result_has_its_columns(cursor):
    cursor.execute("create or replace table empty (id int, day date)")
    cursor.execute("select * from empty")
    assert cursor.fetch_arrow_all(force_return_table=True).num_rows == 0
    assert [column.name for column in cursor.description] == ["ID", "DAY"]


def test_results_are_found_by_query_id_in_another_session(snowflake_server, cursor):
    big(snowflake_server)
    cursor.execute("select * from big order by id")
    with snowflake_server.connect() as other:
        found = other.cursor()
        found.get_results_from_sfqid(cursor.sfqid)
        assert len(found.fetchall()) == 5000
        assert [batch.rowcount for batch in found.get_result_batches()] == [1000] * 5


def test_statements_run_asynchronously(snowflake_server, cursor):
    cursor.execute_async("call system$wait(0.3)")
    query_id = cursor.sfqid
    assert cursor.connection.is_still_running(cursor.connection.get_query_status(query_id))
    cursor.get_results_from_sfqid(query_id)
    assert cursor.fetchall() == [("waited 0.3 seconds",)]


def test_an_asynchronous_statement_that_fails_says_so(cursor):
    import snowflake.connector

    cursor.execute_async("select * from nowhere")
    with pytest.raises(snowflake.connector.errors.Error, match="NOWHERE"):
        cursor.get_results_from_sfqid(cursor.sfqid)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select * from nowhere", "002003 (02000)"),
        ("select nothing from big", "000904 (42000)"),
        ("selec 1", "001003 (42000)"),
        ("select nosuch(1)", "002140 (42601)"),
        ("use warehouse nowhere", "002043 (02000)"),
        ("use role nobody", "003013 (42501)"),
        ("call something()", "000002 (0A000)"),
        ("select * from big at(timestamp => '2001-01-01'::timestamp)", "000707 (02000)"),
    ],
)
def test_what_it_does_not_know_is_an_error_at_once(snowflake_server, cursor, sql, code):
    big(snowflake_server)
    assert code in refused(cursor, sql)


def test_time_travel_while_nothing_changed(snowflake_server, cursor):
    big(snowflake_server)
    (now,) = cursor.execute("select current_timestamp()::varchar").fetchone()
    past = f"select count(*) from big at(timestamp => '{now}'::timestamp_ltz)"
    assert cursor.execute(past).fetchall() == [(5000,)]
    cursor.execute("delete from big where id = 1")
    assert "Time travel data is not available" in refused(cursor, past)
    snowflake_server.settings(time_travels=False)
    assert "Unsupported feature" in refused(cursor, past)


def test_files_go_through_a_stage_into_a_table(snowflake_server, cursor, tmp_path: Path):
    pq.write_table(pa.table({"ID": [1, 2], "name": ["a", None]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"ID": [3], "name": ["c"]}), tmp_path / "two x.parquet")
    cursor.execute('create or replace table "Into" (id int, "name" varchar, more int)')
    cursor.execute('create temporary stage "Sta ge"')
    # One by one: of a wildcard's files, driver 5 may send a later one to the address of an earlier
    # one, where it is refused; it then says SKIPPED, and the file is nowhere.
    for name in ("one", "two x"):
        put = f"put 'file://{tmp_path}/{name}.parquet' '@\"Sta ge\"/sub' auto_compress=false"
        assert [row[6] for row in cursor.execute(put).fetchall()] == ["UPLOADED"]
    listed = cursor.execute("list '@\"Sta ge\"'").fetchall()
    assert [row[0] for row in listed] == ["sta ge/sub/one.parquet", "sta ge/sub/two x.parquet"]
    copy = (
        'copy into "Into" from \'@"Sta ge"/sub\' file_format=(type=parquet) '
        "match_by_column_name=case_sensitive"
    )
    assert [row[1] for row in cursor.execute(copy).fetchall()] == ["LOADED", "LOADED"]
    assert [row[1] for row in cursor.execute(copy).fetchall()] == ["LOAD_SKIPPED"] * 2
    rows = cursor.execute('select * from "Into" order by id').fetchall()
    assert rows == [(1, "a", None), (2, None, None), (3, "c", None)]
    assert len(cursor.execute("remove '@\"Sta ge\"/sub/one'").fetchall()) == 1
    assert snowflake_server.state()["stage_files"] == 1
    cursor.execute('drop stage "Sta ge"')
    assert snowflake_server.state()["stages"] == []


def test_temporary_things_end_with_their_session(snowflake_server):
    with snowflake_server.connect() as connection:
        connection.cursor().execute("create temporary stage mine")
        connection.cursor().execute("create temporary table mine (id int)")
        with snowflake_server.connect() as other:
            assert "does not exist" in refused(other.cursor(), "select * from mine")
            assert "does not exist" in refused(other.cursor(), "list @mine")
    state = snowflake_server.state()
    assert state["stages"] == []
    assert ["SHOP", "PUBLIC", "MINE"] not in state["tables"]


def test_rename_and_swap_are_whole(cursor):
    for name in ("one", "two", "three"):
        cursor.execute(f"drop table if exists {name}")
    cursor.execute("create table one (id int) as select 1")
    cursor.execute("create table two (id int) as select 2")
    assert "already exists" in refused(cursor, "alter table one rename to two")
    cursor.execute("alter table one swap with two")
    assert cursor.execute("select * from one").fetchall() == [(2,)]
    cursor.execute("alter table one rename to shop.public.three")
    assert cursor.execute("select * from three").fetchall() == [(2,)]
    assert "does not exist" in refused(cursor, "select * from one")


def test_a_copy_within_a_transaction_goes_with_it(cursor, tmp_path: Path):
    pq.write_table(pa.table({"ID": [1, 2]}), tmp_path / "one.parquet")
    cursor.execute("create or replace table taken_back (id int)")
    cursor.execute("create or replace temporary stage st")
    cursor.execute(f"put file://{tmp_path}/one.parquet @st")
    cursor.execute("begin")
    cursor.execute(
        "copy into taken_back from @st file_format=(type=parquet) "
        "match_by_column_name=case_insensitive"
    )
    assert cursor.execute("select count(*) from taken_back").fetchall() == [(2,)]
    cursor.execute("rollback")
    assert cursor.execute("select count(*) from taken_back").fetchall() == [(0,)]


def test_session_values(snowflake_server, cursor):
    cursor.execute("alter session set query_tag = 'a ''tag''', timezone = 'UTC'")
    cursor.execute("select current_role(), current_user(), current_warehouse(), current_account()")
    assert cursor.fetchall() == [("TRAINER", "ANNA", "WH", "RLE")]
    assert snowflake_server.queries()[-1]["tag"] == "a 'tag'"


def test_a_statement_ends_at_its_timeout(cursor):
    cursor.execute("alter session set statement_timeout_in_seconds = 1")
    assert "000630 (57014)" in refused(cursor, "call system$wait(20)")


@pytest.mark.parametrize("paramstyle", ["pyformat", "qmark"])
def test_values_are_bound(snowflake_server, paramstyle):
    mark = "?" if paramstyle == "qmark" else "%s"
    with snowflake_server.connect(paramstyle=paramstyle) as connection:
        cursor = connection.cursor()
        cursor.execute("create or replace table bound (id int, half float, text varchar, day date)")
        row = (1, 0.5, "it's; --", dt.date(2020, 1, 2))
        insert = f"insert into bound values ({', '.join([mark] * 4)})"
        cursor.execute(insert, row)
        cursor.executemany(insert, [(2, None, None, None)] * 300)
        cursor.execute(f"select * from bound where text = {mark}", ("it's; --",))
        assert cursor.fetchall() == [row]
        assert cursor.execute("select count(*), count(half) from bound").fetchall() == [(301, 1)]


def test_sums_and_expressions_have_names_and_types(snowflake_server, cursor):
    big(snowflake_server, 10)
    cursor.execute("select count(*), sum(id) as total, id + 1 from big where id = 1 group by id")
    assert [column.name for column in cursor.description] == ["COUNT(*)", "TOTAL", "ID + 1"]
    assert cursor.fetchall() == [(1, 1, 2)]


def test_a_statement_may_carry_a_tag_of_its_own(snowflake_server, cursor):
    cursor.execute("alter session set query_tag = 'of the session'")
    cursor.execute("select 1", _statement_params={"QUERY_TAG": "of the statement"})
    cursor.execute("select 2")
    tags = {query["sql"]: query["tag"] for query in snowflake_server.queries()[-2:]}
    assert tags == {"select 1": "of the statement", "select 2": "of the session"}


def test_several_statements_at_once_are_refused(cursor):
    said = refused(cursor, "select ';'; create table sneaked_in (i int)")
    assert "Actual statement count 2" in said
    assert cursor.execute("show tables like 'sneaked_in'").fetchall() == []
    assert cursor.execute("select ';' as \"a;b\" /* ; */;").fetchall() == [(";",)]
