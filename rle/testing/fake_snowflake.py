"""Starts the stand-in for Snowflake in its own Python, and sets it up: users, tables, faults."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import requests

from rle.errors import ConnectionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

_SERVER = Path(__file__).with_name("snowflake_server.py")
_ROOT = Path(__file__).parents[2]
_WORKDIR = {"database": "SHOP", "schema": "PUBLIC", "warehouse": "WH"}


def server_python() -> Path:
    """Return the Python that the server runs under: $RLE_SNOWFLAKE_PYTHON, else .venv-snowflake.

    Raises:
        ConnectionError: Neither is there.
    """
    python = Path(
        os.environ.get("RLE_SNOWFLAKE_PYTHON") or _ROOT / ".venv-snowflake" / "bin" / "python"
    )
    if not python.exists():
        raise ConnectionError(
            f"{python} is not there. `make .venv-snowflake/stamp` makes the environment that the "
            "stand-in for Snowflake runs in; $RLE_SNOWFLAKE_PYTHON names another one."
        )
    return python


def driver_version() -> tuple[int, ...]:
    """Return the version of Snowflake's driver that is imported here."""
    from snowflake.connector.version import VERSION

    return tuple(part for part in VERSION if isinstance(part, int))


class FakeSnowflake:
    """A running server with one account, `RLE`, and one user, who may do everything.

    Every role has every privilege until `revoke` takes it; warehouse WH runs statements; database
    SHOP has the schemas PUBLIC and OUT.
    """

    host = "127.0.0.1"
    account = "rle"
    user = "ANNA"
    password = "correct horse battery staple"  # noqa: S105 - of a server that lives for a test
    role = "TRAINER"

    def __init__(self, *, database: Path | None = None, tls: Path | None = None) -> None:
        """Start it.

        Args:
            database: Folder that keeps the tables; None keeps them in memory.
            tls: Folder for certificates, with which it speaks HTTPS; None: plain HTTP.
        """
        where = ":memory:" if database is None else str(database)
        self.protocol = "http" if tls is None else "https"
        self.authority = None if tls is None else tls / "authority.pem"
        secure = [] if tls is None else ["--tls", str(tls)]
        told = ["--account", self.account, "--database", where, *secure]
        self._process = subprocess.Popen(  # noqa: S603 - our own file, in our own environment
            [server_python(), str(_SERVER), *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
        )
        assert self._process.stdout is not None
        started = json.loads(self._process.stdout.readline() or "{}")
        if not started:
            raise ConnectionError(
                f"The server did not start; it ended with {self._process.wait()}."
            )
        self.port: int = started["port"]
        self._admin = f"{self.protocol}://{self.host}:{self.port}{started['admin']}"
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = True if self.authority is None else str(self.authority)
        self.set_up()

    def __enter__(self) -> FakeSnowflake:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server."""
        self._http.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def set_up(self) -> None:
        """Make the user, the warehouse and the schemas."""
        roles = [self.role, "PUBLIC", "ACCOUNTADMIN"]
        self.add_user(self.user, password=self.password, roles=roles)
        self.tell("warehouse", name=_WORKDIR["warehouse"])
        for schema in (_WORKDIR["schema"], "OUT"):
            self.add_schema(_WORKDIR["database"], schema)

    @property
    def login(self) -> dict[str, Any]:
        """What `snowflake.connector.connect` takes to log in by password; short timeouts."""
        return {
            "account": self.account,
            "host": self.host,
            "port": self.port,
            "protocol": self.protocol,
            "user": self.user,
            "password": self.password,
            "login_timeout": 10,
            **_waits(),
            **_WORKDIR,
        }

    def connect(self, **changes: Any) -> Any:
        """Open a connection with the real driver; `changes` of None leave an argument out."""
        import snowflake.connector

        wanted = self.login | changes
        given = {key: value for key, value in wanted.items() if value is not None}
        return snowflake.connector.connect(**given)

    def tell(self, what: str, **told: Any) -> dict[str, Any]:
        """Send the server's secret path something to do; see rle/testing/snowflake_faults.py."""
        answer = self._http.post(f"{self._admin}/{what}", json=told, timeout=60)
        answer.raise_for_status()
        said: dict[str, Any] = answer.json()
        return said

    def put(
        self, table: str | tuple[str, str, str], rows: pa.Table, *, types: Mapping[str, str] = {}
    ) -> str:
        """Make a table quickly, by no statement; return its full name, quoted.

        Args:
            table: Its exact name, in SHOP.PUBLIC, or with database and schema as three texts.
            rows: What is in it; columns keep their exact names.
            types: Declared types by column, such as VARIANT; the rest follows the rows.
        """
        name = (
            (_WORKDIR["database"], _WORKDIR["schema"], table) if isinstance(table, str) else table
        )
        file = io.BytesIO()
        pq.write_table(rows, file)
        told = json.dumps({"name": name, "types": dict(types)})
        answer = self._http.post(
            f"{self._admin}/put", params={"told": told}, data=file.getvalue(), timeout=300
        )
        answer.raise_for_status()
        return ".".join('"' + part.replace('"', '""') + '"' for part in name)

    def add_user(self, name: str, **told: Any) -> None:
        """Make a user or change one: password, public_key (PEM), oauth_tokens and access_tokens
        (token to whether it is valid), roles (the first is the default), warehouse, is_locked,
        is_disabled.
        """
        self.tell("user", name=name, **told)

    def add_warehouse(self, name: str, **told: bool) -> None:
        """Make a warehouse or change one: is_suspended, resumes, quota_is_used."""
        self.tell("warehouse", name=name, **told)

    def add_schema(self, database: str, schema: str) -> None:
        """Make a schema by its exact name, and its database where needed."""
        self.tell("schema", database=database, schema=schema)

    def revoke(self, privilege: str, kind: str, name: str, *, role: str = "*") -> None:
        """Take a privilege, or ALL of them, on an object (TABLE, SCHEMA, ...) from a role."""
        self.tell("revoke", privilege=privilege, kind=kind, name=name, role=role)

    def close_role(self, role: str) -> None:
        """Take everything from a role, new objects too: it has what is granted from now on."""
        self.tell("close_role", role=role)

    def fault(self, path: str, kind: str = "http", **told: Any) -> None:
        """Let requests to a path fail: http (times, status), cut, drop, lost, slow (seconds),
        expired.

        `skip` requests pass first; `contains` picks those whose body has a text.
        """
        self.tell("fault", path=path, kind=kind, **told)

    def settings(self, **told: Any) -> None:
        """Set rows_per_chunk, first_rows, has_arrow, link_s, time_travels, max_sessions,
        allowed_addresses, session_s or master_s.
        """
        self.tell("settings", **told)

    def expire(self, *, session: bool = True, master: bool = False) -> None:
        """Let the tokens of all open sessions expire now."""
        self.tell("expire", session=session, master=master)

    def queries(self) -> list[dict[str, Any]]:
        """Return the latest statements: id, user, role, warehouse, tag, sql, error."""
        found: list[dict[str, Any]] = self.tell("queries")["queries"]
        return found

    def state(self) -> dict[str, Any]:
        """Return the open sessions, tables, stages and files in stages that there are now, and the
        query tags of these sessions and of all that ever were.
        """
        return self.tell("state")

    def reset(self) -> None:
        """Take back faults, settings and revoked grants; users and tables stay."""
        self.tell("reset")
        self.set_up()


def _waits() -> dict[str, Any]:
    """Short timeouts, as the driver here calls them; driver 5 warns of what it does by default."""
    if driver_version()[0] < 5:
        return {"network_timeout": 30}
    return {
        "query_timeout": 30,
        "request_timeout": 30,
        "enable_server_session_keep_alive_auto_detection": False,
    }
