"""Complete tables that get their names together, and old ones that go, or nothing changes."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rle.connectors.swap import taken
from rle.errors import ConnectionError, NotSeenError, OutputExistsError, RLEError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 4.0)
"""Seconds before a name is changed again where the network failed."""
ASIDE = "RLE_OLD"
"""How the names of old tables begin while new ones take their place."""
_TABLE_KINDS = ("TABLE", "TRANSIENT")
_ODD_TABLES = ("dynamic", "external", "event")


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete table and the name that it shall have."""

    hidden: TableName
    final: TableName


def look_up(session: Session, name: TableName) -> dict[str, Any] | None:
    """Return what SHOW OBJECTS says of a table or view, None where the role sees none."""
    pattern = show_pattern(name.table)
    shown = session.rows(f"SHOW OBJECTS LIKE {pattern} IN SCHEMA {name.schema_sql}")
    return next((row for row in shown if row["name"] == name.table), None)


def kind_of(shown: Mapping[str, Any]) -> str | None:
    """Return what SHOW OBJECTS describes; None for a table that can be renamed and dropped as one.

    Some that are altered by statements of their own pass for tables there, but for a flag.
    """
    kind = str(shown.get("kind") or "TABLE")
    if kind not in _TABLE_KINDS:
        return kind.lower()
    odd = (what for what in _ODD_TABLES if str(shown.get(f"is_{what}")).upper() in ("Y", "TRUE"))
    return next((f"{what} table" for what in odd), None)


def is_there(session: Session, name: TableName) -> bool:
    """Whether the role sees a table or view of this name."""
    return look_up(session, name) is not None


def show_pattern(name: str) -> str:
    """Return a pattern of SHOW ... LIKE, quoted, that fits a name and perhaps others.

    Nothing is escaped, for which there are several rules: an underscore fits itself, too.
    """
    return "'" + name.replace("\\", "_").replace("'", "''") + "'"


def publish(
    session: Session, drafts: Sequence[Draft], replacing: Sequence[tuple[TableName, TableName]]
) -> None:
    """Give each draft its name, after the tables to be replaced have been put aside.

    Snowflake commits each change of a name by itself. So the last draft appears last, and an old
    table of its name goes first; an error or Ctrl-C on the way takes every step back. A process
    that is killed on the way leaves the last name free and the old tables under the names they
    were put aside with. One table that replaces one is a single step, with no such moment.

    Args:
        session: Whoever owns the drafts.
        drafts: Complete, in the order in which they shall appear.
        replacing: (old table, free name to put it aside under); all old tables are there.

    Raises:
        OutputExistsError: A name is taken by what is not in `replacing`, which is left alone; or
            somebody else has just put an old table aside, or dropped it.
    """
    if len(drafts) == 1 and [old for old, _ in replacing] == [drafts[0].final]:
        with _still_there(drafts[0].final):
            _swap(session, drafts[0])
        return
    with ExitStack() as undo:
        for old, aside in reversed(replacing):
            undo.callback(_put_back, session, aside, old)
            with _still_there(old):
                _rename(session, old, aside)
        for draft in drafts:
            undo.callback(_put_back, session, draft.final, draft.hidden)
            _rename(session, draft.hidden, draft.final)
        undo.pop_all()
    drop(session, [aside for _, aside in replacing])


def drop(session: Session, tables: Sequence[TableName]) -> None:
    """Remove tables of ours; what cannot be removed now is no failure, but is told."""
    for index, table in enumerate(tables):
        try:
            session.execute(f"DROP TABLE IF EXISTS {table.sql}")
        except ConnectionError as error:  # the others would wait as long, and for nothing
            left = ", ".join(map(str, tables[index:]))
            log.warning("Left over, and may be dropped: %s: %s", left, error)
            return
        except RLEError as error:
            log.warning("Left over, and may be dropped: %s: %s", table, error)


@contextmanager
def _still_there(old: TableName) -> Iterator[None]:
    try:
        yield
    except NotSeenError as error:
        raise OutputExistsError(
            f"{old} was replaced or dropped by somebody else meanwhile, so nothing was changed. "
            "Write again, or choose another output alias."
        ) from error


def _put_back(session: Session, now: TableName, before: TableName) -> None:
    """Undo a renaming, if it took place: its old name is free then, and names were not reused."""
    if not is_there(session, now):
        return
    if not is_there(session, before):
        _rename(session, now, before)
    elif now.table.startswith(ASIDE):
        log.warning("The old rows of %s are in %s: its name was taken meanwhile.", before, now)


def _rename(session: Session, old: TableName, new: TableName) -> None:
    def is_done() -> bool:
        return not is_there(session, old) and is_there(session, new)

    try:
        _once(session, f"ALTER TABLE {old.sql} RENAME TO {new.sql}", is_done)
    except OutputExistsError as error:
        raise OutputExistsError(taken(new)) from error


def _swap(session: Session, draft: Draft) -> None:
    new = _created_on(session, draft.hidden)

    def is_done() -> bool:
        # Our own name tells: the other one may have been exchanged once more by somebody else.
        found = _created_on(session, draft.hidden)
        return found is not None and found != new

    _once(session, f"ALTER TABLE {draft.hidden.sql} SWAP WITH {draft.final.sql}", is_done)


def _once(session: Session, sql: str, is_done: Callable[[], bool]) -> None:
    """Run a statement that must not take place twice.

    Where it fails, what it did is looked up: its answer alone may be lost. Where it did nothing and
    the network was to blame it is run again, for the rows are all in Snowflake by now.
    """
    for pause in (*PAUSES_S, None):
        try:
            session.execute(sql)
        except RLEError as error:
            if isinstance(error, ConnectionError) and not error.may_pass:
                raise  # looking it up would sign in again, and every wrong password counts
            if is_done():
                return
            if pause is None or not isinstance(error, ConnectionError):
                raise
            time.sleep(pause)
        else:
            return


def _created_on(session: Session, name: TableName) -> object:
    shown = look_up(session, name)
    return shown["created_on"] if shown else None
