"""Writing tables to Snowflake: staged as Parquet, copied under hidden names, renamed at the end."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rle.connectors import snowflake_names as names
from rle.connectors.snowflake_privileges import check_create, check_schema
from rle.connectors.snowflake_publish import (
    TABLE_KINDS,
    Draft,
    drop,
    is_there,
    look_up,
    publish,
    show_pattern,
)
from rle.connectors.snowflake_session import session
from rle.connectors.snowflake_stage import Staged, fill, gather
from rle.connectors.swap import taken
from rle.errors import ConnectionError, OutputExistsError, PermissionError, RLEError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import pyarrow as pa

    from rle.connectors.base import NewTable
    from rle.connectors.snowflake import SnowflakeConnector
    from rle.connectors.snowflake_names import TableName
    from rle.connectors.snowflake_session import Session

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often rows are sent where the network or Snowflake fails; each time under new names."""
PAUSE_S = 2.0
"""Seconds before the second attempt; twice as long before each further one."""
LEFTOVER_AGE = timedelta(hours=24)
"""Age from which a hidden table of the same user is one of a process that was killed."""
_HIDDEN, _ASIDE = "RLE_TMP", "RLE_OLD"
_STAMP = "%Y%m%d%H%M%S"


def can_create(connector: SnowflakeConnector, table: str, *, replace: bool = False) -> None:
    """Check that this name could be written to now; see `CanWrite.can_create`.

    Asks for names and grants alone: no warehouse runs.

    Raises:
        ValidationError: The name is malformed.
        OutputExistsError: The name is taken; with `replace`, by something that is no table.
        PermissionError: The role may not create tables there; has the GRANT that is missing.
        UnknownNameError: The database or schema is not there.
    """
    name = names.read(table)
    with session(connector, doing=f"looking whether {table} can be created") as opened:
        check_schema(opened, name)
        found = look_up(opened, name)
        if found is not None and not replace:
            raise OutputExistsError(taken(name))
        if found is not None and found.get("kind", "TABLE") not in TABLE_KINDS:
            kind = str(found["kind"]).lower()
            raise OutputExistsError(
                f"{name} is a {kind}, so it is not replaced. Choose another alias."
            )
        check_create(opened, name, owner=str(found["owner"]) if found else None)


def write_tables(
    connector: SnowflakeConnector,
    tables: Sequence[NewTable],
    rows: Iterable[tuple[int, pa.RecordBatch]],
    *,
    replacing: Collection[str] = (),
) -> list[int]:
    """Create tables, all whole or none; see `CanWrite.write_tables`.

    The rows are gathered as files on this machine; then they are sent. Where the network fails on
    the way, all of them are sent again under new names, so that none is there twice.

    Raises:
        OutputExistsError: A name is taken; whoever has it keeps it.
        PermissionError: The role may not create tables there.
        ConnectionError: Snowflake could not be reached; nothing has changed.
        StorageError: The disk of this machine is full; nothing has changed.
    """
    for table in tables:
        can_create(connector, table.name, replace=table.name in replacing)
    made: list[TableName] = []
    with ExitStack() as cleaning:
        cleaning.callback(_clean, connector, made)
        with _scratch_folder() as folder:
            staged = gather(tables, rows, folder)
            drafts = _load_patiently(connector, tables, staged, made)
        with session(connector, doing="naming new tables") as opened:
            publish(opened, drafts, _put_aside(opened, replacing, _mark(opened.current_user)))
    return [one.num_rows for one in staged]


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        made = tempfile.TemporaryDirectory(prefix="rle-snowflake-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError.of(error, doing="Making a folder for rows on their way") from error
    with made as folder:
        yield Path(folder)


def _load_patiently(
    connector: SnowflakeConnector,
    tables: Sequence[NewTable],
    staged: Sequence[Staged],
    made: list[TableName],
) -> list[Draft]:
    for attempt in range(1, ATTEMPTS):
        try:
            return _load(connector, tables, staged, made)
        except ConnectionError as error:
            log.warning("Sending rows to Snowflake failed and is tried again: %s", error)
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
    return _load(connector, tables, staged, made)


def _load(
    connector: SnowflakeConnector,
    tables: Sequence[NewTable],
    staged: Sequence[Staged],
    made: list[TableName],
) -> list[Draft]:
    """Load all rows into tables with new hidden names, and tell `made` of each before it is."""
    finals = [names.read(table.name) for table in tables]
    with session(connector, doing="writing tables", private=True) as opened:
        for place in {final.schema_sql: final for final in finals}.values():
            remove_leftovers(opened, place)
        mark, drafts = _mark(opened.current_user), []
        with _stage(opened, finals[-1], mark) as stage:
            for index, (table, final, rows) in enumerate(zip(tables, finals, staged, strict=True)):
                hidden = final._replace(table=f"{mark}_{index}")
                landing = final._replace(table=f"{mark}_{index}_LANDED")
                made += [hidden] if rows.is_direct else [hidden, landing]
                fill(opened, hidden.sql, rows, folder=f"{stage}/{index}/", landing=landing.sql)
                drafts.append(Draft(hidden, final, table.name))
    return drafts


def _clean(connector: SnowflakeConnector, made: Sequence[TableName]) -> None:
    """Drop the hidden tables: those of attempts that failed, and what was exchanged for a new one.

    A table that has been renamed is not there under its hidden name.
    """
    if not made:
        return
    try:
        with session(connector, doing="removing hidden tables") as opened:
            for table in made:
                drop(opened, table)
    except RLEError as error:
        log.warning("Tables %s are left over for a day: %s", ", ".join(map(str, made)), error)


def _put_aside(
    opened: Session, replacing: Collection[str], mark: str
) -> list[tuple[TableName, TableName]]:
    """Return those of the tables to be replaced that are there, each with a name to be put aside.

    That name does not begin as those that are cleaned away by themselves: should a process be
    killed while it is in use, it is the only copy of the old rows.
    """
    olds = [name for name in map(names.read, replacing) if is_there(opened, name)]
    aside = mark.replace(_HIDDEN, _ASIDE, 1)
    return [(old, old._replace(table=f"{aside}_{i}")) for i, old in enumerate(olds)]


@contextmanager
def _stage(opened: Session, final: TableName, mark: str) -> Iterator[str]:
    """Yield the name of a stage, without its @; what is put there is removed afterwards.

    A temporary stage goes with its session, even where this process is killed. Where the role may
    not make one, the user's own stage serves, which everybody has.
    """
    name = final._replace(table=mark)
    try:
        opened.execute(f"CREATE OR REPLACE TEMPORARY STAGE {name.sql}")
    except PermissionError:
        stage, cleaning = f"~/{mark}", f"REMOVE @~/{mark}/"
        _remove_staged_leftovers(opened)
    else:
        stage, cleaning = name.sql, f"DROP STAGE IF EXISTS {name.sql}"
    try:
        yield stage
    finally:
        try:
            opened.execute(cleaning)
        except RLEError as error:
            log.warning("Staged files are left over until the session ends: %s", error)


def _owner(user: str | None) -> str:
    """Return what stands for a user in a name: short, and the same for every process."""
    return hashlib.sha256((user or "").encode()).hexdigest()[:8].upper()


def _mark(user: str | None) -> str:
    """Return a name that nobody else has, with the user and the time in it."""
    stamp = datetime.now(UTC).strftime(_STAMP)
    return f"{_HIDDEN}_{_owner(user)}_{stamp}_{uuid.uuid4().hex[:12].upper()}"


def is_leftover(table: str, *, user: str | None, now: datetime) -> bool:
    """Whether a table's name says that a process of this user made it and was killed.

    Args:
        table: Name of the table alone.
        user: Who is signed in.
        now: With a zone.
    """
    begin = f"{_HIDDEN}_{_owner(user)}_"
    if not table.startswith(begin):
        return False
    try:
        made = datetime.strptime(table[len(begin) :].split("_")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return now - made > LEFTOVER_AGE


def remove_leftovers(opened: Session, place: TableName) -> list[str]:
    """Drop what killed processes of this user left in a schema; return the names.

    Args:
        opened: The user's session.
        place: Any name in the schema.
    """
    begin = f"{_HIDDEN}_{_owner(opened.current_user)}_"
    pattern = show_pattern(f"{begin}%")
    now = datetime.now(UTC)
    removed = []
    try:
        shown = opened.rows(f"SHOW TABLES LIKE {pattern} IN SCHEMA {place.schema_sql}")
    except PermissionError:
        return []
    for row in shown:
        if is_leftover(row["name"], user=opened.current_user, now=now):
            drop(opened, place._replace(table=row["name"]))
            removed.append(row["name"])
    return removed


def _remove_staged_leftovers(opened: Session) -> None:
    """Remove what killed processes left on the user's own stage, which goes with no session."""
    user, now = opened.current_user, datetime.now(UTC)
    listed = opened.rows(f"LIST @~/{_HIDDEN}_{_owner(user)}_")
    folders = {part for row in listed for part in str(row["name"]).split("/")}
    for folder in sorted(folders):
        if is_leftover(folder, user=user, now=now):
            opened.execute(f"REMOVE @~/{folder}/")
