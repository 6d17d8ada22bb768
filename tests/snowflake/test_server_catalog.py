"""What the stand-in for Snowflake says of its tables, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.snowflake.cursors import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.testing.fake_snowflake import FakeSnowflake


@pytest.fixture
def cursor(snowflake_server: FakeSnowflake) -> Iterator[Any]:
    with snowflake_server.connect() as connection:
        yield connection.cursor()


def test_keys_are_real_and_enforce_nothing(cursor):
    cursor.execute("create or replace table a (id int primary key, x int, unique (x))")
    cursor.execute(
        "create or replace table b "
        "(a_id int references a(id), k int, constraint pk primary key (a_id, k))"
    )
    cursor.execute("insert into a values (1, 1), (1, 1)")
    rows = cursor.execute("show primary keys in table b").fetchall()
    assert [row[4] for row in rows] == ["A_ID", "K"]
    (link,) = cursor.execute("show imported keys in table b").fetchall()
    assert link[3:5] == ("A", "ID")
    assert link[7:9] == ("B", "A_ID")
    assert cursor.execute("show imported keys in table a").fetchall() == []
    (back,) = cursor.execute("show exported keys in table a").fetchall()
    assert back == link
    (first, _) = cursor.execute("describe table a").fetchall()
    assert first[5] == "Y"


def test_names_are_exact(snowflake_server, cursor):
    snowflake_server.put('we"ird, 日.x', pa.table({"Mixed Case": [1], "select": [2]}))
    cursor.execute('select "Mixed Case", "select" from "we""ird, 日.x"')
    assert cursor.fetchall() == [(1, 2)]
    assert "invalid identifier" in refused(cursor, 'select "mixed case" from "we""ird, 日.x"')
    cursor.execute("create or replace table upper (id int)")
    assert "does not exist or not authorized" in refused(cursor, 'select * from "upper"')
    assert "invalid identifier" in refused(cursor, 'select "id" from upper')


def test_a_view_over_a_dropped_table(cursor):
    cursor.execute("create or replace table below (id int)")
    cursor.execute("create or replace view seen_through as select id from below")
    assert cursor.execute("select * from seen_through").fetchall() == []
    cursor.execute("drop table below")
    assert "Failure during expansion of view" in refused(cursor, "select * from seen_through")
    cursor.execute("drop view seen_through")


def test_create_or_replace_and_taken_names(cursor):
    cursor.execute("create or replace table once (id int)")
    assert "002002 (42710)" in refused(cursor, "create table once (id int)")
    assert "002002 (42710)" in refused(cursor, 'create table "once" (id int)')
    cursor.execute("create table if not exists once (id int)")
    cursor.execute("create or replace table once (other int)")
    assert [row[0] for row in cursor.execute("describe table once").fetchall()] == ["OTHER"]


def test_altered_columns(cursor):
    cursor.execute("create or replace table changing (id int, text varchar(3), gone int)")
    cursor.execute("alter table changing add column tree array")
    cursor.execute("alter table changing drop column gone")
    cursor.execute("alter table changing alter column id set data type varchar(40)")
    rows = cursor.execute("describe table changing").fetchall()
    assert [row[:2] for row in rows] == [
        ("ID", "VARCHAR(40)"),
        ("TEXT", "VARCHAR(3)"),
        ("TREE", "ARRAY"),
    ]
    assert cursor.execute("select * from changing").fetchall() == []


def test_information_schema_says_when_a_table_changed(cursor):
    cursor.execute("create or replace table dated (id int)")
    ask = (
        "select row_count, last_altered from shop.information_schema.tables "
        "where table_schema = 'PUBLIC' and table_name = 'DATED'"
    )
    before = cursor.execute(ask).fetchone()
    cursor.execute("insert into dated values (1)")
    after = cursor.execute(ask).fetchone()
    assert (before[0], after[0]) == (0, 1)
    assert before[1] < after[1]


def test_what_defines_commits_what_was_done_before(cursor):
    cursor.execute("create or replace table ledger (i int)")
    cursor.execute("begin")
    cursor.execute("insert into ledger values (1)")
    cursor.execute("create or replace table made_within (i int)")
    cursor.execute("rollback")
    assert cursor.execute("select * from ledger").fetchall() == [(1,)]
    assert cursor.execute("select * from made_within").fetchall() == []


def test_show_comes_in_pages(snowflake_server, cursor):
    snowflake_server.add_schema("SHOP", "PAGES")
    for name in ("A", "B  B", "it's", "C"):
        quoted = '"' + name + '"'
        cursor.execute(f"create or replace table SHOP.PAGES.{quoted} (i int)")

    def names(clauses):
        rows = cursor.execute(f"show tables in schema SHOP.PAGES {clauses}").fetchall()
        return [row[1] for row in rows]

    assert names("") == ["A", "B  B", "C", "it's"]
    assert names("limit 2") == ["A", "B  B"]
    assert names("limit 2 from 'B  B'") == ["C", "it's"]
    assert names(r"limit 2 from 'it\'s'") == []
    assert names("starts with 'it''s'") == ["it's"]
    assert cursor.execute('show primary keys in table SHOP.PAGES."B  B"').fetchall() == []


def test_information_schema_wants_a_warehouse_and_shows_what_is_open(snowflake_server, cursor):
    snowflake_server.add_schema("SHOP", "SHUT")
    sql = "select schema_name from SHOP.information_schema.schemata where schema_name = 'SHUT'"
    assert cursor.execute(sql).fetchall() == [("SHUT",)]
    snowflake_server.revoke("USAGE", "SCHEMA", "SHOP.SHUT")
    assert cursor.execute(sql).fetchall() == []
    snowflake_server.add_warehouse("WH", is_suspended=True, resumes=False)
    assert "No active warehouse" in refused(cursor, sql)
