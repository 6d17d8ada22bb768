"""How tests make connectors to the stand-in for Snowflake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.session import session

if TYPE_CHECKING:
    from rle.testing.fake_snowflake import FakeSnowflake

ROOT = Path(__file__).parents[2]
PASSPHRASE = "canary-phrase-5d"


def place(server: FakeSnowflake, **changes: Any) -> dict[str, Any]:
    """Where the server is, as keywords of the connector; short timeouts."""
    found = {
        "account": server.account,
        "user": server.user,
        "role": server.role,
        "warehouse": "WH",
        "host": server.host,
        "port": server.port,
        "protocol": "http",
        "login_timeout_s": 8,
        "network_timeout_s": 20,
    }
    return {key: value for key, value in (found | changes).items() if value is not None}


def by_password(server: FakeSnowflake, **changes: Any) -> SnowflakeConnector:
    """A connector of the server's own user."""
    return SnowflakeConnector(**{"password": server.password} | place(server, **changes))


def ask(connector: SnowflakeConnector, sql: str = "SELECT CURRENT_USER() AS who") -> Any:
    """The one value that a statement returns."""
    with session(connector, doing="asking") as opened:
        (row,) = opened.rows(sql)
    (value,) = row.values()
    return value


def make_key(folder: Path, *, encrypted: bool) -> tuple[Path, str]:
    """A PEM file with a private key, and the PEM of its public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if encrypted:
        encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    file = folder / "key.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return file, public.decode()


def run(code: str, **environment: str) -> str:
    """What a Python of its own prints; it must end well and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=100,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout
