"""What others may do with a table, given to the one that takes its place."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, NamedTuple

from rle.connectors.names import quote
from rle.connectors.snowflake.privileges import name_parts
from rle.errors import ConnectionError, RLEError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.publish import Draft
    from rle.connectors.snowflake.session import Session

log = logging.getLogger(__name__)

_ROLES = {"ROLE": "ROLE", "DATABASE_ROLE": "DATABASE ROLE"}
_WORDS = re.compile(r"[A-Z][A-Z ]*")


class _Grant(NamedTuple):
    """A row of SHOW GRANTS ON TABLE."""

    privilege: str
    to: str
    """Kind of whoever has it, such as ROLE."""
    name: str
    may_pass_on: bool

    def sql(self, table: TableName) -> str | None:
        """Return the statement that gives it on a table; None for whom nobody gives it so."""
        if self.to not in _ROLES or not _WORDS.fullmatch(self.privilege) or not self.name:
            return None
        is_quoted = self.name.startswith('"')
        name = name_parts(self.name)[-1:] if is_quoted or self.to != "ROLE" else (self.name,)
        if self.to != "ROLE":
            # A role in a database gets privileges on what is in that database, and nothing else.
            name = (table.database, *name)
        option = " WITH GRANT OPTION" if self.may_pass_on else ""
        option = " COPY CURRENT GRANTS" if self.privilege == "OWNERSHIP" else option
        who = f"{_ROLES[self.to]} {'.'.join(map(quote, name))}"
        return f"GRANT {self.privilege} ON TABLE {table.sql} TO {who}{option}"


def carry_grants(session: Session, drafts: Sequence[Draft], olds: Sequence[TableName]) -> None:
    """Give each draft that replaces a table what was granted on that.

    A table takes its grants along when it is renamed or exchanged, so a new one has only what
    FUTURE GRANTS of its schema gave it. What cannot be given is logged, with the statements for
    whoever may: in a schema WITH MANAGED ACCESS the owner of a table may not. So is the role that
    owned the old table, where it is another one than this session's; the new table stays ours.

    Args:
        session: Of the role that owns all these tables.
        drafts: New tables, under their hidden names.
        olds: Tables that are there and are to be replaced.

    Raises:
        ConnectionError: Snowflake cannot be reached.
    """
    for draft in drafts:
        if draft.final in olds:
            _carry(session, draft)


def _carry(session: Session, draft: Draft) -> None:
    try:
        missing = _grants_on(session, draft.final) - _grants_on(session, draft.hidden)
    except ConnectionError:
        raise
    except RLEError as error:
        log.warning("What others may do with %s could not be looked up: %s", draft.final, error)
        return
    lost = [grant for grant in sorted(missing) if not _give(session, grant, draft.hidden)]
    if lost:
        told = [grant.sql(draft.final) or _in_words(grant, draft.final) for grant in lost]
        log.warning(
            "%s replaces a table that others had privileges on, and these were not given again. "
            "Ask an administrator to run: %s",
            draft.final,
            " ".join(f"{statement};" for statement in told),
        )


def _give(session: Session, grant: _Grant, table: TableName) -> bool:
    statement = grant.sql(table)
    if statement is None or grant.privilege == "OWNERSHIP":
        return False
    try:
        session.execute(statement)
    except RLEError:  # whatever the reason, the table is worth more than the grant
        return False
    return True


def _grants_on(session: Session, table: TableName) -> set[_Grant]:
    rows = session.rows(f"SHOW GRANTS ON TABLE {table.sql}")
    return {
        _Grant(
            str(row["privilege"]),
            str(row["granted_to"]),
            str(row["grantee_name"]),
            str(row["grant_option"]).lower() == "true",
        )
        for row in rows
    }


def _in_words(grant: _Grant, table: TableName) -> str:
    kind = grant.to.replace("_", " ")
    return f"GRANT {grant.privilege} ON TABLE {table.sql} TO {kind} {grant.name}"
