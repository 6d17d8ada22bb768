"""What a role needs and lacks, worked out from names and from recorded answers."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from rle.connectors.snowflake import privileges
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.grants import grants_for
from rle.connectors.snowflake.names import read
from rle.connectors.snowflake.privileges import check_create, held_by, missing, name_parts
from rle.connectors.snowflake.remedies import Where
from rle.errors import NotSeenError, PermissionError, ValidationError


def test_grants_name_what_is_used_and_nothing_more():
    assert grants_for(
        ["shop.public.orders", 'SHOP.PUBLIC."o""d.d"', "shop.public.orders", "shop.web.clicks"],
        "shop.results",
        "trainer",
        views=["SHOP.WEB.CLICKS"],
        warehouse="wh",
    ) == [
        'GRANT USAGE ON WAREHOUSE "WH" TO ROLE "TRAINER"',
        'GRANT USAGE ON DATABASE "SHOP" TO ROLE "TRAINER"',
        'GRANT USAGE ON SCHEMA "SHOP"."PUBLIC" TO ROLE "TRAINER"',
        'GRANT USAGE ON SCHEMA "SHOP"."WEB" TO ROLE "TRAINER"',
        'GRANT USAGE ON SCHEMA "SHOP"."RESULTS" TO ROLE "TRAINER"',
        'GRANT SELECT ON TABLE "SHOP"."PUBLIC"."ORDERS" TO ROLE "TRAINER"',
        'GRANT SELECT ON TABLE "SHOP"."PUBLIC"."o""d.d" TO ROLE "TRAINER"',
        'GRANT SELECT ON VIEW "SHOP"."WEB"."CLICKS" TO ROLE "TRAINER"',
        'GRANT CREATE TABLE ON SCHEMA "SHOP"."RESULTS" TO ROLE "TRAINER"',
    ]


def test_a_role_keeps_its_case_in_double_quotes():
    assert grants_for([], "A.B", '"My role"')[0].endswith('TO ROLE "My role"')


@pytest.mark.parametrize("role", ["", "my role", "a; DROP TABLE B", 'x" y'])
def test_a_role_that_is_no_name_is_refused(role):
    with pytest.raises(ValidationError, match="Role"):
        grants_for([], "A.B", role)


def test_a_whole_schema_is_granted_when_it_is_asked_for():
    told = grants_for([], None, "r", schema="shop.public")
    assert told[-2:] == [
        'GRANT SELECT ON ALL TABLES IN SCHEMA "SHOP"."PUBLIC" TO ROLE "R"',
        'GRANT SELECT ON ALL VIEWS IN SCHEMA "SHOP"."PUBLIC" TO ROLE "R"',
    ]
    with pytest.raises(ValidationError, match="Grants on what"):
        grants_for([], None, "r")


@pytest.mark.parametrize(
    ("shown", "parts"),
    [
        ("SHOP", ("SHOP",)),
        ("SHOP.PUBLIC.ORDERS", ("SHOP", "PUBLIC", "ORDERS")),
        ('SHOP."a.b"."c ""d"""', ("SHOP", "a.b", 'c "d"')),
        ('""""', ('"',)),
        ('"open', ('"open',)),
    ],
)
def test_names_of_show_grants_are_taken_apart(shown, parts):
    assert name_parts(shown) == parts


class Recorded:
    """A session that answers SHOW GRANTS as an account has, and refuses some tables."""

    current_role = "TRAINER"
    where = Where(role="TRAINER")

    def __init__(self, grants, closed=(), tells=True):
        self.grants, self.closed, self.tells = grants, closed, tells
        self.asked = []

    def rows(self, sql):
        self.asked.append(sql)
        if not self.tells:
            raise ValidationError("unsupported")
        holder = sql.removeprefix("SHOW GRANTS TO ").replace('"', "")
        return [
            {"privilege": privilege, "granted_on": kind, "name": name}
            for privilege, kind, name in self.grants.get(holder, ())
        ]

    def execute(self, sql):
        if any(read(name).sql in sql for name in self.closed):
            raise NotSeenError("table", sql, (), "way out")


IN_OUT = [("USAGE", "DATABASE", "SHOP"), ("USAGE", "SCHEMA", "SHOP.OUT")]
P = read("SHOP.OUT.P")


def test_grants_come_from_all_roles_below_even_in_a_circle():
    session = Recorded(
        {
            "ROLE TRAINER": [("USAGE", "ROLE", "READER"), *IN_OUT],
            "ROLE READER": [
                ("USAGE", "DATABASE_ROLE", "SHOP.WRITER"),
                ("USAGE", "ROLE", "TRAINER"),
            ],
            "DATABASE ROLE SHOP.WRITER": [("CREATE TABLE", "SCHEMA", "SHOP.OUT")],
        }
    )
    check_create(held_by(session), P)
    assert held_by(session).roles == {"TRAINER", "READER", "PUBLIC"}


def test_a_schema_without_create_table_says_the_statement():
    session = Recorded({"ROLE TRAINER": IN_OUT})
    with pytest.raises(PermissionError) as caught:
        check_create(held_by(session), P)
    assert str(caught.value) == (
        "SHOP.OUT.P cannot be created: role TRAINER may not create tables in SHOP.OUT. Ask an "
        'administrator to run: GRANT CREATE TABLE ON SCHEMA "SHOP"."OUT" TO ROLE "TRAINER";'
    )


def test_whoever_owns_a_schema_may_create_in_it():
    check_create(held_by(Recorded({"ROLE TRAINER": [("OWNERSHIP", "SCHEMA", "SHOP.OUT")]})), P)


def test_grants_that_are_not_told_are_not_guessed():
    assert held_by(Recorded({}, tells=False)) is None


def test_a_table_of_another_role_is_not_replaced():
    session = Recorded({"ROLE TRAINER": [*IN_OUT, ("CREATE TABLE", "SCHEMA", "SHOP.OUT")]})
    check_create(held_by(session), P, owner="TRAINER")
    with pytest.raises(PermissionError, match=r"owned by role BOSS.*GRANT OWNERSHIP ON TABLE"):
        check_create(held_by(session), P, owner="BOSS")


@pytest.fixture
def account(monkeypatch):
    """Return a function that lets `missing` meet a recorded session."""

    def use(session):
        @contextmanager
        def opened(*_, **__):
            yield session

        monkeypatch.setattr(privileges, "session", opened)
        return SnowflakeConnector(account="a", user="u", password_variable="P", warehouse="wh")

    return use


def test_missing_names_each_statement_once(account):
    sees_all_but_select = [*IN_OUT, ("USAGE", "SCHEMA", "SHOP.RAW"), ("USAGE", "WAREHOUSE", "WH")]
    tables = [f"SHOP.RAW.T{i}" for i in range(10)]
    session = Recorded({"ROLE TRAINER": sees_all_but_select}, closed=["SHOP.RAW.T3"])
    found = missing(account(session), [*tables, "SHOP.RAW.T3"], "SHOP.OUT")
    assert found.statements == [
        'GRANT SELECT ON TABLE "SHOP"."RAW"."T3" TO ROLE "TRAINER"',
        'GRANT CREATE TABLE ON SCHEMA "SHOP"."OUT" TO ROLE "TRAINER"',
    ]
    assert found.warnings == []


def test_nothing_is_missing_where_everything_works(account):
    enough = [*IN_OUT, ("CREATE TABLE", "SCHEMA", "SHOP.OUT"), ("USAGE", "WAREHOUSE", "WH")]
    # A share's tables are in no SHOW GRANTS, and can be read all the same.
    found = missing(account(Recorded({"ROLE TRAINER": enough})), ["SHARED.S.T"], "SHOP.OUT")
    assert (found.statements, found.warnings) == ([], [])


def test_what_is_granted_and_not_seen_may_be_gone(account):
    granted = [*IN_OUT, ("SELECT", "TABLE", "SHOP.OUT.T"), ("USAGE", "WAREHOUSE", "WH")]
    session = Recorded({"ROLE TRAINER": granted}, closed=["SHOP.OUT.T"])
    found = missing(account(session), ["SHOP.OUT.T"])
    assert len(found.statements) == 3
    assert "it is not there, or a grant is missing" in found.warnings[0]


def test_grants_that_are_not_shown_are_a_warning(account):
    found = missing(account(Recorded({}, tells=False)), ["SHOP.RAW.T"], "SHOP.OUT")
    assert found.statements == []
    assert "cannot be verified" in found.warnings[0]


def test_check_tables_tells_of_all_at_once(account):
    session = Recorded({"ROLE TRAINER": IN_OUT}, closed=["SHOP.OUT.B", "SHOP.OUT.C"])
    connector = account(session)
    assert privileges.check_tables(connector, ["SHOP.OUT.A", "SHOP.OUT.A"]) == ["SHOP.OUT.A"]
    with pytest.raises(PermissionError) as caught:
        privileges.check_tables(connector, ["SHOP.OUT.A", "SHOP.OUT.B", "SHOP.OUT.C"])
    assert "'SHOP.OUT.B'" in str(caught.value)
    assert "The same goes for 'SHOP.OUT.C'" in str(caught.value)
    assert 'GRANT SELECT ON TABLE "SHOP"."OUT"."B" TO ROLE "TRAINER"; GRANT SELECT ON' in str(
        caught.value
    )
