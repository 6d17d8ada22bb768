"""Snowflake's driver, of generation 4 or 5: loaded when it is needed, told to be quiet."""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import os
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from rle.connectors.credentials import AuthMethod
from rle.connectors.snowflake import trust
from rle.errors import ConnectionError, ValidationError
from rle.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rle.connectors.snowflake.settings import SnowflakeSettings

_MEMORY_POOL = "ARROW_DEFAULT_MEMORY_POOL"
_TAG = "_rle_query_tag"  # on a connection that is somebody else's, so never closed by us

PATIENCE_S = 10
"""How long a close may take, in seconds; the server ends a session by itself."""


@cache
def load() -> Any:
    """Import the driver.

    Raises:
        ValidationError: It is not installed; the message has the pip line.
    """
    pool = os.environ.get(_MEMORY_POOL)
    try:
        module = importlib.import_module("snowflake.connector")
    except ModuleNotFoundError as error:
        raise ValidationError(
            f"Snowflake needs the package 'snowflake-connector-python' ({error.name!r} is not "
            "there). Install it with: pip install 'gnn-rle[snowflake]'."
        ) from error
    if pool is None:
        # The driver means its own Arrow, which is loaded by now, not that of our child processes.
        os.environ.pop(_MEMORY_POOL, None)
    log = logging.getLogger("snowflake")
    if log.level == logging.NOTSET:
        # It logs what it raises, with the statement; whoever wants to see it sets a level.
        log.setLevel(logging.CRITICAL)
    return module


@cache
def errors() -> tuple[type[Exception], ...]:
    """Return the classes of what the driver raises, or lets through from its HTTP library."""
    found: list[type[Exception]] = [load().errors.Error]
    for module, name in (("requests", "RequestException"), ("urllib3", "HTTPError")):
        full = f"snowflake.connector.vendored.{module}.exceptions"
        with suppress(ModuleNotFoundError):  # generation 5 has none of them
            found.append(getattr(importlib.import_module(full), name))
    return tuple(found)


def generation() -> int:
    """Return 4 or 5: the first part of the driver's version."""
    return int(str(load().__version__).partition(".")[0])


def connect(settings: SnowflakeSettings, *, keep_alive: bool) -> Any:
    """Open a session, with the secrets as they are now; a notebook's own one is only taken.

    Args:
        settings: Who signs in, and how.
        keep_alive: Whether the session is called from time to time, however long nothing is asked.

    Raises:
        snowflake.connector.errors.Error: Snowflake refuses, or does not answer.
        ValidationError: A secret is not where it should be, or the driver is not installed.
    """
    if settings.auth_method is AuthMethod.ACTIVE_SESSION and settings.connection_name is None:
        return _active_connection(settings)
    module = load()
    if _state.is_after_fork and generation() >= 5:
        raise ConnectionError(
            "Snowflake's driver of generation 5 was used before this process was forked, and would "
            "wait for ever in it. Start processes with 'spawn', as Ray does, or install "
            "'snowflake-connector-python<5'."
        )
    arguments = _sign_in(settings) | {
        "login_timeout": settings.login_timeout_s,
        "application": "gnn_rle",
        "autocommit": True,
        "paramstyle": "qmark",
        "arrow_number_to_decimal": True,
        "client_session_keep_alive": keep_alive,
        "validate_default_parameters": True,
        "session_parameters": session_parameters(settings),
    }
    options = arguments | _of_generation(settings)
    with _understood():
        connection = module.connect(**options)
    connection.telemetry_enabled = False  # even where the account sets the parameter otherwise
    if generation() < 5:
        _limit_retries(connection, settings.network_timeout_s)
    return connection


def session_parameters(settings: SnowflakeSettings) -> dict[str, Any]:
    """Return what a session is told about itself: its tag, its clock and its patience."""
    found: dict[str, Any] = {
        "QUERY_TAG": query_tag(settings),
        "TIMEZONE": "UTC",
        "CLIENT_TELEMETRY_ENABLED": False,
    }
    if settings.statement_timeout_s:
        found["STATEMENT_TIMEOUT_IN_SECONDS"] = settings.statement_timeout_s
    return found


def query_tag(settings: SnowflakeSettings) -> str:
    """Return the QUERY_TAG of every statement, as JSON, by which an account's history is read."""
    tag = {"app": "gnn-rle", "version": VERSION}
    if settings.query_tag is not None:
        tag["tag"] = settings.query_tag
    return json.dumps(tag, ensure_ascii=False)


def execute(connection: Any, sql: str, params: Sequence[Any]) -> Any:
    """Run a statement in a cursor of its own and return that; `?` stands for a value."""
    cursor = connection.cursor()
    options: dict[str, Any] = {"_force_qmark_paramstyle": True}
    if (tag := getattr(connection, _TAG, None)) is not None:
        options["_statement_params"] = {"QUERY_TAG": tag}
    with _understood():
        cursor.execute(sql, tuple(params) or None, **options)
    return cursor


def fetch_all(cursor: Any) -> list[Any]:
    """Return the rows of a small result."""
    with _understood():
        return list(cursor.fetchall())


def close(connection: Any) -> None:
    """End a session, unless it is a notebook's own."""
    if not hasattr(connection, _TAG):
        connection.close(retry=False)


@contextmanager
def _understood() -> Iterator[None]:
    """Make the driver's own error of those that it stumbles over: answers unlike Snowflake's."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, json.JSONDecodeError) as error:
        if "private key" in str(error):  # of a profile, which generation 4 reads
            raise ValidationError(
                "The private key of the profile cannot be read: its passphrase "
                "(private_key_file_pwd) is missing, or is given for a key that has none."
            ) from None
        odd = f"Invalid Snowflake response. {type(error).__name__} in the driver."
        raise load().errors.InterfaceError(odd) from None


class _State:
    is_after_fork = False


_state = _State()


def note_fork() -> None:
    """Remember, in a child, that the driver was loaded by its parent: threads do not come along."""
    _state.is_after_fork = load.cache_info().currsize > 0


def disown(connection: Any) -> None:
    """Keep a driver from ending, in this process, a session that another process uses."""
    connection.auto_cleanup = False
    for name in ("_close_at_exit", "_close_at_process_exit"):
        if hasattr(connection, name):
            atexit.unregister(getattr(connection, name))


def _sign_in(settings: SnowflakeSettings) -> dict[str, Any]:
    where = ("account", "user", "host", "port", "protocol", "warehouse", "role")
    plain = {name: getattr(settings, name) for name in where if getattr(settings, name)}
    if settings.connection_name is not None:
        return plain | {"connection_name": settings.connection_name}
    if "account" not in plain:
        plain["account"] = str(settings.host).partition(".")[0]
    return plain | settings.credentials().connect_arguments()


def _of_generation(settings: SnowflakeSettings) -> dict[str, Any]:
    authorities = None if settings.protocol == "http" else trust.bundle()
    if generation() < 5:
        policies = importlib.import_module("snowflake.connector.backoff_policies")
        pause_s = max(1, settings.network_timeout_s // 4)
        return {
            "backoff_policy": policies.exponential_backoff(2, 1, pause_s),
            # Else the first sign-in asks three clouds whether this machine is theirs.
            "platform_detection_timeout_seconds": 0.0,
            "log_imported_packages_in_telemetry": False,
        }
    # It looks for SSL_CERT_FILE alone.
    trusted = {} if authorities is None else {"custom_root_store_path": authorities}
    return trusted | {
        "query_timeout": settings.statement_timeout_s,
        "request_timeout": settings.network_timeout_s,
        "retry_max_attempts": 4,
        "retry_backoff_cap_ms": max(250, settings.network_timeout_s * 1000 // 4),
        "enable_server_session_keep_alive_auto_detection": False,
        "server_session_keep_alive": False,
        "logout_max_attempts": 1,
        "logout_total_timeout_seconds": PATIENCE_S,
        "auto_cleanup": False,
        "client_store_temporary_credential": settings.auth_method is AuthMethod.BROWSER,
    }


def _limit_retries(connection: Any, seconds: int) -> None:
    """Let a request that fails be tried again for so long.

    The driver has one setting for this and for cancelling statements that take longer, and without
    it a statement that the server cannot digest is sent again for ever.
    """
    rest = connection.rest
    fetch = rest.fetch

    def fetch_briefly(*args: Any, **kwargs: Any) -> Any:
        return fetch(*args, **kwargs | {"timeout": seconds})

    rest.fetch = fetch_briefly


def _active_connection(settings: SnowflakeSettings) -> Any:
    """Return the connection of the notebook or the stored procedure that this runs in.

    Raises:
        ValidationError: There is no such session.
    """
    try:
        context = importlib.import_module("snowflake.snowpark.context")
        session = context.get_active_session()
    except ModuleNotFoundError as error:
        raise ValidationError(
            "auth_method='active_session' needs the package 'snowflake-snowpark-python', which "
            "Snowflake's notebooks have. Elsewhere use another method; jobs on an engine always do."
        ) from error
    except Exception as error:  # noqa: BLE001 - the package's own classes; the text says why
        raise ValidationError(
            f"auth_method='active_session' found no session that is active here: {error}"
        ) from None
    connection = session.connection
    # Its own statements keep their tag, so ours go with each statement.
    setattr(connection, _TAG, query_tag(settings))
    return connection
