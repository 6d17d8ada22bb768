"""The connector against the server: what it sees, what it may, and that it is only a value."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import rle
from rle.connectors.registry import connector_class
from rle.connectors.snowflake import access as snowflake_access
from rle.connectors.snowflake.session import Session, close_sessions
from rle.errors import ConnectionError, UnknownNameError, ValidationError
from tests.snowflake.sign_in import ask, by_password, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.testing.fake_snowflake import FakeSnowflake

ROWS = pa.table({"ID": [1, 2]})


@pytest.fixture
def server(snowflake_server: FakeSnowflake) -> Iterator[FakeSnowflake]:
    close_sessions()
    yield snowflake_server
    close_sessions()


def test_sources_are_full_names_that_can_be_read(server: FakeSnowflake) -> None:
    server.put("SEEN", ROWS)
    server.put("odd.name", ROWS)
    connector = by_password(server)
    found = connector.sources()
    assert found == sorted(found)
    assert "SHOP.PUBLIC.SEEN" in found
    assert 'SHOP.PUBLIC."odd.name"' in found
    assert not [name for name in found if "INFORMATION_SCHEMA" in name]
    assert all(connector.exists(name) for name in found)


def test_sources_of_every_kind_are_listed_and_a_list_cut_short_is_said(
    server: FakeSnowflake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = ["TABLE", "VIEW", "EXTERNAL TABLE", "TRANSIENT"]
    shown = [
        {"database_name": "SHOP", "schema_name": "PUBLIC", "name": f"T{i}", "kind": kind}
        for i, kind in enumerate(kinds)
    ]
    monkeypatch.setattr(Session, "rows", lambda *_: shown)
    assert by_password(server).sources() == [f"SHOP.PUBLIC.T{i}" for i in range(4)]
    assert not caplog.text
    monkeypatch.setattr(snowflake_access, "MAX_SOURCES", 4)
    assert len(by_password(server).sources()) == 4
    assert "some are left out" in caplog.text


def test_names_fold_as_in_snowflake(server: FakeSnowflake) -> None:
    server.put("FOLDED", ROWS)
    connector = by_password(server)
    assert connector.exists("shop.public.folded")
    assert not connector.exists('SHOP.PUBLIC."folded"')
    with pytest.raises(ValidationError, match=r"DB\.SCHEMA\.TABLE"):
        connector.probe("FOLDED")


def test_probing_reads_no_row(server: FakeSnowflake) -> None:
    server.put("PROBED", ROWS)
    by_password(server).probe("SHOP.PUBLIC.PROBED")
    assert server.queries()[-1]["sql"].endswith("LIMIT 0")
    with pytest.raises(UnknownNameError):
        by_password(server).probe("SHOP.PUBLIC.GONE")


def test_access_is_checked_by_signing_in(server: FakeSnowflake) -> None:
    assert by_password(server).check_access() == ()
    server.add_user("BARE", password=server.password, roles=["TRAINER"])
    (warning,) = by_password(server, user="BARE", warehouse=None).check_access()
    assert "No warehouse" in warning
    with pytest.raises(ConnectionError, match="user name or the password"):
        by_password(server, password="canary-wrong-2").check_access()


def test_a_server_that_is_not_there(server: FakeSnowflake) -> None:
    with pytest.raises(ConnectionError, match="does not answer"):
        by_password(server, port=9, login_timeout_s=2).check_access()


def test_it_is_the_same_through_its_json_and_a_pickle(server: FakeSnowflake) -> None:
    connector = by_password(server)
    ask(connector)
    again = connector_class("snowflake").from_json(connector.to_json())
    assert again == connector
    assert pickle.loads(pickle.dumps(connector)) == connector
    assert server.password not in connector.to_json() + repr(connector)
    assert b"correct horse" not in pickle.dumps(connector)


def test_direct_access_by_address(server: FakeSnowflake) -> None:
    where = place(server, host=None, port=None, protocol=None)
    connector = rle.SnowflakeConnectorDirectAccess(
        **where, password=server.password, endpoint_url=f"http://{server.host}:{server.port}"
    )
    assert ask(connector) == server.user
