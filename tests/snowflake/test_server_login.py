"""The stand-in for Snowflake lets in whom it should, and no role does what was not granted."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rle.testing.fake_snowflake import driver_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.testing.fake_snowflake import FakeSnowflake


@pytest.fixture
def cursor(snowflake_server: FakeSnowflake) -> Iterator[Any]:
    with snowflake_server.connect() as connection:
        yield connection.cursor()


def refusal(server: FakeSnowflake, **changes: Any) -> str:
    """What logging in is answered with."""
    import snowflake.connector

    with pytest.raises(snowflake.connector.errors.Error) as caught:
        server.connect(**changes)
    return str(caught.value)


def refused(cursor: Any, sql: str) -> str:
    import snowflake.connector

    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute(sql)
    return str(caught.value)


def whoami(server: FakeSnowflake, **changes: Any) -> str:
    with server.connect(**changes) as connection:
        return str(connection.cursor().execute("select current_user()").fetchone()[0])


@pytest.mark.parametrize("wrong", [{"password": "no"}, {"user": "NOBODY"}])
def test_a_wrong_password_and_an_unknown_user_look_the_same(snowflake_server, wrong):
    assert "Incorrect username or password was specified" in refusal(snowflake_server, **wrong)


def test_locked_and_disabled_users(snowflake_server):
    snowflake_server.add_user("LOU", password="p", is_locked=True)
    assert "temporarily locked" in refusal(snowflake_server, user="LOU", password="p")
    snowflake_server.add_user("LOU", is_locked=False, is_disabled=True)
    assert "access disabled" in refusal(snowflake_server, user="LOU", password="p")


def test_oauth(snowflake_server):
    good, old = secrets.token_hex(), secrets.token_hex()
    snowflake_server.add_user("OLA", oauth_tokens={good: True, old: False})
    login = {"user": "OLA", "password": None, "authenticator": "oauth"}
    assert whoami(snowflake_server, token=good, **login) == "OLA"
    assert "expired" in refusal(snowflake_server, token=old, **login)
    assert "Invalid OAuth access token" in refusal(snowflake_server, token="x", **login)


def test_programmatic_access_token(snowflake_server):
    good, old = secrets.token_hex(), secrets.token_hex()
    snowflake_server.add_user("PAT", access_tokens={good: True, old: False})
    login = {"user": "PAT", "password": None, "authenticator": "PROGRAMMATIC_ACCESS_TOKEN"}
    assert whoami(snowflake_server, token=good, **login) == "PAT"
    assert whoami(snowflake_server, user="PAT", password=good) == "PAT"
    assert "expired" in refusal(snowflake_server, token=old, **login)
    assert "token is invalid" in refusal(snowflake_server, token="x", **login)


def write_key(file: Path, passphrase: bytes) -> str:
    """Writes a private key; returns the public one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
    )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_key_pair(snowflake_server, tmp_path: Path):
    public = write_key(tmp_path / "good.p8", b"open sesame")
    write_key(tmp_path / "other.p8", b"open sesame")
    snowflake_server.add_user("KAY", public_key=public)
    passphrase = "private_key_file_pwd" if driver_version()[0] < 5 else "private_key_password"
    login = {
        "user": "KAY",
        "password": None,
        "authenticator": "SNOWFLAKE_JWT",
        passphrase: "open sesame",
    }
    good, other = str(tmp_path / "good.p8"), str(tmp_path / "other.p8")
    assert whoami(snowflake_server, private_key_file=good, **login) == "KAY"
    assert "JWT token is invalid" in refusal(snowflake_server, private_key_file=other, **login)


def test_network_policy(snowflake_server):
    snowflake_server.settings(allowed_addresses=["10.0.0.1"])
    assert "is not allowed to access Snowflake" in refusal(snowflake_server)


def test_a_role_the_user_does_not_have(snowflake_server):
    assert "NOBODY" in refusal(snowflake_server, role="NOBODY")


def test_an_unknown_warehouse_is_not_current(snowflake_server):
    snowflake_server.put("ONE", pa.table({"ID": [1]}))
    with snowflake_server.connect(warehouse="NOWHERE") as connection:
        cursor = connection.cursor()
        assert cursor.execute("select current_warehouse()").fetchone() == (None,)
        assert cursor.execute("show tables").fetchall()
        assert "No active warehouse" in refused(cursor, "select * from one")


def test_suspended_warehouses(snowflake_server, cursor):
    snowflake_server.put("ONE", pa.table({"ID": [1]}))
    snowflake_server.add_warehouse("WH", is_suspended=True)
    assert cursor.execute("select * from one").fetchall() == [(1,)]  # it wakes by itself
    snowflake_server.add_warehouse("WH", is_suspended=True, resumes=False)
    assert "000606" in refused(cursor, "select * from one")
    cursor.execute("alter warehouse wh resume if suspended")
    assert cursor.execute("select * from one").fetchall() == [(1,)]
    snowflake_server.add_warehouse("WH", quota_is_used=True)
    assert "exceeded its quota" in refused(cursor, "select * from one")


def test_a_session_token_that_expires_is_renewed(snowflake_server, cursor):
    snowflake_server.expire()
    assert cursor.execute("select 1").fetchall() == [(1,)]


def test_a_session_whose_master_token_expires_is_over(snowflake_server, cursor):
    snowflake_server.expire(master=True)
    assert "390114" in refused(cursor, "select 1")


def test_missing_grants(snowflake_server, cursor):
    name = "SHOP.PUBLIC.SECRET"
    snowflake_server.put("SECRET", pa.table({"ID": [1]}))
    snowflake_server.revoke("SELECT", "TABLE", name)
    assert "003001 (42501)" in refused(cursor, "select * from secret")
    snowflake_server.revoke("ALL", "TABLE", name, role="TRAINER")
    assert "002003 (02000)" in refused(cursor, "select * from secret")
    granted = cursor.execute("show grants to role trainer").fetchall()
    assert name not in {row[3] for row in granted}
    assert "SECRET" not in {row[1] for row in cursor.execute("show tables").fetchall()}


@pytest.mark.parametrize(
    ("privilege", "kind", "name", "sql"),
    [
        ("USAGE", "DATABASE", "SHOP", "select * from one"),
        ("USAGE", "SCHEMA", "SHOP.PUBLIC", "select * from one"),
        ("CREATE TABLE", "SCHEMA", "SHOP.OUT", "create table shop.out.new (id int)"),
        ("CREATE STAGE", "SCHEMA", "SHOP.OUT", "create temporary stage shop.out.new"),
        ("USAGE", "WAREHOUSE", "WH", "use warehouse wh"),
        ("INSERT", "TABLE", "SHOP.PUBLIC.ONE", "insert into one values (2)"),
    ],
)
def test_every_privilege_is_wanted_and_its_grant_helps(
    snowflake_server, cursor, privilege, kind, name, sql
):
    snowflake_server.put("ONE", pa.table({"ID": [1]}))
    cursor.execute("drop table if exists shop.out.new")
    snowflake_server.revoke(privilege, kind, name, role="TRAINER")
    said = refused(cursor, sql)
    assert "not authorized" in said or "Insufficient" in said or "cannot be performed" in said
    with snowflake_server.connect(role="ACCOUNTADMIN") as admin:
        admin.cursor().execute(f"grant {privilege} on {kind} {name} to role trainer")
    cursor.execute(sql)


def test_only_an_admin_grants(cursor):
    assert "003001" in refused(cursor, "grant usage on database shop to role public")


def test_driver_is_the_one_that_was_asked_for():
    import snowflake.connector

    assert int(snowflake.connector.__version__.split(".")[0]) == driver_version()[0]
