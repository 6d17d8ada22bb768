"""What is there in an account and open to a role: cheap questions, asked before any work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rle.connectors.names import quote
from rle.connectors.snowflake import names
from rle.connectors.snowflake.session import session
from rle.errors import NotSeenError, PermissionError, RLEError, UnknownNameError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

MAX_SOURCES = 10_000
"""Names that `sources` returns at most: what one SHOW returns. `sources_in` returns all."""

_log = logging.getLogger(__name__)

_OF_THE_SYSTEM = frozenset({"SNOWFLAKE", "SNOWFLAKE_SAMPLE_DATA"})


def sources(connector: SnowflakeConnector) -> list[str]:
    """Return the full names of tables and views that the role can see, sorted.

    Of an account with more than `MAX_SOURCES`, some are left out: it is logged.
    """
    with session(connector, doing="listing tables") as opened:
        rows = opened.rows(f"SHOW OBJECTS IN ACCOUNT LIMIT {MAX_SOURCES}")
    if len(rows) >= MAX_SOURCES:
        _log.warning(
            "The account has more than %s tables, and Snowflake lists no more at once: some are "
            "left out. `sources_in` lists those of one schema.",
            f"{MAX_SOURCES:,}",
        )
    return sorted(set(_full_names(rows)))


def sources_in(connector: SnowflakeConnector, schema: str) -> list[str]:
    """Return the full names of tables and views of one schema, sorted.

    Args:
        connector: The account.
        schema: DB.SCHEMA; what is not in double quotes is folded to upper case.

    Raises:
        UnknownNameError: There is no such schema for this role, or nothing in it.
    """
    parts = names.read_schema(schema)
    name = names.write(parts)
    sql = ".".join(map(quote, parts))
    with session(connector, doing=f"listing the tables of {name}") as opened:
        try:
            rows = _all_objects(opened, sql)
        except NotSeenError as error:
            known = _schemas(opened, parts[0])
            raise NotSeenError("schema in Snowflake", name, known, error.args[3]) from None
        if not rows:
            known = _schemas(opened, parts[0])
            raise UnknownNameError("schema with tables", name, [k for k in known if k != name])
    return sorted(set(_full_names(rows)))


def _schemas(opened: Session, database: str) -> list[str]:
    """Return the full names of the schemas that the role sees; none where it sees no database."""
    try:
        rows = opened.rows(f"SHOW SCHEMAS IN DATABASE {quote(database)}")
    except RLEError:
        return []
    found = [row["name"] for row in rows if row["name"] != "INFORMATION_SCHEMA"]
    return [names.write((database, name)) for name in found]


def _all_objects(opened: Session, schema: str) -> list[dict[str, Any]]:
    """Return what SHOW says of all objects of a schema, page by page, in the order of names."""
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = opened.rows(f"SHOW OBJECTS IN SCHEMA {schema} LIMIT {MAX_SOURCES}{after}")
        last = rows[-1]["name"] if rows else None
        rows += page
        if len(page) < MAX_SOURCES or page[-1]["name"] == last:
            return rows
        text = page[-1]["name"].replace("\\", "\\\\").replace("'", "\\'")
        after = f" FROM '{text}'"


def _full_names(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        database, schema = str(row.get("database_name")), str(row.get("schema_name"))
        if database not in _OF_THE_SYSTEM and schema != "INFORMATION_SCHEMA":
            yield str(names.TableName(database, schema, row["name"]))


def exists(connector: SnowflakeConnector, name: TableName) -> bool:
    """Whether the role can see a table or view of this name."""
    with session(connector, doing=f"looking for {name}", table=name) as opened:
        return _is_there(opened, name)


def _is_there(opened: Session, name: TableName) -> bool:
    try:
        opened.execute(f"DESCRIBE TABLE {name.sql}")
    except (UnknownNameError, PermissionError):
        return False
    return True


def probe(connector: SnowflakeConnector, name: TableName) -> None:
    """Check that the role may select from a table or view, without reading a row."""
    with session(connector, doing=f"reading {name}", table=name) as opened:
        opened.execute(f"SELECT 1 FROM {name.sql} LIMIT 0")  # noqa: S608 - the name is quoted


def check_access(connector: SnowflakeConnector) -> tuple[str, ...]:
    """Sign in, and see that the warehouse is there; see `Connector.check_access`.

    What a job reads and writes is not known yet, so no grant on it is looked at: each submission
    tries its tables (`probe_tables`) and its output (`can_create`) before anything is sent.
    """
    with session(connector, doing="signing in") as opened:
        opened.execute("SELECT 1")
        warehouse = opened.current_warehouse
    if warehouse is None:
        return ("No warehouse is set, and the user has no default one: queries may be refused.",)
    return ()


def address(endpoint_url: str) -> dict[str, Any]:
    """Return host, port and protocol of a URL.

    Raises:
        ValidationError: It is no address of a server, or it holds a password.
    """
    wrong = ValidationError(
        "endpoint_url must be the address of a server and nothing more, such as "
        "https://myorg-myaccount.snowflakecomputing.com."
    )
    try:
        parts = urlsplit(endpoint_url if "://" in endpoint_url else f"https://{endpoint_url}")
        port = parts.port
    except (ValueError, TypeError, AttributeError):
        raise wrong from None
    is_plain = parts.hostname and parts.path in ("", "/") and not parts.query
    is_plain = is_plain and "@" not in parts.netloc
    if parts.scheme not in ("https", "http") or not is_plain:
        raise wrong
    found = {"host": parts.hostname, "port": port, "protocol": parts.scheme}
    return {key: value for key, value in found.items() if value is not None}
