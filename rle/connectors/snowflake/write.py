"""Writing tables to Snowflake: staged as Parquet, copied under hidden names, renamed at the end."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rle.connectors.snowflake import leftovers, names
from rle.connectors.snowflake.privileges import check_create, check_schema, held_by
from rle.connectors.snowflake.publish import Draft, drop, is_there, kind_of, look_up, publish
from rle.connectors.snowflake.regrant import carry_grants
from rle.connectors.snowflake.scratch import scratch_folder
from rle.connectors.snowflake.session import session
from rle.connectors.snowflake.stage import Staged, fill, gather
from rle.connectors.swap import taken
from rle.errors import ConnectionError, OutputExistsError, PermissionError, RLEError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from rle.connectors.base import NewTable
    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often rows are sent where the network or Snowflake fails; each time under new names."""
PAUSE_S = 2.0
"""Seconds before the second attempt; twice as long before each further one."""


def can_create(connector: SnowflakeConnector, table: str, *, replace: bool = False) -> None:
    """Check that this name could be written to now; see `CanWrite.can_create`.

    Asks for names and grants alone: no warehouse runs.

    Raises:
        ValidationError: The name is malformed.
        OutputExistsError: The name is taken; with `replace`, by something that is no table.
        PermissionError: The role may not create tables there; has the GRANT that is missing.
        UnknownNameError: The database or schema is not there.
    """
    _check(connector, {names.read(table): replace})


def _check(connector: SnowflakeConnector, tables: Mapping[TableName, bool]) -> None:
    """Check of several names, each with whether it may be replaced; see `can_create`."""
    what = ", ".join(map(str, tables))
    with session(connector, doing=f"looking whether {what} can be created") as opened:
        for place in {name.schema_sql: name for name in tables}.values():
            check_schema(opened, place)
        owners = {name: _owner(opened, name, replace=tables[name]) for name in tables}
        held = held_by(opened)
        if held is None:
            log.warning(
                "Whether %s can be created cannot be verified: the grants of the role are not "
                "shown to it. If one is missing, the write says so.",
                what,
            )
            return
        for name, owner in owners.items():
            check_create(held, name, owner=owner)


def _owner(opened: Session, name: TableName, *, replace: bool) -> str | None:
    """Return who owns the table that is to be replaced; None where the name is free."""
    found = look_up(opened, name)
    if found is None:
        return None
    if not replace:
        raise OutputExistsError(taken(name))
    if (kind := kind_of(found)) is not None:
        raise OutputExistsError(f"{name} is a {kind}, so it is not replaced. Choose another alias.")
    return str(found["owner"])


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
    olds = dict.fromkeys(map(names.read, replacing))
    finals = [names.read(table.name) for table in tables]
    _check(connector, {final: final in olds for final in finals})
    made: list[TableName] = []
    with ExitStack() as cleaning:
        cleaning.callback(_clean, connector, made)
        with scratch_folder() as folder:
            staged = gather(tables, rows, folder)
            drafts = _load_patiently(connector, finals, staged, made)
        with session(connector, doing="naming new tables") as opened:
            replaced = [old for old in olds if is_there(opened, old)]
            carry_grants(opened, drafts, replaced)
            publish(opened, drafts, _put_aside(opened, replaced))
    return [one.num_rows for one in staged]


def _load_patiently(
    connector: SnowflakeConnector,
    finals: Sequence[TableName],
    staged: Sequence[Staged],
    made: list[TableName],
) -> list[Draft]:
    for attempt in range(1, ATTEMPTS):
        try:
            return _load(connector, finals, staged, made)
        except ConnectionError as error:
            if not error.may_pass:
                raise
            log.warning("Sending rows to Snowflake failed and is tried again: %s", error)
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
    return _load(connector, finals, staged, made)


def _load(
    connector: SnowflakeConnector,
    finals: Sequence[TableName],
    staged: Sequence[Staged],
    made: list[TableName],
) -> list[Draft]:
    """Load all rows into tables with new hidden names, and tell `made` of each before it is."""
    drafts = []
    last = finals[-1]
    with session(connector, doing="writing tables", table=last, private=True) as opened:
        for place in {final.schema_sql: final for final in finals}.values():
            leftovers.remove_leftovers(opened, place)
        mark = leftovers.mark(opened.current_user)
        with _stage(opened, last, mark) as stage:
            for index, (final, rows) in enumerate(zip(finals, staged, strict=True)):
                hidden = final._replace(table=f"{mark}_{index}")
                landing = final._replace(table=f"{mark}_{index}_LANDED")
                made += [hidden] if rows.is_direct else [hidden, landing]
                fill(opened, hidden.sql, rows, folder=f"{stage}/{index}/", landing=landing.sql)
                drafts.append(Draft(hidden, final))
    return drafts


def _clean(connector: SnowflakeConnector, made: Sequence[TableName]) -> None:
    """Drop the hidden tables: those of attempts that failed, and what was exchanged for a new one.

    A table that has been renamed is not there under its hidden name.
    """
    with session(connector, doing="removing hidden tables") as opened:
        drop(opened, made)


def _put_aside(opened: Session, olds: Sequence[TableName]) -> list[tuple[TableName, TableName]]:
    """Return each table that is to be replaced with a name to be put aside under."""
    aside = leftovers.aside(leftovers.mark(opened.current_user))
    return [(old, old._replace(table=f"{aside}_{index}")) for index, old in enumerate(olds)]


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
        stage, cleaning, until = f"~/{mark}", f"REMOVE @~/{mark}/", "a write a day later"
        leftovers.remove_staged_leftovers(opened)
    else:
        stage, cleaning, until = name.sql, f"DROP STAGE IF EXISTS {name.sql}", "its session ends"
    try:
        yield stage
    finally:
        try:
            opened.execute(cleaning)
        except RLEError as error:
            log.warning("Files are left over on stage %s until %s: %s", stage, until, error)
