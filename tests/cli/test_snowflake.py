"""`rle snowflake grants`: statements on standard output, trouble on standard error."""

from __future__ import annotations

import json

import pytest

from rle.cli.output import output_config
from rle.connectors.duckdb import DuckDBConnector
from rle.connectors.snowflake import names
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.sdk.dataset_file import write_dataset
from rle.testing.shop_dataset import shop_dataset
from tests.cli.running import run

GRANTS = ("snowflake", "grants", "--role", "trainer")


def test_statements_can_be_piped_to_an_administrator():
    places = ("--database", "shop", "--schema", "public", "--output", "shop.out")
    found = run(*GRANTS, *places, "--tables", 'orders,"a,b"', "--views", "v", "--warehouse", "wh")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0] == 'GRANT USAGE ON WAREHOUSE "WH" TO ROLE "TRAINER";'
    assert lines[-4:] == [
        'GRANT SELECT ON TABLE "SHOP"."PUBLIC"."ORDERS" TO ROLE "TRAINER";',
        'GRANT SELECT ON TABLE "SHOP"."PUBLIC"."a,b" TO ROLE "TRAINER";',
        'GRANT SELECT ON VIEW "SHOP"."PUBLIC"."V" TO ROLE "TRAINER";',
        'GRANT CREATE TABLE ON SCHEMA "SHOP"."OUT" TO ROLE "TRAINER";',
    ]


def test_json_holds_the_statements():
    found = run(*GRANTS, "--tables", "a.b.c", "--json")
    assert json.loads(found.stdout)["statements"][-1].startswith(
        'GRANT SELECT ON TABLE "A"."B"."C"'
    )


def test_a_schema_alone_means_all_of_it():
    found = run(*GRANTS, "--database", "shop", "--schema", "public")
    assert 'ON ALL TABLES IN SCHEMA "SHOP"."PUBLIC"' in found.stdout


def test_a_database_alone_means_all_of_it():
    found = run(*GRANTS, "--database", "shop", "--output", "shop.out")
    assert found.stdout.splitlines() == [
        'GRANT USAGE ON DATABASE "SHOP" TO ROLE "TRAINER";',
        'GRANT USAGE ON ALL SCHEMAS IN DATABASE "SHOP" TO ROLE "TRAINER";',
        'GRANT SELECT ON ALL TABLES IN DATABASE "SHOP" TO ROLE "TRAINER";',
        'GRANT SELECT ON ALL VIEWS IN DATABASE "SHOP" TO ROLE "TRAINER";',
        'GRANT CREATE TABLE ON SCHEMA "SHOP"."OUT" TO ROLE "TRAINER";',
    ]


def test_names_are_completed_by_what_they_lack():
    found = run(*GRANTS, "--database", "shop", "--tables", 'web.clicks,"a.b"."c"')
    assert found.stdout.splitlines()[-2:] == [
        'GRANT SELECT ON TABLE "SHOP"."WEB"."CLICKS" TO ROLE "TRAINER";',
        'GRANT SELECT ON TABLE "SHOP"."a.b"."c" TO ROLE "TRAINER";',
    ]


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ("shop.out", '"SHOP"."OUT"'),
        ('shop."scores"', '"SHOP"."scores"'),
        ("shop.my schema", '"SHOP"."my schema"'),
        ('"my.shop"."a ""b"""', '"my.shop"."a ""b"""'),
        ("shop.größe", '"SHOP"."größe"'),
    ],
)
def test_the_output_is_named_as_for_a_prediction(given, schema):
    found = run(*GRANTS, "--output", given)
    assert f"GRANT CREATE TABLE ON SCHEMA {schema} TO ROLE" in found.stdout
    told = output_config(given, None, "parquet").table("P")
    assert names.read(told).sql == f'{schema}."P"'


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Grants on what?"),
        (("--tables", "orders"), "not named in full"),
        (("--schema", "public"), "'public' of which database?"),
        (("--database", "my shop"), "Database 'my shop'"),
        (("--database", "shop", "--schema", "a.b"), "DB.SCHEMA"),
        (("--output", "shop"), "--output is DB.SCHEMA"),
        (("--database", "shop", "--tables", "orders"), "not named in full"),
        (("--tables", "a.b.c;drop"), "double quotes"),
        (("--dataset", "gone.yaml"), "gone.yaml"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, told):
    found = run(*GRANTS, *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert told in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_dataset_file_names_its_tables(tmp_path, shop_db):
    here = DuckDBConnector(database=str(shop_db))
    dataset = shop_dataset(here, tables=("customers", "transactions"))
    dataset.save(tmp_path / "here.yaml")
    found = run(*GRANTS, "--dataset", str(tmp_path / "here.yaml"))
    assert "'duckdb', not from Snowflake" in found.stderr
    account = SnowflakeConnector(account="a", user="u", password_variable="P")
    away = dataset.spec.replace(connector=account)
    found = run(*GRANTS, "--dataset", str(write_dataset(away, tmp_path / "away.yaml")))
    assert found.stdout.count("GRANT SELECT ON TABLE") == 2 + 3
