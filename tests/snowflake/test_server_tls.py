"""HTTPS: both drivers sign in, read and write over it, and say in words whom they do not trust."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from rle.connectors.snowflake import driver
from rle.connectors.snowflake.errors import explain
from rle.connectors.snowflake.session import close_sessions, session
from rle.errors import ConnectionError, ValidationError
from rle.testing.fake_snowflake import FakeSnowflake, server_python
from tests.connectors.warehouse import numbers
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema

pytestmark = pytest.mark.snowflake
BUNDLE, OPENSSL = "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """The stand-in with a certificate of an authority of its own."""
    try:
        server_python()
    except ConnectionError as error:
        pytest.skip(str(error))
    with FakeSnowflake(tls=tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv(PASSWORD, FakeSnowflake.password)
    for name in (BUNDLE, OPENSSL, "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    yield
    close_sessions()


def secured(server, **changes):
    return connector_to(server, protocol="https", login_timeout_s=30, **changes)


def test_tables_are_read_in_batches_and_written_over_https(secure, monkeypatch):
    monkeypatch.setenv(BUNDLE, str(secure.authority))
    secure.settings(rows_per_chunk=150, first_rows=20)
    connector = secured(secure)
    schema, rows = new_schema(secure), numbers(1000)
    source = f"SHOP.{schema}.NUMBERS"
    secure.put(("SHOP", schema, "NUMBERS"), rows)
    parts = connector.chunks(source, columns=rows.column_names, max_rows=200)
    assert len(parts) > 2
    assert sum(batch.num_rows for part in parts for batch in connector.read(part)) == 1000

    written = pa.RecordBatch.from_pydict({"ID": range(500)}, schema=pa.schema([("ID", pa.int64())]))
    assert connector.write(f"SHOP.{schema}.WRITTEN", [written], schema=written.schema) == 500
    with session(connector) as opened:
        (row,) = opened.rows(f"SELECT COUNT(*) AS n, SUM(ID) AS total FROM SHOP.{schema}.WRITTEN")
    assert (int(row["n"]), int(row["total"])) == (500, 499 * 250)
    assert not secure.state()["stages"]


def test_what_the_system_trusts_is_enough_for_generation_5(secure, monkeypatch):
    # In a process of its own, for the driver looks once for what the system trusts.
    monkeypatch.setenv(OPENSSL, str(secure.authority))
    code = (
        "import sys; from rle import SnowflakeConnector as Connector\n"
        "print(Connector.from_json(sys.argv[1]).check_access())"
    )
    told = [sys.executable, "-c", code, secured(secure).to_json()]
    ran = subprocess.run(told, capture_output=True, text=True, check=False)
    if driver.generation() >= 5:
        assert ran.stdout.strip() == "()", ran.stderr
    else:
        assert BUNDLE in ran.stderr


def test_a_certificate_that_nobody_vouches_for_is_named_as_such(secure):
    with pytest.raises(ConnectionError) as caught:
        secured(secure).check_access()
    said = str(caught.value)
    for part in (
        "is not trusted here",
        "company's proxy",
        BUNDLE,
        f"https://127.0.0.1:{secure.port}",
    ):
        assert part in said
    assert "does not answer" not in said
    assert secure.password not in said


def test_a_certificate_of_another_host_is_named_as_such(secure, monkeypatch):
    monkeypatch.setenv(BUNDLE, str(secure.authority))
    with pytest.raises(ConnectionError, match=r"is not trusted here.*another host's name"):
        secured(secure, host="localhost").check_access()


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("", "no certificate")])
def test_a_bundle_that_is_none_is_refused_before_anything_is_sent(
    secure, monkeypatch, tmp_path, content, said
):
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(BUNDLE, str(path))
    with pytest.raises(ValidationError, match=rf"{BUNDLE} names .*bundle\.pem, which .*{said}"):
        secured(secure).check_access()


def test_a_certificate_is_found_behind_an_error_that_names_none():
    # As version 4.0.0 of the driver raises it: the reason is only in what the error came of.
    said = "250001: Could not connect to Snowflake backend after 2 attempt(s).Aborting"
    shown = OSError("bad handshake: Error([('SSL routines', '', 'certificate verify failed')])")
    error = RuntimeError(said)
    error.__cause__ = shown
    assert "is not trusted here" in str(explain(error, doing="signing in"))
    assert "does not answer" in str(explain(RuntimeError(said), doing="signing in"))
