"""Access to the stand-in for Snowflake: what is closed is told before a job, with every GRANT."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rle.cli.output import output_config
from rle.connectors.snowflake.privileges import missing
from rle.errors import (
    ConnectionError,
    NotSeenError,
    OutputExistsError,
    PermissionError,
    UnknownNameError,
)
from rle.inference.export import export, plan_outputs
from rle.spec.output import OutputConfig
from tests.connectors.warehouse import numbers
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema


@pytest.fixture
def connector(snowflake_server, monkeypatch):
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    return connector_to(snowflake_server)


@pytest.fixture
def tables(snowflake_server):
    """Ten tables of a schema of their own, by name."""
    schema = new_schema(snowflake_server)
    for i in range(10):
        snowflake_server.put(("SHOP", schema, f"T{i}"), numbers(1))
    return [f"SHOP.{schema}.T{i}" for i in range(10)]


def close(server, table):
    for privilege in ("SELECT", "OWNERSHIP"):
        server.revoke(privilege, "TABLE", table)


def sql(table):
    return ".".join(f'"{part}"' for part in table.split("."))


def test_one_of_ten_tables_is_told_with_its_grant(connector, tables, snowflake_server):
    assert connector.probe_tables([*tables, tables[0]]) == tables
    close(snowflake_server, tables[3])
    with pytest.raises(PermissionError) as caught:
        connector.probe_tables(tables)
    assert f'GRANT SELECT ON TABLE {sql(tables[3])} TO ROLE "TRAINER";' in str(caught.value)
    assert tables[4] not in str(caught.value)


def test_a_table_that_is_seen_but_closed_is_not_called_absent(connector, tables, snowflake_server):
    snowflake_server.revoke("SELECT", "TABLE", tables[3])
    with pytest.raises(PermissionError, match="t3 is there, and TRAINER may not read") as caught:
        connector.probe_tables(name.lower() for name in tables)
    assert f'GRANT SELECT ON TABLE {sql(tables[3])} TO ROLE "TRAINER";' in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_two_closed_tables_are_told_at_once(connector, tables, snowflake_server):
    for table in tables[:2]:
        close(snowflake_server, table)
    with pytest.raises(NotSeenError) as caught:
        connector.probe_tables(tables)
    assert all(f"ON TABLE {sql(table)} TO" in str(caught.value) for table in tables[:2])
    assert f"There is no table or view in Snowflake named {tables[0]!r}, or" in str(caught.value)
    assert f"The same goes for {tables[1]!r}." in str(caught.value)


def test_a_table_that_was_dropped_is_not_taken_for_an_unlike_one(connector, tables):
    schema = tables[0].rpartition(".")[0]
    for ask in (connector.arrow_schema, lambda name: connector.probe_tables([name])):
        with pytest.raises(NotSeenError) as caught:
            ask(f"{schema}.CUSTOMERS")
        assert "Did you mean" not in str(caught.value)
        assert f"Known: {tables[0]!r}, " in str(caught.value)
        assert "GRANT SELECT ON TABLE" in str(caught.value)


def test_a_slip_of_the_pen_is_told_with_the_nearest(connector, tables):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'SHOP\.T\d+\.T\d'"):
        connector.probe_tables([tables[0].replace(".T0", ".TT0")])


def test_missing_says_what_to_grant_and_nothing_else(connector, tables, snowflake_server):
    place = tables[0].rpartition(".")[0]
    found = missing(connector, tables, place)
    assert (found.statements, found.warnings) == ([], [])
    close(snowflake_server, tables[3])
    snowflake_server.revoke("CREATE TABLE", "SCHEMA", place)
    found = missing(connector, tables, place)
    assert found.statements == [
        f'GRANT SELECT ON TABLE {sql(tables[3])} TO ROLE "TRAINER"',
        f'GRANT CREATE TABLE ON SCHEMA {sql(place)} TO ROLE "TRAINER"',
    ]


def test_a_schema_that_may_not_be_used_is_told(connector, tables, snowflake_server):
    place = tables[0].rpartition(".")[0]
    snowflake_server.revoke("USAGE", "SCHEMA", place)
    found = missing(connector, tables[:1])
    assert f'GRANT USAGE ON SCHEMA {sql(place)} TO ROLE "TRAINER"' in found.statements


def test_a_prediction_is_planned_only_where_it_can_be_written(connector, tables, snowflake_server):
    database, schema, _ = tables[0].split(".")
    output = OutputConfig.snowflake(database_name=database, schema_name=schema)
    plan = plan_outputs(output, connector, alias="may")
    assert plan.predictions == f"SHOP.{schema}.PREDICTIONS_MAY"
    snowflake_server.revoke("CREATE TABLE", "SCHEMA", f"SHOP.{schema}")
    with pytest.raises(PermissionError, match=r"GRANT CREATE TABLE ON SCHEMA"):
        plan_outputs(output, connector, alias="may")


def test_results_go_to_a_schema_of_any_name(connector, snowflake_server):
    snowflake_server.add_schema("SHOP", "my schema")
    output = OutputConfig.snowflake(database_name="shop", schema_name="my schema")
    plan = plan_outputs(
        output, connector, alias="may", entity_columns=["größe"], extract_embeddings=True
    )
    assert plan.predictions == 'shop."my schema".PREDICTIONS_MAY'
    assert plan.embeddings["größe"] == 'shop."my schema"."EMBEDDINGS_GRÖSSE_MAY"'
    export(plan, [numbers(0).schema] * 2, [(i, b) for i in (0, 1) for b in numbers(3).to_batches()])
    assert [connector.num_rows(table) for table in plan.tables] == [3, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda schema: OutputConfig.snowflake(database_name="SHOP", schema_name=schema),
        lambda schema: OutputConfig.warehouse(database_name="SHOP", schema_name=schema),
        lambda schema: output_config(f"SHOP.{schema}", None, "parquet"),
    ],
    ids=["snowflake", "warehouse", "command line"],
)
@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ("scores", '"scores"'),
        ("größe 表", '"größe 表"'),
        ('a "b".c', '"a ""b"".c"'),
    ],
)
def test_an_output_schema_of_any_name_is_written_to(
    connector, snowflake_server, make, schema, written
):
    snowflake_server.add_schema("SHOP", schema)
    output = make(written)
    assert missing(connector, [], output.full_schema).statements == []
    plan = plan_outputs(output, connector, alias="may", overwrite_results=True)
    assert plan.predictions == f"SHOP.{written}.PREDICTIONS_MAY"
    export(plan, [numbers(0).schema], [(0, b) for b in numbers(3).to_batches()])
    assert connector.num_rows(plan.predictions) == 3
    assert ["SHOP", schema, "PREDICTIONS_MAY"] in snowflake_server.state()["tables"]


def test_a_schema_in_small_letters_is_suggested_with_its_quotes(connector, snowflake_server):
    snowflake_server.add_schema("SHOP", "scores")
    output = OutputConfig.snowflake(database_name="SHOP", schema_name="scores")
    with pytest.raises(UnknownNameError, match="Did you mean '\"scores\"'"):
        plan_outputs(output, connector, alias="may")


def test_a_name_that_is_taken_is_told_as_it_is_stored(connector, tables):
    with pytest.raises(OutputExistsError) as caught:
        connector.can_create(tables[0].lower())
    assert str(caught.value).startswith(f"{tables[0]} exists already")


def test_grants_that_are_not_shown_stop_nobody(connector, tables, monkeypatch, caplog):
    from rle.connectors.snowflake.session import Session
    from rle.errors import ValidationError

    real = Session.execute

    def mute(self, statement, params=()):
        if statement.startswith("SHOW GRANTS"):
            raise ValidationError("unsupported")
        return real(self, statement, params)

    monkeypatch.setattr(Session, "execute", mute)
    place = tables[0].rpartition(".")[0]
    connector.write(f"{place}.P", numbers(2).to_batches(), schema=numbers(0).schema)
    assert f"Whether {place}.P can be created cannot be verified" in caplog.text
    found = missing(connector, tables, place)
    assert found.statements == []
    assert "cannot be verified" in found.warnings[0]


def test_an_account_that_is_away_is_no_missing_grant(connector, tables, snowflake_server):
    away = connector_to(snowflake_server, port=1, login_timeout_s=1, network_timeout_s=1)
    with pytest.raises(ConnectionError):
        missing(away, tables)


def test_odd_names_cannot_break_out_of_a_statement(connector, snowflake_server):
    schema = new_schema(snowflake_server)
    odd = 'x"; DROP TABLE "SHOP'
    name = f'SHOP.{schema}."{odd.replace(chr(34), chr(34) * 2)}"'
    rows = pa.table({odd: [1, 2]})
    assert connector.write(name, rows.to_batches(), schema=rows.schema) == 2
    assert connector.probe_tables([name]) == [name]
    close(snowflake_server, name)
    with pytest.raises(PermissionError) as caught:
        connector.probe_tables([name])
    assert f'ON TABLE "SHOP"."{schema}"."x""; DROP TABLE ""SHOP" TO ROLE "TRAINER"' in str(
        caught.value
    )
