"""What others may do with a table that is replaced: they may do it with the new one."""

from __future__ import annotations

import logging

import pytest

from rle.connectors.base import NewTable
from rle.connectors.snowflake.session import Session, session
from rle.errors import NotSeenError, PermissionError
from tests.connectors.warehouse import numbers
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema

READER = "READER"


class Place:
    """A schema, a role that reads its tables, and one that wrote them."""

    def __init__(self, server):
        self.server, self.schema = server, new_schema(server)
        roles = ["TRAINER", "PUBLIC", "ACCOUNTADMIN", READER, "Odd.Role"]
        server.add_user(server.user, password=server.password, roles=roles)
        self.writer, self.reader = connector_to(server), connector_to(server, role=READER)

    def name(self, table):
        return f"SHOP.{self.schema}.{table}"

    def write(self, *tables, num_rows, replace=False):
        new = [NewTable(self.name(table), numbers(0).schema) for table in tables]
        rows = [(i, b) for i in range(len(tables)) for b in numbers(num_rows).to_batches()]
        replacing = [self.name(table) for table in tables] if replace else ()
        self.writer.write_tables(new, rows, replacing=replacing)

    def open_to_readers(self, *tables):
        for role in (READER, "Odd.Role"):
            self.server.close_role(role)
        place = f"SHOP.{self.schema}"
        grants = [
            f"USAGE ON DATABASE SHOP TO ROLE {READER}",
            f"USAGE ON SCHEMA {place} TO ROLE {READER}",
            f"USAGE ON WAREHOUSE WH TO ROLE {READER}",
            *(f"SELECT ON TABLE {self.name(table)} TO ROLE {READER}" for table in tables),
            *(f'REFERENCES ON TABLE {self.name(table)} TO ROLE "Odd.Role"' for table in tables),
        ]
        with session(connector_to(self.server, role="ACCOUNTADMIN")) as opened:
            for grant in grants:
                opened.execute(f"GRANT {grant}")


@pytest.fixture
def place(snowflake_server, monkeypatch):
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    return Place(snowflake_server)


@pytest.mark.parametrize("tables", [("P",), ("A", "P")])
def test_readers_of_the_old_table_read_the_new_one(place, tables, caplog):
    place.write(*tables, num_rows=3)
    place.open_to_readers(*tables)
    for num_rows in (5, 7):
        place.write(*tables, num_rows=num_rows, replace=True)
        assert [place.reader.num_rows(place.name(table)) for table in tables] == [num_rows] * len(
            tables
        )
    with session(place.writer) as opened:
        (row,) = [
            row
            for row in opened.rows(f"SHOW GRANTS ON TABLE {place.name('P')}")
            if row["grantee_name"] == "Odd.Role"
        ]
    assert row["privilege"] == "REFERENCES"
    assert caplog.text == ""


def test_a_table_that_is_new_is_open_to_nobody(place):
    place.write("OLD", num_rows=3)
    place.open_to_readers("OLD")
    place.write("P", num_rows=3)
    with pytest.raises(NotSeenError):
        place.reader.num_rows(place.name("P"))


def test_grants_that_cannot_be_given_are_told_with_their_statements(place, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    place.write("P", num_rows=3)
    place.open_to_readers("P")
    real = Session.execute

    def managed(self, sql, params=()):
        if sql.startswith("GRANT "):
            raise PermissionError("only the owner of the schema may")
        return real(self, sql, params)

    monkeypatch.setattr(Session, "execute", managed)
    place.write("P", num_rows=5, replace=True)
    assert place.writer.num_rows(place.name("P")) == 5
    table = f'"SHOP"."{place.schema}"."P"'
    assert (
        f'Ask an administrator to run: GRANT REFERENCES ON TABLE {table} TO ROLE "Odd.Role"; '
        f'GRANT SELECT ON TABLE {table} TO ROLE "READER";'
    ) in caplog.text


@pytest.mark.parametrize(
    ("row", "told", "is_run"),
    [
        (("SELECT", "DATABASE_ROLE", "SHOP.R"), 'TO DATABASE ROLE "SHOP"."R"', True),
        (("SELECT", "DATABASE_ROLE", '"r.x"'), 'TO DATABASE ROLE "SHOP"."r.x"', True),
        (("SELECT", "ROLE", '"odd.one"'), 'TO ROLE "odd.one"', True),
        (("SELECT", "ROLE", "odd.two"), 'TO ROLE "odd.two"', True),
        (("SELECT", "ROLE", ""), "TO ROLE ;", False),
        (("SELECT", "SHARE", "ORG.ACC.S"), "TO SHARE ORG.ACC.S", False),
        (("SELECT; DROP", "ROLE", "R"), "TO ROLE R", False),
        (("OWNERSHIP", "ROLE", "BOSS"), 'TO ROLE "BOSS" COPY CURRENT GRANTS;', False),
    ],
)
def test_whoever_is_no_role_of_the_account(place, row, told, is_run, monkeypatch, caplog):
    place.write("P", num_rows=3)
    real_rows, real, run = Session.rows, Session.execute, []

    def recorded(self, sql, params=()):
        if not sql.startswith("SHOW GRANTS ON TABLE"):
            return real_rows(self, sql, params)
        names = ("privilege", "granted_to", "grantee_name")
        return [dict(zip(names, row, strict=True), grant_option="true")] * ("RLE_TMP" not in sql)

    def noted(self, sql, params=()):
        if not sql.startswith("GRANT "):
            return real(self, sql, params)
        return run.append(sql)

    monkeypatch.setattr(Session, "rows", recorded)
    monkeypatch.setattr(Session, "execute", noted)
    place.write("P", num_rows=5, replace=True)
    if is_run:
        (statement,) = run
        assert statement.endswith(f"{told} WITH GRANT OPTION")
    else:
        assert run == []
    assert (told in caplog.text) == (not is_run)
