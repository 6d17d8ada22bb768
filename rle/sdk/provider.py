"""Makes, lists, resumes, suspends and deletes the engines that jobs run on."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rle.connectors.snowflake.settings import SnowflakeSettings
from rle.engines import manage
from rle.engines.record import (
    EngineRecord,
    EngineSettings,
    EngineState,
    TokenSource,
    check_engine_name,
    user_name,
)
from rle.engines.store import EngineStore
from rle.errors import UnknownNameError, ValidationError
from rle.runs.redact import hide
from rle.spec.show import say

if TYPE_CHECKING:
    from rle.connectors.credentials import Credentials
    from rle.engines.lookup import OpenEngine

START_TIMEOUT_S = 300.0
"""Longest wait for an engine to start, unless told otherwise."""

_OTHER_STATES = {"RUNNING": "READY", "STOPPED": "SUSPENDED"}
_MOST_AT_ONCE = 16  # engines that are asked for their status at the same time
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class Provider:
    """The engines of this user: on this machine, and clusters at an address.

    Their names are unique. What is known of them is kept in the home (see docs/engines.md), so
    every process of the user sees the same ones.

    Args:
        config: How a warehouse is signed in to; nothing where there is none, as for engines of
            this machine. Keys are those of SnowflakeConnector: account, user, password,
            private_key_path, private_key_passphrase, oauth_token, host, warehouse, app_name, role
            and auth_method: "password" (needs user and password), "key_pair" (user,
            private_key_path), "oauth" (oauth_token), "active_session" (app_name) or "browser"
            (user). See docs/snowflake.md.

    Raises:
        ValidationError: Something that the method needs is missing, or the method is unknown.
        UnknownNameError: A keyword is unknown.
    """

    def __init__(self, **config: Any) -> None:
        self.credentials: Credentials | None = None
        settings = SnowflakeSettings(**config) if config else None
        # A profile's secrets are read by the driver alone; all others are looked at here.
        if settings is not None and settings.connection_name is None:
            self.credentials = settings.credentials()
        for secret in self.credentials.secrets() if self.credentials else ():
            hide(secret)

    def __repr__(self) -> str:
        known = self.credentials
        if known is None:
            return "Provider()"
        shown = {"account": known.account, "user": known.user, "method": known.auth_method.value}
        return f"Provider({', '.join(f'{key}={value!r}' for key, value in shown.items() if value)})"

    def list_gnns(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return all engines, oldest first.

        Args:
            state: Only those in this state, in any case: READY (or RUNNING), PENDING, SUSPENDED
                (or STOPPED). None: all.

        Returns:
            Per engine: name, id, size, state, created_by, created_on, updated_on (UTC), settings,
            backend, address and message (why it is not READY).
        """
        wanted = None if state is None else _parse_state(state)
        engines = [manage.opened(record) for record in EngineStore().all()]
        if not engines:
            return []
        # Each may take its time to answer, or not to.
        with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(engines))) as pool:
            rows = list(pool.map(manage.row, engines))
        return [row for row in rows if wanted in (None, row["state"])]

    def get_gnn(self, name: str) -> dict[str, Any] | None:
        """Return what `list_gnns` says of one engine; None where there is none of this name."""
        engine = manage.find(name)
        return None if engine is None else manage.row(engine)

    def create_gnn(
        self,
        name: str,
        size: str = "HIGHMEM_X64_S",
        settings: Mapping[str, Any] | EngineSettings | None = None,
        *,
        backend: str | None = None,
        address: str | None = None,
        token_variable: str | None = None,
        token_path: str | Path | None = None,
        wait: bool = True,
        timeout_s: float = START_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Make an engine, and wait until it takes jobs: some seconds on this machine.

        Args:
            name: A letter, then letters, digits, _ and -.
            size: "HIGHMEM_X64_S", or "GPU_NV_S" for one whose head has a GPU.
            settings: See `EngineSettings`, such as {"auto_suspend_mins": 15}.
            backend: "local" or "address"; None: "address" where an address is given, else "local".
            address: URL of the dashboard of a cluster that runs already.
            token_variable: Environment variable that holds this cluster's token.
            token_path: File that holds it. Where neither is given, Ray's own places are looked at.
            wait: False: return as soon as it begins to start.
            timeout_s: How long to wait, in seconds.

        Returns:
            What `get_gnn` returns.

        Raises:
            ValidationError: The name, the size, a setting or the address is impossible, or an
                engine of this name already exists.
            DeviceError: The size asks for a GPU that is not there.
            ConnectionError: It did not start in time, or cannot be reached. Nothing of it is left.
        """
        check_engine_name(name)
        _check_timeout(timeout_s)
        kind = backend or ("local" if address is None else "address")
        if kind == "local" and address is not None:
            raise ValidationError("An engine with an address has backend 'address', not 'local'.")
        now = datetime.now(UTC)
        record = EngineRecord(
            name=name,
            id=secrets.token_hex(4),
            backend=kind,
            size=size,
            settings=_settings(settings),
            address=address,
            token=_token_source(kind, token_variable, token_path),
            created_by=user_name(),
            created_on=now,
            updated_on=now,
        )
        status = manage.create(record, wait=wait, timeout_s=timeout_s)
        return manage.row(manage.opened(record), status)

    def resume_gnn(self, name: str) -> bool:
        """Begin to start a suspended engine; `wait_until_ready` says when it takes jobs.

        Returns:
            True. One that runs is left alone.

        Raises:
            ValidationError: There is no engine of this name.
            ConnectionError: A cluster at an address does not answer.
        """
        engine = manage.get(name)
        engine.backend.resume(engine.record, engine.folder)
        _touch(engine)
        return True

    def suspend_gnn(self, name: str) -> bool:
        """Stop an engine, and whatever runs on it, and keep its jobs' records and its settings.

        A cluster at an address is only set aside on this machine and runs on.

        Returns:
            True, when it has stopped.

        Raises:
            ValidationError: There is no engine of this name.
        """
        engine = manage.get(name)
        engine.backend.suspend(engine.record, engine.folder)
        _touch(engine)
        return True

    def delete_gnn(self, name: str) -> bool:
        """Stop an engine for good and remove what it kept, the records of its jobs too.

        Models, runs and their metrics are kept elsewhere and stay. A cluster at an address is only
        forgotten on this machine and runs on.

        Returns:
            True; False, with a message printed, where there is no engine of this name.
        """
        engine = manage.find(name)
        if engine is None:
            say(f"There is no engine named {name!r:.100}, so none was deleted.")
            return False
        manage.remove(engine)
        return True

    def wait_until_ready(self, name: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Wait until an engine takes jobs.

        Args:
            name: The engine.
            timeout_s: How long at most, in seconds.

        Returns:
            What `get_gnn` returns.

        Raises:
            ValidationError: There is no engine of this name.
            ConnectionError: It is SUSPENDED, failed to start, or was not READY in time; names the
                engine, its state and the reason.
        """
        _check_timeout(timeout_s)
        engine = manage.get(name)
        return manage.row(engine, manage.wait_until_ready(engine, timeout_s))


def _touch(engine: OpenEngine) -> None:
    EngineStore().update(engine.record.replace(updated_on=datetime.now(UTC)))


def _parse_state(state: str) -> str:
    name = state.strip().upper() if isinstance(state, str) else str(state)
    name = _OTHER_STATES.get(name, name)
    if name not in EngineState.__members__:
        raise UnknownNameError("engine state", str(state), [*EngineState, *_OTHER_STATES])
    return name


def _settings(settings: Mapping[str, Any] | EngineSettings | None) -> EngineSettings:
    if isinstance(settings, EngineSettings):
        return settings
    if settings is not None and not isinstance(settings, Mapping):
        raise ValidationError(
            'settings must be a dict, such as {"auto_suspend_mins": 30}, not '
            f"{type(settings).__name__}."
        )
    return EngineSettings(**(settings or {}))


def _token_source(kind: str, variable: str | None, path: str | Path | None) -> TokenSource:
    if variable is None and path is None:
        return TokenSource()
    if kind == "local":
        raise ValidationError(
            "token_variable and token_path are for clusters at an address; an engine of this "
            "machine makes its own token."
        )
    if variable is not None and path is not None:
        raise ValidationError("Name the token's place once: token_variable or token_path.")
    if path is not None:
        return TokenSource(path=str(Path(path).expanduser().absolute()))
    if not _VARIABLE.fullmatch(str(variable)) and str(variable) not in os.environ:
        raise ValidationError(
            "token_variable must be the name of an environment variable. What was given is none; "
            "it is not repeated here, for it may be the token itself."
        )
    return TokenSource(variable=variable)


def _check_timeout(timeout_s: float) -> None:
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not timeout_s >= 0:
        raise ValidationError(f"timeout_s must be seconds, 0 or more, not {timeout_s!r:.100}.")
