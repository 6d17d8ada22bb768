"""What a warehouse has declared about keys, and what is in a schema."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.connectors.keys import DeclaredLink, TableKeys
from rle.connectors.local import LocalConnector
from rle.errors import UnknownNameError, ValidationError

TABLES = """
    CREATE SCHEMA "odd.schema";
    CREATE TABLE Lands (Code VARCHAR PRIMARY KEY, number INTEGER UNIQUE);
    CREATE TABLE "the ""items"" of" (
        order_id INTEGER, line INTEGER, "the land" VARCHAR REFERENCES LANDS (CODE),
        other INTEGER REFERENCES lands (NUMBER), PRIMARY KEY (ORDER_ID, LINE)
    );
    CREATE TABLE parts (
        id INTEGER PRIMARY KEY, part_of INTEGER REFERENCES parts (id), order_id INTEGER,
        line INTEGER, UNIQUE (order_id, line),
        FOREIGN KEY (Order_Id, Line) REFERENCES "the ""items"" of" (order_id, line)
    );
    CREATE TABLE "odd.schema".parts (id INTEGER UNIQUE);
    CREATE VIEW lands_again AS SELECT * FROM lands;
"""


@pytest.fixture
def world(tmp_path):
    with duckdb.connect(str(tmp_path / "world.duckdb")) as con:
        con.execute(TABLES).fetchall()
    return DuckDBConnector(database=str(tmp_path / "world.duckdb"))


def test_keys_come_as_declared_and_spelt_as_the_table_spells_them(world):
    assert world.table_keys("world.main.lands") == TableKeys(("Code",), (("number",),))
    assert world.table_keys('WORLD.MAIN.the "items" of') == TableKeys(
        primary=("order_id", "line"),
        foreign=(
            DeclaredLink(("the land",), "world.main.Lands", ("Code",)),
            DeclaredLink(("other",), "world.main.Lands", ("number",)),
        ),
    )


def test_links_may_lead_to_the_table_itself_and_over_several_columns(world):
    assert world.table_keys("world.main.parts") == TableKeys(
        primary=("id",),
        unique=(("order_id", "line"),),
        foreign=(
            DeclaredLink(("part_of",), "world.main.parts", ("id",)),
            DeclaredLink(("order_id", "line"), 'world.main.the "items" of', ("order_id", "line")),
        ),
    )


def test_a_table_of_the_same_name_elsewhere_has_keys_of_its_own(world):
    assert world.table_keys('world."odd.schema".parts') == TableKeys(unique=(("id",),))


def test_views_and_files_declare_nothing(world, tmp_path):
    assert world.table_keys("world.main.lands_again") == TableKeys()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "things.parquet")
    local = LocalConnector(connector_type="parquet", url=str(tmp_path))
    assert local.table_keys(str(tmp_path / "things.parquet")) == TableKeys()


def test_keys_of_a_table_that_is_not_there(world):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'world\.main\.parts'"):
        world.table_keys("world.main.part")


def test_a_schema_has_the_tables_that_are_in_it(world, tmp_path):
    assert world.sources_in("WORLD.Main") == [
        "world.main.Lands",
        "world.main.lands_again",
        "world.main.parts",
        'world.main.the "items" of',
    ]
    assert world.sources_in('world."odd.schema"') == ['world."odd.schema".parts']
    pq.write_table(pa.table({"id": [1]}), tmp_path / "things.parquet")
    local = LocalConnector(connector_type="parquet", url=str(tmp_path))
    assert local.sources_in(f"{tmp_path.name}.main") == local.sources()


def test_a_schema_that_is_not_there_or_is_no_schema(world):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'world\.main'"):
        world.sources_in("world.mian")
    for name in ("world", "world.main.parts", "world.", ""):
        with pytest.raises(ValidationError, match=r"must have the form DB\.SCHEMA"):
            world.sources_in(name)
