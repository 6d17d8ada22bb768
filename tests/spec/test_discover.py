"""What a schema declares becomes tables; what it does not is a note or a suggestion."""

from __future__ import annotations

import duckdb
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import ConnectionError, UnknownNameError, ValidationError
from rle.spec import suggest as suggesting
from rle.spec.discover import discover, time_candidates
from rle.spec.suggest import SuggestedKey, SuggestedLink, suggest

DECLARED = """
    CREATE TABLE lands (code VARCHAR PRIMARY KEY, number INTEGER UNIQUE, name VARCHAR UNIQUE);
    CREATE TABLE "PEOPLE" (id INTEGER PRIMARY KEY, "home land" VARCHAR REFERENCES lands (code),
        parent_id INTEGER REFERENCES "PEOPLE" (id), land INTEGER REFERENCES lands (number),
        born DATE, seen TIMESTAMP);
    CREATE TABLE "odd-name 1" (people_id INTEGER REFERENCES "PEOPLE" (id),
        land VARCHAR REFERENCES lands (code));
    CREATE TABLE odd_name_1 (a INTEGER, b INTEGER, PRIMARY KEY (a, b));
    CREATE TABLE pairs (a INTEGER, b INTEGER, FOREIGN KEY (a, b) REFERENCES odd_name_1 (a, b));
    CREATE TABLE days (day DATE PRIMARY KEY, token VARCHAR UNIQUE);
    CREATE TABLE of_day (day DATE REFERENCES days (day));
    INSERT INTO lands VALUES ('NO', 1, 'Norway'), ('SE', 2, 'Sweden');
    INSERT INTO "PEOPLE" VALUES (1, 'NO', NULL, 1, '1990-01-01', '2020-01-01');
"""


@pytest.fixture
def make(tmp_path):
    """Makes a database of SQL statements; returns its connector."""

    def make(statements):
        with duckdb.connect(str(tmp_path / "world.duckdb")) as con:
            con.execute(statements).fetchall()
        return DuckDBConnector(database=str(tmp_path / "world.duckdb"))

    return make


def roles(table):
    links = {key.column_name: key.link_to for key in table.foreign_keys}
    return [key.column_name for key in table.candidate_keys], links


def test_declared_keys_and_links_become_roles_and_nothing_else_does(make):
    found = {table.name: table for table in discover(make(DECLARED), "world.main").tables}
    assert roles(found["lands"]) == (["code", "number"], {})  # nothing links to a land's name
    assert roles(found["people"]) == (
        ["id"],
        {"home land": "lands.code", "parent_id": "people.id", "land": "lands.number"},
    )
    assert roles(found["odd_name_1"]) == ([], {"people_id": "people.id", "land": "lands.code"})
    assert roles(found["odd_name_1_2"]) == ([], {})
    assert roles(found["days"]) == (["token"], {})  # the primary key holds dates
    assert all(table.time_column is None for table in found.values())
    assert time_candidates(found["people"]) == ("born", "seen")


def test_what_cannot_be_used_is_said(make):
    notes = [(note.table, note.text) for note in discover(make(DECLARED), "world.main").notes]
    for table, text in (
        ("odd_name_1_2", "its declared primary key has 2 columns (a, b)"),
        ("pairs", "declared link a, b -> world.main.odd_name_1 (a, b) is not used: a link is one"),
        ("days", "its declared primary key day holds date32[day], which no key can be"),
        ("of_day", "declared link day -> world.main.days (day) is not used: day is no key of"),
        ("lands", "declared unique, and no key here as nothing links to it: name"),
        ("odd_name_1", "its rows may be edges, type='edge'"),
    ):
        assert any(t == table and text in said for t, said in notes), (table, text)
    assert len(notes) == 6


def test_tables_are_left_out_by_name_and_links_to_them_said(make):
    connector = make(DECLARED)
    found = discover(connector, "world.main", exclude=["LAND?", "odd*", "pairs"])
    assert [table.name for table in found.tables] == ["people", "days", "of_day"]
    assert roles(found.tables[0]) == (["id"], {"parent_id": "people.id"})
    assert sum("world.main.lands is not in this draft" in note.text for note in found.notes) == 2
    with pytest.raises(UnknownNameError, match="table to leave out named 'land'"):
        discover(connector, "world.main", exclude="land")
    with pytest.raises(ValidationError, match="Nothing is left of 7 tables"):
        discover(connector, "world.main", exclude="*")


def test_a_view_over_a_table_that_is_gone_is_left_out_and_said(make):
    gone = "CREATE TABLE t AS SELECT 1 AS id; CREATE VIEW v AS SELECT id FROM t; DROP TABLE t;"
    connector = make(gone + "CREATE TABLE here (id INTEGER PRIMARY KEY)")
    found = discover(connector, "world.main")
    assert [table.name for table in found.tables] == ["here"]
    (note,) = found.notes
    assert note.table == "world.main.v"
    assert "cannot be read" in note.text
    with pytest.raises(ConnectionError):
        discover(connector, "world.main", exclude="here")


UNDECLARED = """
    CREATE TABLE customers AS SELECT range AS id, range % 3 AS shirtNumber FROM range(50);
    CREATE TABLE categories AS SELECT 'c' || range AS category_id FROM range(9);
    CREATE TABLE orders AS SELECT range AS order_id, range % 50 AS customerId,
        range % 70 AS billing_customer_id, 'c' || range % 9 AS category_id,
        range % 50 AS customer, (range % 9)::VARCHAR AS customer_id FROM range(200);
    CREATE TABLE "NATION" AS SELECT range AS "N_NATIONKEY", 'n' || range AS "N_NAME" FROM range(5);
    CREATE TABLE "SUPPLIER" AS SELECT range AS "S_SUPPKEY", range % 5 AS "S_NATIONKEY"
        FROM range(20);
    CREATE TABLE twice AS SELECT 1 AS twice_id FROM range(2);
    CREATE TABLE single AS SELECT 1 AS single_id;
    CREATE TABLE empty (id INTEGER, customer_id INTEGER);
"""


def look(connector, exclude=()):
    found = discover(connector, "world.main", exclude=exclude)
    return suggest(connector, found.tables, found.samples)


def test_names_and_values_together_suggest_keys_and_links(make):
    suggestions, notes = look(make(UNDECLARED))
    assert suggestions == [
        SuggestedKey("nation", "N_NATIONKEY", 5),
        SuggestedKey("supplier", "S_SUPPKEY", 20),
        SuggestedKey("categories", "category_id", 9),
        SuggestedKey("customers", "id", 50),
        SuggestedKey("orders", "order_id", 200),
        SuggestedLink("orders", "category_id", "categories", "category_id", 9),
        SuggestedLink("orders", "customerId", "customers", "id", 50),
        SuggestedLink("supplier", "S_NATIONKEY", "nation", "N_NATIONKEY", 5),
    ]
    (note,) = notes
    assert note.table == "orders"
    assert "billing_customer_id is named like customers.id, which lacks 20 of its 70" in note.text


def test_a_declared_link_is_not_suggested_again(make):
    assert look(make(DECLARED), exclude=["odd*"])[0] == []


def test_a_huge_table_is_not_looked_through(make, monkeypatch):
    monkeypatch.setattr(suggesting, "MAX_KEY_ROWS", 49)
    suggestions, notes = look(make(UNDECLARED), exclude=["NATION", "SUPPLIER", "twice"])
    assert not any(found.column == "customerId" for found in suggestions)
    assert any("customerId is named like customers.id" in note.text for note in notes)
    assert any("50 rows" in note.text for note in notes)


def test_a_table_whose_rows_were_deleted_in_part_is_looked_through_whole(make):
    connector = make("""
        CREATE TABLE customers (id INTEGER PRIMARY KEY);
        INSERT INTO customers SELECT * FROM range(40_000);
        DELETE FROM customers WHERE id % 2 = 1;
        CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER);
        INSERT INTO orders SELECT i, 2 * (i % 20_000) FROM range(30_000) AS r (i);
    """)
    suggestions, notes = look(connector)
    assert [str(found).partition(":")[0] for found in suggestions] == [
        "link orders.customer_id -> customers.id"
    ]
    assert notes == []
