"""Complete tables that get their names together, and old ones that go, or nothing changes."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rle.connectors.swap import taken
from rle.errors import OutputExistsError, RLEError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.snowflake_names import TableName
    from rle.connectors.snowflake_session import Session

log = logging.getLogger(__name__)

TABLE_KINDS = ("TABLE", "TRANSIENT")
"""What SHOW OBJECTS calls a table that can be renamed and dropped as one."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete table and the name that it shall have."""

    hidden: TableName
    final: TableName
    name: str
    """`final` as the user wrote it."""


def look_up(session: Session, name: TableName) -> dict[str, Any] | None:
    """Return what SHOW OBJECTS says of a table or view, None where the role sees none."""
    pattern = show_pattern(name.table)
    shown = session.rows(f"SHOW OBJECTS LIKE {pattern} IN SCHEMA {name.schema_sql}")
    return next((row for row in shown if row["name"] == name.table), None)


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
        OutputExistsError: A name is taken by what is not in `replacing`; that is left alone.
    """
    if len(drafts) == 1 and [old for old, _ in replacing] == [drafts[0].final]:
        _swap(session, drafts[0])
        return
    with ExitStack() as undo:
        for old, aside in reversed(replacing):
            undo.callback(_put_back, session, aside, old)
            _rename(session, old, aside)
        for draft in drafts:
            undo.callback(_put_back, session, draft.final, draft.hidden)
            _rename(session, draft.hidden, draft.final, wanted=draft.name)
        undo.pop_all()
    for _, aside in replacing:
        drop(session, aside)


def drop(session: Session, table: TableName) -> None:
    """Remove a table of ours; one that cannot be removed now is no failure, but is told."""
    try:
        session.execute(f"DROP TABLE IF EXISTS {table.sql}")
    except RLEError as error:
        log.warning("Table %s is left over and may be dropped: %s", table, error)


def _put_back(session: Session, now: TableName, before: TableName) -> None:
    """Undo a renaming, if it took place: its old name is free then, and names were not reused."""
    if is_there(session, now) and not is_there(session, before):
        _rename(session, now, before)


def _rename(session: Session, old: TableName, new: TableName, *, wanted: str = "") -> None:
    try:
        session.execute(f"ALTER TABLE {old.sql} RENAME TO {new.sql}")
    except RLEError as error:
        # What was done is looked up, so that a lost answer neither fails nor repeats a step.
        is_done = not is_there(session, old)
        if is_done and is_there(session, new):
            return  # only the answer was lost
        is_taken = isinstance(error, OutputExistsError) or (not is_done and is_there(session, new))
        if wanted and is_taken:
            raise OutputExistsError(taken(wanted)) from error
        raise


def _swap(session: Session, draft: Draft) -> None:
    """Exchange two tables. Doing it twice would undo it, so a lost answer is looked up instead."""
    new, old = _created_on(session, draft.hidden), _created_on(session, draft.final)
    try:
        session.execute(f"ALTER TABLE {draft.hidden.sql} SWAP WITH {draft.final.sql}")
    except RLEError:
        if new == old or _created_on(session, draft.final) != new:
            raise


def _created_on(session: Session, name: TableName) -> object:
    shown = look_up(session, name)
    return shown["created_on"] if shown else None
