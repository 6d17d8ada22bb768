"""What a role needs, as the exact GRANT statements. Never more than is used; nothing is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rle.connectors.names import quote
from rle.connectors.snowflake import names
from rle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

T = TypeVar("T")


def grants_for(
    tables: Iterable[str],
    output_schema: str | None,
    role: str,
    *,
    views: Collection[str] = (),
    warehouse: str | None = None,
    schema: str | None = None,
    database: str | None = None,
) -> list[str]:
    """Return the statements after which a role can read these tables and write its results.

    Nothing is asked of any server. USAGE on what is named, SELECT on the tables alone, CREATE TABLE
    on the output schema alone; results are never written over tables of others, so no INSERT,
    UPDATE or DELETE.

    Args:
        tables: Full names of the tables that are read.
        output_schema: DB.SCHEMA of the results; None: nothing is written.
        role: The role; folded to upper case unless it is in double quotes.
        views: Those of `tables`, or further ones, that are views.
        warehouse: The warehouse that runs the queries; None: the role has one already.
        schema: DB.SCHEMA whose tables and views are all read; None: only those named.
        database: Database whose tables and views are all read, in every schema; None: as `schema`.

    Raises:
        ValidationError: A name is malformed, or nothing is named.
    """
    as_views = {names.read(view): None for view in views}
    as_tables = {names.read(table): None for table in tables}
    read = [*as_tables, *(view for view in as_views if view not in as_tables)]
    whole = names.read_schema(schema) if schema else None
    output = names.read_schema(output_schema) if output_schema else None
    everything = _one_part(database, "database") if database else None
    if not read and not (whole or everything or output):
        raise ValidationError("Grants on what? Name tables, a schema or an output schema.")
    places = [(name.database, name.schema) for name in read]
    places += [place for place in (whole, output) if place is not None]
    databases = [*([everything] if everything else []), *(db for db, _ in places)]
    statements = []
    if warehouse is not None:
        statements.append(grant("USAGE", "WAREHOUSE", [warehouse_name(warehouse)], role))
    statements += [grant("USAGE", "DATABASE", [db], role) for db in _once(databases)]
    if everything is not None:
        statements.append(_grant_all("USAGE", "SCHEMAS", [everything], role))
    statements += [
        grant("USAGE", "SCHEMA", place, role) for place in _once(places) if place[0] != everything
    ]
    statements += [
        grant("SELECT", "VIEW" if name in as_views else "TABLE", name, role) for name in read
    ]
    for place in (whole, [everything] if everything else None):
        if place is not None:
            statements += [_grant_all("SELECT", kind, place, role) for kind in ("TABLES", "VIEWS")]
    if output is not None:
        statements.append(grant("CREATE TABLE", "SCHEMA", output, role))
    return statements


def grant(privilege: str, kind: str, parts: Sequence[str], role: str) -> str:
    """Return one GRANT statement.

    Args:
        privilege: Such as SELECT.
        kind: Such as TABLE.
        parts: The object's name as Snowflake stores it, part by part.
        role: As the user wrote it.
    """
    return f"GRANT {privilege} ON {kind} {_sql(parts)} TO ROLE {quote(role_name(role))}"


def _grant_all(privilege: str, kinds: str, place: Sequence[str], role: str) -> str:
    where = f"{'SCHEMA' if len(place) > 1 else 'DATABASE'} {_sql(place)}"
    return f"GRANT {privilege} ON ALL {kinds} IN {where} TO ROLE {quote(role_name(role))}"


def role_name(role: str) -> str:
    """Return a role's name as Snowflake stores it: folded, unless it is in double quotes.

    Raises:
        ValidationError: It is empty, or needs double quotes and has none.
    """
    return _one_part(role, "role")


def warehouse_name(warehouse: str) -> str:
    """Return a warehouse's name as Snowflake stores it; see `role_name`."""
    return _one_part(warehouse, "warehouse")


def _one_part(name: str, what: str) -> str:
    try:
        return names.read(f"X.X.{name}").table
    except ValidationError:
        raise ValidationError(
            f"{what.capitalize()} {name!r} is no name of Snowflake's; one with other characters "
            'than letters, digits and underscores goes in double quotes: "odd name".'
        ) from None


def _sql(parts: Sequence[str]) -> str:
    return ".".join(map(quote, parts))


def _once(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
