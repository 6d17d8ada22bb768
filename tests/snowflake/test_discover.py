"""Declared keys of an account: rows as SHOW returns them, and a schema drafted from a server."""

from __future__ import annotations

import pyarrow as pa
import pytest

import rle
from rle.connectors.keys import DeclaredLink, TableKeys
from rle.connectors.snowflake import access, survey
from rle.connectors.snowflake import keys as snowflake_keys
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.errors import explain
from rle.connectors.snowflake.keys import read_keys
from rle.connectors.snowflake.session import Session
from rle.errors import ConnectionError, UnknownNameError, ValidationError

DATE = "2026-03-01 09:30:00.000 -0800"


def own(column, sequence, constraint):
    """A row of SHOW PRIMARY KEYS or SHOW UNIQUE KEYS, as Snowflake documents it."""
    return {
        "created_on": DATE,
        "database_name": "SHOP",
        "schema_name": "PUBLIC",
        "table_name": "LINES",
        "column_name": column,
        "key_sequence": sequence,
        "constraint_name": constraint,
        "rely": "false",
        "comment": None,
    }


def imported(table, key, column, sequence, constraint, schema="PUBLIC"):
    """A row of SHOW IMPORTED KEYS."""
    return {
        "created_on": DATE,
        "pk_database_name": "SHOP",
        "pk_schema_name": schema,
        "pk_table_name": table,
        "pk_column_name": key,
        "fk_database_name": "SHOP",
        "fk_schema_name": "PUBLIC",
        "fk_table_name": "LINES",
        "fk_column_name": column,
        "key_sequence": sequence,
        "update_rule": "NO ACTION",
        "delete_rule": "NO ACTION",
        "fk_name": constraint,
        "pk_name": "SYS_CONSTRAINT_9",
        "deferrability": "NOT DEFERRABLE",
        "rely": "false",
        "comment": None,
    }


def test_rows_of_one_key_belong_together_in_the_order_of_the_key():
    keys = read_keys(
        [own("LINE_NO", 2, "SYS_CONSTRAINT_1"), own("ORDER_ID", 1, "SYS_CONSTRAINT_1")],
        [own("CODE", 1, "U1"), own("B", "2", "U2"), own("A", "1", "U2")],
        [
            imported("PRICES", "VALID_FROM", "PRICED_AT", 2, "SYS_CONSTRAINT_3"),
            imported("my Orders", "ID", "ORDER_ID", 1, "SYS_CONSTRAINT_2", schema="old"),
            imported("PRICES", "ARTICLE", "ARTICLE_ID", 1, "SYS_CONSTRAINT_3"),
        ],
    )
    assert keys == TableKeys(
        primary=("ORDER_ID", "LINE_NO"),
        unique=(("CODE",), ("A", "B")),
        foreign=(
            DeclaredLink(
                ("ARTICLE_ID", "PRICED_AT"), "SHOP.PUBLIC.PRICES", ("ARTICLE", "VALID_FROM")
            ),
            DeclaredLink(("ORDER_ID",), 'SHOP."old"."my Orders"', ("ID",)),
        ),
    )


def test_a_table_without_keys_has_none():
    assert read_keys([], [], []) == TableKeys()


TABLES = """
    CREATE TABLE CUSTOMERS (ID INTEGER PRIMARY KEY, EMAIL VARCHAR UNIQUE, JOINED TIMESTAMP_NTZ);
    CREATE TABLE ORDERS (ID INTEGER PRIMARY KEY, CUSTOMER_ID INTEGER, PLACED TIMESTAMP_NTZ,
        FOREIGN KEY (CUSTOMER_ID) REFERENCES CUSTOMERS (ID));
    CREATE TABLE "order lines" ("order" INTEGER, CUSTOMER_ID INTEGER, AMOUNT FLOAT,
        FOREIGN KEY ("order") REFERENCES ORDERS (ID));
    CREATE VIEW NEW_ORDERS AS SELECT * FROM ORDERS;
    INSERT INTO CUSTOMERS VALUES (1, 'a@b', '2024-01-01'), (2, 'c@d', '2024-02-01');
    INSERT INTO ORDERS VALUES (10, 1, '2024-03-01'), (11, 2, '2024-03-02');
    INSERT INTO "order lines" VALUES (10, 1, 1.5), (11, 2, 2.5);
"""


@pytest.fixture
def account(snowflake_server, monkeypatch):
    """A connector to an account whose schema SHOP.KEYS has declared keys."""
    snowflake_server.add_schema("SHOP", "KEYS")
    snowflake_server.add_schema("SHOP", "EMPTY")
    with snowflake_server.connect(schema="KEYS") as connection, connection.cursor() as cursor:
        there = {row[1] for row in cursor.execute("SHOW TABLES IN SCHEMA SHOP.KEYS")}
        for statement in TABLES.split(";")[:-1] if not there else ():
            cursor.execute(statement)
    monkeypatch.setenv("SHOP_PASSWORD", snowflake_server.password)
    return SnowflakeConnector(
        account=snowflake_server.account,
        host=snowflake_server.host,
        port=snowflake_server.port,
        protocol="http",
        user=snowflake_server.user,
        role=snowflake_server.role,
        warehouse="WH",
        password_variable="SHOP_PASSWORD",
    )


@pytest.fixture(autouse=True)
def _closed():
    yield
    from rle.connectors.snowflake.session import close_sessions

    close_sessions()


@pytest.mark.snowflake
def test_an_account_says_which_keys_it_declares(account):
    assert account.table_keys("shop.keys.customers") == TableKeys(("ID",), (("EMAIL",),))
    assert account.table_keys('SHOP.KEYS."order lines"') == TableKeys(
        foreign=(DeclaredLink(("order",), "SHOP.KEYS.ORDERS", ("ID",)),)
    )
    assert account.table_keys("SHOP.KEYS.NEW_ORDERS") == TableKeys()
    with pytest.raises(UnknownNameError):
        account.table_keys("SHOP.KEYS.NOTHING")


@pytest.mark.snowflake
def test_a_schema_of_an_account_has_the_tables_that_are_in_it(account):
    assert account.sources_in("shop.keys") == [
        'SHOP.KEYS."order lines"',
        "SHOP.KEYS.CUSTOMERS",
        "SHOP.KEYS.NEW_ORDERS",
        "SHOP.KEYS.ORDERS",
    ]
    with pytest.raises(UnknownNameError, match=r"SHOP\.EMPTY"):
        account.sources_in("SHOP.EMPTY")


@pytest.mark.snowflake
def test_a_schema_of_an_account_is_drafted_as_one_of_a_file_is(account):
    draft = rle.Dataset.from_schema(account, "shop.keys", exclude=["new_*"])
    assert {table.name: table.primary_key for table in draft.tables} == {
        "order_lines": None,
        "customers": "ID",
        "orders": "ID",
    }
    assert draft["orders"].foreign_keys[0].link_to == "customers.ID"
    assert draft["order_lines"].foreign_keys[0].link_to == "orders.ID"
    assert draft.open_times == {"customers": ("JOINED",), "orders": ("PLACED",)}
    assert [str(found).partition(":")[0] for found in draft.suggestions] == [
        "link order_lines.CUSTOMER_ID -> customers.ID"
    ]
    draft.accept()
    found = {}
    exec(draft.to_code(), found)
    assert [repr(table) for table in found["tables"]] == [repr(table) for table in draft.tables]


@pytest.mark.snowflake
def test_a_draft_costs_three_statements_a_table_and_few_beside(account, snowflake_server):
    before = {query["id"] for query in snowflake_server.queries()}
    draft = rle.Dataset.from_schema(account, "shop.keys")
    assert len(draft.tables) == 4
    ran = [q["sql"] for q in snowflake_server.queries() if q["id"] not in before]
    # Objects, three kinds of keys; of each table its columns, its size and a sample. Its size is
    # asked for once more where an undeclared link seems to lead to it.
    assert len(ran) == 4 + 3 * 4 + 2, ran


@pytest.mark.snowflake
def test_what_is_no_fault_of_a_table_ends_the_search_at_once(account, snowflake_server):
    snowflake_server.add_warehouse("WH", is_suspended=True, quota_is_used=True)
    with pytest.raises(ConnectionError, match="credits are used up"):
        rle.Dataset.from_schema(account, "shop.keys")


@pytest.mark.snowflake
def test_a_table_that_takes_too_long_is_left_out_and_said(account, monkeypatch):
    sample = survey.reading.sample

    def slow(connector, source, **options):
        if not source.endswith(".ORDERS"):
            return sample(connector, source, **options)
        said = "000630 (57014): Statement reached its statement timeout of 5 seconds"
        raise explain(RuntimeError(said), doing=f"reading {source}")

    monkeypatch.setattr(survey.reading, "sample", slow)
    draft = rle.Dataset.from_schema(account, "shop.keys")
    assert "orders" not in [table.name for table in draft.tables]
    assert any("took longer than it may" in note for note in draft.notes)


@pytest.mark.snowflake
def test_keys_of_a_schema_that_are_not_told_are_asked_for_by_table(account, monkeypatch):
    whole = [(item.source, item.keys) for item in account.survey(KEYED, max_rows=10)]
    rows = Session.rows

    def refuse(self, sql, *params):
        if "KEYS IN SCHEMA" in sql:
            raise ValidationError("Unsupported feature.")
        return rows(self, sql, *params)

    monkeypatch.setattr(Session, "rows", refuse)
    assert [(item.source, item.keys) for item in account.survey(KEYED, max_rows=10)] == whole


ODD = """
    CREATE TABLE SHOP.ODD_OTHER.LANDS (ID INTEGER PRIMARY KEY);
    CREATE TABLE A (ID INTEGER PRIMARY KEY, B_ID INTEGER, CODE VARCHAR UNIQUE);
    CREATE TABLE B (ID INTEGER PRIMARY KEY, A_ID INTEGER REFERENCES A (ID),
        PARENT_ID INTEGER REFERENCES B (ID));
    ALTER TABLE A ADD FOREIGN KEY (B_ID) REFERENCES B (ID);
    CREATE TABLE C (K1 INTEGER, K2 INTEGER, A_CODE VARCHAR REFERENCES A (CODE),
        LAND INTEGER REFERENCES SHOP.ODD_OTHER.LANDS (ID), PRIMARY KEY (K1, K2));
    CREATE TABLE D (K1 INTEGER, K2 INTEGER, FOREIGN KEY (K1, K2) REFERENCES C (K1, K2));
    CREATE TABLE "a ""b"" d.t" ("the key" INTEGER PRIMARY KEY, "select" INTEGER,
        FOREIGN KEY ("select") REFERENCES "a ""b"" d.t" ("the key"));
    CREATE TABLE CLOSED (ID INTEGER PRIMARY KEY);
    CREATE TABLE HIDDEN (ID INTEGER PRIMARY KEY);
    CREATE VIEW OVER_NOTHING AS SELECT * FROM D;
"""


@pytest.fixture
def odd(account, snowflake_server):
    """A schema with what schemas seldom have, some of it closed."""
    for schema in ("ODD", "ODD_OTHER"):
        snowflake_server.add_schema("SHOP", schema)
    with snowflake_server.connect(schema="ODD") as connection, connection.cursor() as cursor:
        if not cursor.execute("SHOW TABLES IN SCHEMA SHOP.ODD").fetchall():
            for statement in ODD.split(";")[:-1]:
                cursor.execute(statement)
            cursor.execute("ALTER TABLE D RENAME TO E")
    snowflake_server.revoke("SELECT", "TABLE", "SHOP.ODD.CLOSED")
    snowflake_server.revoke("ALL", "TABLE", "SHOP.ODD.HIDDEN")
    return account


@pytest.mark.snowflake
def test_keys_of_every_kind_are_used_or_said(odd):
    draft = rle.Dataset.from_schema(odd, "shop.odd")
    links = {t.name: {k.column_name: k.link_to for k in t.foreign_keys} for t in draft.tables}
    assert links == {
        "a_b_d_t": {"select": 'a_b_d_t."the key"'},  # to itself
        "a": {"B_ID": "b.ID"},  # in a circle
        "b": {"A_ID": "a.ID", "PARENT_ID": "b.ID"},
        "c": {"A_CODE": "a.CODE"},  # to a unique column
        "e": {},
    }
    for said in (
        "c: declared link LAND -> SHOP.ODD_OTHER.LANDS (ID) is not used",
        "c: its declared primary key has 2 columns (K1, K2)",
        "e: declared link K1, K2 -> SHOP.ODD.C (K1, K2) is not used: a link is one column",
        "SHOP.ODD.OVER_NOTHING: left out, for it cannot be read",
        "GRANT SELECT ON TABLE SHOP.ODD.CLOSED TO ROLE TRAINER",
    ):
        assert said in str(draft)
    assert "HIDDEN" not in str(draft)
    found = {}
    exec(draft.to_code(), found)
    assert [repr(table) for table in found["tables"]] == [repr(table) for table in draft.tables]


@pytest.mark.snowflake
def test_a_schema_without_tables_or_of_another_name_is_told_with_the_nearest(account):
    with pytest.raises(UnknownNameError, match=r"schema with tables named 'SHOP\.EMPTY'"):
        rle.Dataset.from_schema(account, "shop.empty")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'SHOP\.KEYS'\?.*GRANT USAGE"):
        rle.Dataset.from_schema(account, 'shop."keys"')
    with pytest.raises(UnknownNameError, match="GRANT USAGE ON DATABASE NOWHERE"):
        rle.Dataset.from_schema(account, "nowhere.keys")


@pytest.mark.snowflake
def test_a_schema_is_listed_page_by_page(account, snowflake_server, monkeypatch):
    monkeypatch.setattr(access, "MAX_SOURCES", 2)
    snowflake_server.add_schema("SHOP", "LONG")
    names = ["A", "a\\'b", "B", "it's", "z"]
    for name in names:
        snowflake_server.put(("SHOP", "LONG", name + " "), pa.table({"ID": [1]}))
    found = account.sources_in("SHOP.LONG")
    assert found == sorted(f'SHOP.LONG."{name} "' for name in names)


@pytest.mark.snowflake
def test_keys_that_one_answer_does_not_hold_are_asked_for_by_table(account, monkeypatch):
    whole = [(item.source, item.keys) for item in account.survey(KEYED, max_rows=10)]
    assert whole[0][1].primary == ("ID",)
    monkeypatch.setattr(snowflake_keys, "MAX_SHOWN", 1)
    assert [(item.source, item.keys) for item in account.survey(KEYED, max_rows=10)] == whole


KEYED = ["SHOP.KEYS.CUSTOMERS", "SHOP.KEYS.ORDERS", "shop.keys.new_orders"]
