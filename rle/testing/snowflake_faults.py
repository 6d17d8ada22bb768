"""Faults and settings of the stand-in for Snowflake, on demand, through a secret path.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snowflake_accounts import User, Warehouse
from snowflake_catalog import Name
from snowflake_types import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from snowflake_service import Server


@dataclass
class Fault:
    """What goes wrong with the next requests whose path begins so."""

    path: str = "/"
    kind: str = "http"
    """http: answered with `status`. cut: the connection ends after half of the answer. drop: it
    ends before anything is done. lost: it is done, and the answer never comes. slow: it takes
    `seconds` longer. expired: the session token is refused.
    """
    times: int = 1
    skip: int = 0
    """Requests that pass before it begins."""
    status: int = 500
    seconds: float = 0.0
    contains: str = ""
    """Only requests whose body has this text."""


@dataclass
class Faults:
    """All that is to go wrong, and how many requests there may be at once."""

    pending: list[Fault] = field(default_factory=list)
    max_sessions: int | None = None
    """Logins beyond this many open sessions are answered with HTTP 429."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, path: str, body: bytes) -> Fault | None:
        """Return the fault that hits a request, and count it."""
        with self.lock:
            for fault in self.pending:
                if not path.startswith(fault.path) or fault.contains.encode() not in body:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                if fault.times <= 0:
                    self.pending.remove(fault)
                return fault
        return None


def administer(server: Server, what: str, told: dict[str, Any]) -> dict[str, Any]:
    """Do what a test asks for; returns what it wants to know."""
    return _TASKS[what](server, told) or {}


def put_table(server: Server, name: list[str], content: bytes, types: dict[str, str]) -> int:
    """Make a table of the Parquet file in a request."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        Path(file.name).write_bytes(content)
        declared = {column: parse_type(text) for column, text in types.items()}
        return server.catalog.put(Name(*name), Path(file.name), declared)


def reset(server: Server) -> None:
    """Take back faults, settings, revoked grants and suspended warehouses; tables stay."""
    server.faults.pending.clear()
    server.faults.max_sessions = None
    server.cutting = type(server.cutting)()
    account = server.account
    account.revoked.clear()
    account.closed.clear()
    account.allowed_addresses, account.time_travels = None, True
    for warehouse in account.warehouses.values():
        warehouse.is_suspended, warehouse.quota_is_used, warehouse.resumes = False, False, True
    for user in account.users.values():
        user.is_locked = user.is_disabled = False


def _set(server: Server, told: dict[str, Any]) -> None:
    names = {part.name for part in dataclasses.fields(server.cutting)}
    server.cutting = dataclasses.replace(
        server.cutting, **{key: value for key, value in told.items() if key in names}
    )
    for key, value in told.items():
        if key == "max_sessions":
            server.faults.max_sessions = value
        elif key not in names:
            setattr(server.account, key, value)


def _state(server: Server) -> dict[str, Any]:
    stages = server.catalog.stages
    return {
        "sessions": len(server.sessions),
        "session_tags": [s.parameters.get("QUERY_TAG", "") for s in server.sessions.values()],
        "login_tags": list(server.logins),
        "tables": [list(name) for name in server.catalog.tables],
        "stages": [list(name) for name in stages],
        "stage_files": sum(
            file.is_file() for stage in stages.values() for file in stage.folder.rglob("*")
        ),
        "faults": len(server.faults.pending),
    }


def _user(server: Server, told: dict[str, Any]) -> None:
    users, name = server.account.users, told.pop("name").upper()
    user = users.setdefault(name, User(name))
    for key, value in told.items():
        setattr(user, key, tuple(value) if key == "roles" else value)


def _warehouse(server: Server, told: dict[str, Any]) -> None:
    warehouses, name = server.account.warehouses, told.pop("name")
    warehouses[name] = dataclasses.replace(warehouses.get(name) or Warehouse(name), **told)


def _schema(server: Server, told: dict[str, Any]) -> None:
    server.catalog.create_database(told["database"])
    server.catalog.create_schema(told["database"], told["schema"])


def _queries(server: Server, _: dict[str, Any]) -> dict[str, Any]:
    return {"queries": [dataclasses.asdict(query) for query in server.history]}


_TASKS: dict[str, Callable[[Server, dict[str, Any]], dict[str, Any] | None]] = {
    "user": _user,
    "warehouse": _warehouse,
    "close_role": lambda server, told: server.account.closed.update({told["role"]: set()}),
    "grant": lambda server, told: server.account.grant(**told),
    "revoke": lambda server, told: server.account.revoke(**told),
    "fault": lambda server, told: server.faults.pending.append(Fault(**told)),
    "settings": _set,
    "expire": lambda server, told: server.expire(**told),
    "schema": _schema,
    "queries": _queries,
    "state": lambda server, _: _state(server),
    "reset": lambda server, _: reset(server),
}
