"""Hidden names of tables and files on their way, and what killed processes left under them."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rle.connectors.snowflake.publish import ASIDE, drop, show_pattern
from rle.errors import PermissionError

if TYPE_CHECKING:
    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

LEFTOVER_AGE = timedelta(hours=24)
"""Age from which a hidden table of the same user is one of a process that was killed."""
HIDDEN = "RLE_TMP"
"""How names of what is on its way begin."""
_STAMP = "%Y%m%d%H%M%S"


def mark(user: str | None) -> str:
    """Return a name that nobody else has, with the user and the time in it."""
    stamp = datetime.now(UTC).strftime(_STAMP)
    return f"{_begin(user)}{stamp}_{uuid.uuid4().hex[:12].upper()}"


def aside(name: str) -> str:
    """Return a name to put an old table aside under, for one of `mark`.

    It does not begin as those that are cleaned away by themselves: should a process be killed
    while it is in use, the table is the only copy of the old rows.
    """
    return name.replace(HIDDEN, ASIDE, 1)


def is_leftover(table: str, *, user: str | None, now: datetime) -> bool:
    """Whether a table's name says that a process of this user made it and was killed.

    Args:
        table: Name of the table alone.
        user: Who is signed in.
        now: With a zone.
    """
    begin = _begin(user)
    if not table.startswith(begin):
        return False
    try:
        made = datetime.strptime(table[len(begin) :].split("_")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return now - made > LEFTOVER_AGE


def remove_leftovers(opened: Session, place: TableName) -> None:
    """Drop what killed processes of this user left in a schema.

    Args:
        opened: The user's session.
        place: Any name in the schema.
    """
    user, now = opened.current_user, datetime.now(UTC)
    pattern = show_pattern(f"{_begin(user)}%")
    try:
        shown = opened.rows(f"SHOW TABLES LIKE {pattern} IN SCHEMA {place.schema_sql}")
    except PermissionError:
        return
    found = [str(row["name"]) for row in shown]
    drop(
        opened,
        [place._replace(table=name) for name in found if is_leftover(name, user=user, now=now)],
    )


def remove_staged_leftovers(opened: Session) -> None:
    """Remove what killed processes left on the user's own stage, which goes with no session."""
    user, now = opened.current_user, datetime.now(UTC)
    listed = opened.rows(f"LIST @~/{_begin(user)}")
    folders = {part for row in listed for part in str(row["name"]).split("/")}
    for folder in sorted(folders):
        if is_leftover(folder, user=user, now=now):
            opened.execute(f"REMOVE @~/{folder}/")


def _begin(user: str | None) -> str:
    # A user's name has any characters and any length, and the same digest for every process.
    digest = hashlib.sha256((user or "").encode()).hexdigest()[:8].upper()
    return f"{HIDDEN}_{digest}_"
