"""A role that has what `rle snowflake grants` prints, and nothing else; then one thing less."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rle.connectors.snowflake.grants import grants_for
from rle.connectors.snowflake.session import close_sessions, session
from rle.errors import ConnectionError, NotSeenError, PermissionError
from rle.inference.export import export, plan_outputs
from rle.spec.output import OutputConfig
from tests.connectors.warehouse import numbers, read_all
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema

ROLE = "ANALYST"


class Shop:
    """Ten tables and a view in one schema, results in another, and a role that holds nothing."""

    def __init__(self, server):
        close_sessions()  # a session keeps a warehouse that it has
        self.source, self.target = new_schema(server), new_schema(server)
        for i in range(10):
            server.put(("SHOP", self.source, f"T{i}"), numbers(i))
        self.tables = [f"SHOP.{self.source}.T{i}" for i in range(10)]
        self.view = f"SHOP.{self.source}.V"
        roles = ["TRAINER", "PUBLIC", "ACCOUNTADMIN", ROLE]
        server.add_user(server.user, password=server.password, roles=roles)
        self.run([f"CREATE VIEW {self.view} AS SELECT * FROM {self.tables[3]}"], server)
        for role in (ROLE, "PUBLIC"):
            server.close_role(role)
        self.needed = grants_for(
            self.tables, f"SHOP.{self.target}", ROLE, views=[self.view], warehouse="WH"
        )
        self.server = server
        self.connector = connector_to(server, role=ROLE)
        self.output = OutputConfig.snowflake(database_name="SHOP", schema_name=self.target)

    def run(self, statements, server=None):
        with session(connector_to(server or self.server, role="ACCOUNTADMIN")) as opened:
            for statement in statements:
                opened.execute(statement)

    def preflight(self):
        """What is asked before a job is made."""
        self.connector.check_access()
        self.connector.probe_tables([*self.tables, self.view])
        return plan_outputs(self.output, self.connector, alias="may", overwrite_results=True)


@pytest.fixture
def shop(snowflake_server, monkeypatch):
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    return Shop(snowflake_server)


def test_what_is_printed_is_enough(shop):
    shop.run(shop.needed)
    for num_rows in (3, 5):
        plan = shop.preflight()
        rows = numbers(num_rows)
        export(plan, [rows.schema], [(0, batch) for batch in rows.to_batches()])
        assert shop.connector.num_rows(plan.predictions) == num_rows
    for num_rows, source in [*enumerate(shop.tables), (3, shop.view)]:
        columns = shop.connector.arrow_schema(source).names
        assert read_all(shop.connector, source, columns, 4).num_rows == num_rows
    vectors = pa.table({"V": pa.array([[0.5, 1.0]], pa.list_(pa.float32(), 2))})
    name = f"SHOP.{shop.target}.VECTORS"
    assert shop.connector.write(name, vectors.to_batches(), schema=vectors.schema) == 1


def test_a_whole_database_is_enough_too(shop):
    shop.run(grants_for([], f"SHOP.{shop.target}", ROLE, warehouse="WH", database="SHOP"))
    shop.preflight()


@pytest.mark.parametrize(
    "without",
    [
        "USAGE ON WAREHOUSE WH",
        "USAGE ON DATABASE SHOP",
        "USAGE ON SCHEMA SHOP.{0.source}",
        "USAGE ON SCHEMA SHOP.{0.target}",
        "SELECT ON TABLE SHOP.{0.source}.T0",
        "SELECT ON TABLE SHOP.{0.source}.T9",
        "CREATE TABLE ON SCHEMA SHOP.{0.target}",
    ],
)
def test_one_less_is_told_before_a_job_with_its_statement(shop, without):
    wanted = f"GRANT {without.format(shop)} TO ROLE {ROLE}"
    (left_out,) = [grant for grant in shop.needed if grant.replace('"', "") == wanted]
    shop.run([grant for grant in shop.needed if grant != left_out])
    with pytest.raises((PermissionError, ConnectionError)) as caught:
        shop.preflight()
    told = str(caught.value).replace('"', "")
    assert wanted in told
    others = [grant.replace('"', "") for grant in shop.needed if grant != left_out]
    assert [grant for grant in others if f"{grant};" in told] == []


def test_a_view_is_granted_as_one(shop):
    wanted = f"GRANT SELECT ON VIEW SHOP.{shop.source}.V TO ROLE {ROLE}"
    shop.run([grant for grant in shop.needed if grant.replace('"', "") != wanted])
    with pytest.raises(NotSeenError, match=r"\(ON VIEW, where it is a view\.\)"):
        shop.preflight()
    shop.run([f"GRANT REFERENCES ON VIEW {shop.view} TO ROLE {ROLE}"])
    with pytest.raises(PermissionError) as caught:
        shop.preflight()
    assert wanted in str(caught.value).replace('"', "")
