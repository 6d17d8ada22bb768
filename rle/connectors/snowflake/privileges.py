"""What a role of Snowflake's holds and what it lacks, found out before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rle.connectors.names import quote
from rle.connectors.snowflake import names
from rle.connectors.snowflake.grants import grant, grants_for, warehouse_name
from rle.connectors.snowflake.session import session
from rle.errors import ConnectionError, NotSeenError, PermissionError, RLEError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

MAX_ROLES = 200
"""Inherited roles that are looked at; a hierarchy with more is not verified to its end."""
_READABLE = ("TABLE", "VIEW", "MATERIALIZED VIEW", "EXTERNAL TABLE", "DYNAMIC TABLE")


@dataclass(frozen=True, slots=True)
class Held:
    """The grants of a role and of all roles that it inherits."""

    role: str
    """Name as Snowflake stores it."""
    roles: frozenset[str]
    """It and the account roles below it."""
    grants: frozenset[tuple[str, str, tuple[str, ...]]]
    """(privilege, kind of object, its name part by part)."""

    def allows(self, privilege: str, kind: str, parts: Sequence[str]) -> bool:
        """Whether a privilege is held, or the object is owned."""
        wanted = tuple(parts)
        return any((p, kind, wanted) in self.grants for p in (privilege, "OWNERSHIP"))

    def lacks_to_read(self, name: TableName, *, is_view: bool = False) -> list[str]:
        """Return the statements without which a table or view cannot be read."""
        needed = self._lacks_to_use(name.database, name.schema)
        if not any(self.allows("SELECT", kind, name) for kind in _READABLE):
            needed.append(grant("SELECT", "VIEW" if is_view else "TABLE", name, quote(self.role)))
        return needed

    def lacks_to_create(self, database: str, schema: str) -> list[str]:
        """Return the statements without which no table can be created in a schema."""
        needed = self._lacks_to_use(database, schema)
        if not self.allows("CREATE TABLE", "SCHEMA", (database, schema)):
            needed.append(grant("CREATE TABLE", "SCHEMA", (database, schema), quote(self.role)))
        return needed

    def _lacks_to_use(self, database: str, schema: str) -> list[str]:
        objects = (("DATABASE", (database,)), ("SCHEMA", (database, schema)))
        return [
            grant("USAGE", kind, parts, quote(self.role))
            for kind, parts in objects
            if not self.allows("USAGE", kind, parts)
        ]


@dataclass(frozen=True, slots=True)
class Missing:
    """What a role lacks."""

    statements: list[str] = field(default_factory=list)
    """GRANT statements, each once; empty where nothing is known to be missing."""
    warnings: list[str] = field(default_factory=list)
    """What could not be verified, in words."""


def held_by(opened: Session) -> Held | None:
    """Return what the session's role holds, with all roles below it; None where that is not told.

    Only the primary role and what it inherits allow CREATE, so that is what is looked at: grants
    that come by secondary roles are not seen here.

    Raises:
        ConnectionError: Snowflake cannot be reached.
    """
    role = opened.current_role
    if not role:
        return None
    grants: set[tuple[str, str, tuple[str, ...]]] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [("ROLE", (role,)), ("ROLE", ("PUBLIC",))]
    seen = set(waiting)
    while waiting:
        kind, parts = waiting.pop()
        try:
            rows = opened.rows(f"SHOW GRANTS TO {kind} {'.'.join(map(quote, parts))}")
        except ConnectionError:
            raise
        except RLEError:
            return None
        for row in rows:
            what, of = str(row["granted_on"]).replace("_", " "), name_parts(str(row["name"]))
            grants.add((str(row["privilege"]), what, of))
            below = (what, of)
            if row["privilege"] == "USAGE" and what.endswith("ROLE") and below not in seen:
                seen.add(below)
                waiting.append(below)
        if len(seen) > MAX_ROLES:
            return None
    roles = frozenset(parts[0] for kind, parts in seen if kind == "ROLE")
    return Held(role, roles, frozenset(grants))


def name_parts(shown: str) -> tuple[str, ...]:
    """Split a name as SHOW GRANTS prints it: DB.SCHEMA.TABLE, in double quotes where needed."""
    parts: list[str] = []
    rest = shown
    while rest:
        if rest.startswith('"'):
            quoted, rest = _quoted_part(rest)
            parts.append(quoted)
            rest = rest.removeprefix(".")
        else:
            part, _, rest = rest.partition(".")
            parts.append(part)
    return tuple(parts)


def _quoted_part(text: str) -> tuple[str, str]:
    """Return what stands in double quotes at the start of a text, and what follows."""
    end = 1
    while (end := text.find('"', end)) != -1 and text[end + 1 : end + 2] == '"':
        end += 2
    if end == -1:
        return text, ""
    return text[1:end].replace('""', '"'), text[end + 1 :]


def check_schema(opened: Session, name: TableName) -> None:
    """Raise NotSeenError where the schema of a table to be made is not seen; says what to grant."""
    try:
        rows = opened.rows(f"SHOW SCHEMAS IN DATABASE {quote(name.database)}")
    except PermissionError:
        rows = []
    if not rows:  # whoever sees a database sees its INFORMATION_SCHEMA
        rows = opened.rows("SHOW DATABASES")
        raise _unseen_place("database", name.database, rows, opened, name)
    if all(row["name"] != name.schema for row in rows):
        raise _unseen_place("schema", name.schema, rows, opened, name)


def _unseen_place(
    what: str, part: str, seen: list[dict[str, Any]], opened: Session, name: TableName
) -> NotSeenError:
    held, place = held_by(opened), (name.database, name.schema)
    needed = held.lacks_to_create(*place) if held else []
    if not needed:
        needed = grants_for([], names.write(place), opened.where.role or '"<role>"')
    # As they are to be written: a name in small letters is another one without its quotes.
    known = [names.write((str(row["name"]),)) for row in seen]
    return NotSeenError(f"{what} for {name} in Snowflake", part, known, _if_right(needed))


def check_create(held: Held, name: TableName, *, owner: str | None = None) -> None:
    """Raise where a role may not create a table, as far as its grants tell.

    Args:
        held: What the role holds that will write.
        name: The table.
        owner: Role that owns the table which has this name now and is to be replaced.

    Raises:
        PermissionError: The role may not create tables in the schema, or not replace this one.
    """
    schema = (name.database, name.schema)
    if not held.allows("CREATE TABLE", "SCHEMA", schema):
        raise PermissionError(
            f"{name} cannot be created: role {held.role} may not create tables in "
            f"{names.write(schema)}. {ask(held.lacks_to_create(*schema))}"
        )
    if owner and owner not in held.roles and not held.allows("OWNERSHIP", "TABLE", name):
        statement = grant("OWNERSHIP", "TABLE", name, quote(held.role)) + " COPY CURRENT GRANTS"
        raise PermissionError(
            f"{name} cannot be replaced: it is owned by role {owner}, and the role in use is "
            f"{held.role}. Choose another output alias. Or: {ask([statement])}"
        )


def missing(
    connector: SnowflakeConnector, tables: Iterable[str], output: str | None = None
) -> Missing:
    """Return what the connector's role lacks to read these tables and to write there.

    Each table is tried, which tells of grants by whatever way; for what fails, and for the output,
    the role's grants are looked up.

    Args:
        connector: Signs in.
        tables: Full names.
        output: DB.SCHEMA of the results; None: nothing is written.

    Raises:
        ConnectionError: Snowflake cannot be reached, or refuses to sign in.
        DataError: A view is broken.
    """
    found = Missing()
    with session(connector, doing="checking access") as opened:
        held = held_by(opened)
        role = quote(held.role) if held else opened.where.role or '"<role>"'
        for source in dict.fromkeys(tables):
            name = names.read(source)
            if _can_read(opened, name):
                continue
            needed = held.lacks_to_read(name) if held else []
            if not needed:
                needed = grants_for([source], None, role)
                found.warnings.append(
                    f"{source} cannot be read: it is not there, or a grant is missing; Snowflake "
                    "does not say which."
                )
            found.statements.extend(s for s in needed if s not in found.statements)
        if output is not None:
            place = names.read_schema(output)
            if held is None:
                found.warnings.append(
                    f"Whether tables can be created in {output} cannot be verified: the grants of "
                    "the role are not shown to it."
                )
            else:
                needed = held.lacks_to_create(*place)
                found.statements.extend(s for s in needed if s not in found.statements)
        if held and connector.warehouse:
            warehouse = (warehouse_name(connector.warehouse),)
            if not held.allows("USAGE", "WAREHOUSE", warehouse):
                found.statements.insert(0, grant("USAGE", "WAREHOUSE", warehouse, role))
    return found


def check_tables(connector: SnowflakeConnector, sources: Iterable[str]) -> list[str]:
    """Try each source once, and tell of all that are closed at once; return them, each once.

    Raises:
        NotSeenError: Some are not there, or closed; has every GRANT that is missing. It is both an
            UnknownNameError and a PermissionError.
        PermissionError: One is seen, but may not be read; has the GRANT.
        ConnectionError: Snowflake cannot be reached, or refuses to sign in.
        DataError: A view is broken.
    """
    distinct = list(dict.fromkeys(sources))
    with session(connector, doing="checking access to tables") as opened:
        closed = [source for source in distinct if not _can_read(opened, names.read(source))]
        if not closed:
            return distinct
        held = held_by(opened)
        known = _seen_beside(opened, names.read(closed[0])) if len(closed) == 1 else {}
        role = opened.where.role or '"<role>"'
    needed: list[str] = []
    for source in closed:
        name = names.read(source)
        views = [source] if known.get(str(name)) == "VIEW" else []
        lacking = held.lacks_to_read(name, is_view=bool(views)) if held else []
        lacking = lacking or grants_for([source], None, role, views=views)
        needed += [statement for statement in lacking if statement not in needed]
    if len(closed) == 1 and str(names.read(closed[0])) in known:
        raise PermissionError(f"{closed[0]} is there, and {role} may not read it. {ask(needed)}")
    others = ", ".join(map(repr, closed[1:]))
    also = f"The same goes for {others}. " if others else ""
    way_out = also + _if_right(needed)
    raise NotSeenError("table or view in Snowflake", closed[0], known, way_out)


def ask(statements: Sequence[str]) -> str:
    """Say what an administrator is asked for."""
    return f"Ask an administrator to run: {' '.join(f'{s};' for s in statements)}"


def _if_right(statements: Sequence[str]) -> str:
    is_of_table = any(" ON TABLE " in statement for statement in statements)
    of_view = " (ON VIEW, where it is a view.)" if is_of_table else ""
    return f"Where the name is right, a grant is missing. {ask(statements)}{of_view}"


def _can_read(opened: Session, name: TableName) -> bool:
    try:
        opened.execute(f"SELECT 1 FROM {name.sql} LIMIT 0")  # noqa: S608
    except PermissionError:
        return False
    return True


def _seen_beside(opened: Session, name: TableName) -> dict[str, str]:
    """Return the names of what is seen in the schema of a table, each with what it is."""
    try:
        rows = opened.rows(f"SHOW OBJECTS IN SCHEMA {name.schema_sql}")
    except PermissionError:
        return {}
    return {str(name._replace(table=str(row["name"]))): str(row.get("kind")) for row in rows}
