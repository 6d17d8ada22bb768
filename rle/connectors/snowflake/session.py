"""Sessions with Snowflake: opened late, one per process and account, tagged, renewed and closed."""

from __future__ import annotations

import atexit
import copy
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rle.connectors.names import quote
from rle.connectors.snowflake import driver
from rle.connectors.snowflake.errors import explain, find, text_of
from rle.connectors.snowflake.grants import role_name, warehouse_name
from rle.connectors.snowflake.remedies import Where, identifier
from rle.errors import ConnectionError, RLEError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.settings import SnowflakeSettings

ATTEMPTS = 4
"""Times a statement that only reads is tried at most, while what stops it may pass."""

_LOGIN_PAUSES_S = (0.5, 1.5)
_MAY_BE_SUSPENDED = ("warehouse", "warehouse_suspended")
"""A warehouse that sleeps and does not resume by itself is no active one to Snowflake."""
_READS = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "LIST", "LS")


class Session:
    """What one caller does with a session; several callers and threads share its connection."""

    def __init__(self, link: _Link, *, doing: str, table: TableName | None) -> None:
        self._link = link
        self._doing, self._table = doing, table

    @property
    def connection(self) -> Any:
        """The driver's own connection, for what has no method here; may be another one later."""
        return self._link.connection

    @property
    def current_role(self) -> str | None:
        """Name of the role in use, as Snowflake stores it."""
        return self._current("role")

    @property
    def current_user(self) -> str | None:
        """Name of the user."""
        return self._current("user")

    @property
    def current_warehouse(self) -> str | None:
        """Name of the warehouse in use; None where there is none."""
        return self._current("warehouse")

    @property
    def where(self) -> Where:
        """Who asks, for messages; asks nothing itself."""
        return _where(self._link, self._table)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Run a statement and return the driver's cursor.

        A session that has expired is opened again, with the secret as it is now. What may pass is
        waited for, if the statement only reads, but not longer than `network_timeout_s`.

        Args:
            sql: One statement. `?` stands for a value; nothing else comes from outside, unless
                `rle.connectors.names.quote` quoted it.
            params: The values.

        Raises:
            RLEError: Snowflake refused it, in words.
        """
        begun, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            connection = self._link.connection
            try:
                return driver.execute(connection, sql, params)
            except driver.errors() as error:
                waited = time.monotonic() - begun
                if not self._may_try_again(error, connection, sql, attempt, waited):
                    raise explain(error, doing=self._doing, where=self.where) from None

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a statement and return its rows, with the names of columns in small letters."""
        cursor = self.execute(sql, params)
        with self.in_words():
            names = [column.name.lower() for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in driver.fetch_all(cursor)]

    def put(self, file: Path, stage: str) -> None:
        """Upload a file as it is to a stage, over one of the same name.

        Args:
            file: On this machine.
            stage: Its name, quoted, without the @; may be followed by a folder.

        Raises:
            ConnectionError: It did not arrive.
            RLEError: Snowflake refused it, in words.
        """
        uri = str(file.absolute()).replace("\\", "\\\\").replace("'", "\\'")
        target = f"@{stage}".replace("\\", "\\\\").replace("'", "\\'")
        sql = f"PUT 'file://{uri}' '{target}' AUTO_COMPRESS = FALSE OVERWRITE = TRUE"
        for row in self.rows(sql):
            if row.get("status") not in ("UPLOADED", "SKIPPED"):
                said = f"{row.get('status')} {row.get('message') or ''}".strip()
                missed = OSError(f"{file.name} did not arrive in stage {stage}: {said}")
                raise explain(missed, doing=self._doing, where=self.where)

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Raise errors of the driver as ours; for what is done with a cursor."""
        try:
            yield
        except driver.errors() as error:
            raise explain(error, doing=self._doing, where=self.where) from None

    def _may_try_again(
        self, error: Exception, connection: Any, sql: str, attempt: int, waited: float
    ) -> bool:
        """Make good what can be, and say whether the statement is worth another try."""
        if attempt >= ATTEMPTS:
            return False
        is_read = sql.lstrip(" (\n").upper().startswith(_READS)
        found = find(text_of(error))
        if self._link.known() is not connection and not self._link.is_private:
            # It had expired, and another thread has put a new one in its place, closing this one.
            return is_read or (found is not None and found[0].is_expired)
        if found is None:
            return False
        failure, _ = found
        if failure.is_expired and not self._link.is_private:
            # Refused at the door: the statement has not run, whatever it is.
            return attempt == 1 and self._link.renew(connection)
        if failure.name in _MAY_BE_SUSPENDED and attempt == 1:
            return self._resume(connection)
        if not failure.is_passing or not is_read:
            return False
        pause = min(0.5 * 2**attempt, 8.0)
        if waited + pause > self._link.settings.network_timeout_s:
            return False
        time.sleep(pause)
        return True

    def _resume(self, connection: Any) -> bool:
        """Wake the warehouse that was asked for, else the one in use: the user's default one."""
        given = self._link.settings.warehouse
        try:
            name = connection.warehouse if given is None else warehouse_name(given)
            if not name:
                return False
            sql = f"ALTER WAREHOUSE {quote(name)} RESUME IF SUSPENDED"
            driver.execute(connection, sql, ())
        except ValidationError:  # the name can be none of Snowflake's
            return False
        except driver.errors():
            return False
        return True

    def _current(self, what: str) -> str | None:
        found: str | None = getattr(self._link.connection, what, None)
        if not found and what != "user":
            with suppress(RLEError):
                found = self.rows(f"SELECT CURRENT_{what.upper()}() AS found")[0]["found"]
        given: str | None = getattr(self._link.settings, what)
        return found or given


class _Link:
    """One connection of the driver, and how to open it again."""

    def __init__(self, settings: SnowflakeSettings, *, is_private: bool = False) -> None:
        self.settings, self.is_private = settings, is_private
        self._lock = threading.Lock()
        self._connection: Any = None
        self._was_opened = False
        self._refused: RLEError | None = None

    @property
    def connection(self) -> Any:
        """The connection, opened where it is not yet.

        Raises:
            ConnectionError: Snowflake refuses to sign in, or a private session is over.
        """
        refused_before = self._refused
        with self._lock:
            if self._connection is None or self._connection.is_closed():
                if self.is_private and self._was_opened:
                    raise ConnectionError("The session with Snowflake ended while it was in use.")
                if self._refused is not None and self._refused is not refused_before:
                    # Another thread was, while this one waited: every wrong password counts.
                    raise copy.copy(self._refused)
                self._connection = self._open()
            return self._connection

    def renew(self, old: Any) -> bool:
        """Put a new connection in place of `old`, unless another thread has just done so."""
        with self._lock:
            if self._connection is old:
                self._connection = None
                _close(old)
                self._connection = self._open()
        return True

    def close(self) -> None:
        """Close the connection if it is open; errors are nobody's concern any more."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def abandon(self) -> Any:
        """Let go of a connection that a parent process owns, without ending its session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            driver.disown(connection)
        return connection

    def known(self) -> Any:
        """The connection, None where it is not open."""
        return self._connection

    def _open(self) -> Any:
        begun = time.monotonic()
        told: RLEError | None = None
        for pause in (*_LOGIN_PAUSES_S, None):
            try:
                connection = driver.connect(self.settings, keep_alive=self.is_private)
                break
            except driver.errors() as error:
                found = find(text_of(error))
                # What was said before the time was up tells more than that it was up.
                if told is None or found is None or found[0].name != "warehouse_unreachable":
                    told = explain(error, doing="signing in", where=_where(self, None))
                # A wrong password is never tried twice: every one counts towards a lock.
                late = time.monotonic() - begun >= self.settings.login_timeout_s
                if late or pause is None or found is None or not found[0].is_worth_a_login:
                    self._refused = copy.copy(told)  # without what its stack holds on to
                    raise told from None
                time.sleep(pause)
        self._was_opened = True
        # Ours is to run before the driver's own, which complains of what it finds open.
        atexit.unregister(close_sessions)
        atexit.register(close_sessions)
        return connection


_links: dict[tuple[type, str], _Link] = {}
_private: set[_Link] = set()
_guard = threading.Lock()
_inherited: list[Any] = []


@contextmanager
def session(
    connector: SnowflakeSettings,
    *,
    doing: str = "asking Snowflake",
    table: TableName | None = None,
    private: bool = False,
) -> Iterator[Session]:
    """Give this process's session with the connector's account; opened at its first statement.

    Args:
        connector: Says where and how.
        doing: What it is for, in words such as "reading SHOP.PUBLIC.ORDERS"; errors begin with it.
        table: The one table it is about, whose name then stands in advice.
        private: Whether it is a session of its own, for temporary objects and transactions: kept
            alive, never opened again, and closed in the end.

    Raises:
        RLEError: Whatever the driver raises within, in words.
    """
    link = _Link(connector, is_private=True) if private else _shared(connector)
    if private:
        _private.add(link)
    opened = Session(link, doing=doing, table=table)
    try:
        with opened.in_words():
            yield opened
    finally:
        if private:
            link.close()
            _private.discard(link)


def close_sessions() -> None:
    """Close all sessions of this process; the next call opens new ones."""
    with _guard:
        links = list(_links.values())
        _links.clear()
    for link in links:
        link.close()


def cut_sessions() -> None:
    """Close all sessions, private ones too, whatever other threads do with them.

    For a process that is to end while it waits for the driver, which no signal may reach there:
    Snowflake ends what a closed session runs.
    """
    for link in list(_private):
        link.close()
    close_sessions()


def _shared(connector: SnowflakeSettings) -> _Link:
    # What is read, and as of when, makes no other session.
    key = (type(connector), connector.model_dump_json(exclude={"read_at"}))
    with _guard:
        if key not in _links:
            _links[key] = _Link(connector)
        return _links[key]


def _close(connection: Any) -> None:
    with suppress(Exception):
        driver.close(connection)


def _address(settings: SnowflakeSettings) -> str:
    port = "" if settings.port is None else f":{settings.port}"
    return f"{settings.protocol or 'https'}://{settings.host}{port}"


def _where(link: _Link, table: TableName | None) -> Where:
    settings, connection = link.settings, link.known()

    def found(what: str) -> str | None:
        name: str | None = getattr(connection, what, None)
        return name or None

    role, warehouse = found("role"), found("warehouse")
    return Where(
        account=settings.account or settings.host,
        user=found("user") or settings.user,
        role=identifier(role) if role else _given(settings.role, role_name),
        warehouse=identifier(warehouse)
        if warehouse
        else _given(settings.warehouse, warehouse_name),
        table=table,
        address=None if settings.host is None else _address(settings),
    )


def _given(name: str | None, read: Callable[[str], str]) -> str | None:
    """Return a name as SQL takes it that was given and not yet heard of from Snowflake."""
    if name is None:
        return None
    try:
        return identifier(read(name))
    except ValidationError:  # it can be none of Snowflake's, and goes in quotes as it is
        return identifier(name)


def _after_fork() -> None:
    """Forget the parent's sessions in a child: they are the parent's to use and to close."""
    global _guard
    driver.note_fork()
    _guard = threading.Lock()  # a thread that is not here may have held it
    # Kept for ever: a driver may close what it no longer sees in use.
    _inherited.extend(link.abandon() for link in (*_links.values(), *_private))
    _links.clear()
    _private.clear()


os.register_at_fork(after_in_child=_after_fork)
