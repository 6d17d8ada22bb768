"""One session of the stand-in for Snowflake, and the answers its statements give.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.cursor import FakeSnowflakeCursor
from snowflake_accounts import SnowflakeError, not_allowed, not_there
from snowflake_catalog import Catalog, Name, Table, shown, split_name
from snowflake_types import MAX_TEXT, SfType

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    from snowflake_accounts import Account, Tokens, User, Warehouse

SELECT, INSERT, UPDATE, DELETE, MERGE, COPY = 0x1000, 0x3100, 0x3200, 0x3300, 0x3400, 0x3600
SHOW, OTHER, UNKNOWN = 0x4400, 0x6000, 0x0000
TEXT = SfType("VARCHAR", length=MAX_TEXT)
COUNT = SfType("NUMBER", precision=18)


@dataclass
class Answer:
    """Rows of a statement, with the types that Snowflake announces for them."""

    rows: pa.Table
    types: list[SfType]
    kind: int = SELECT
    upload: dict[str, Any] | None = None
    """What a PUT tells the driver instead of rows."""

    @property
    def is_query(self) -> bool:
        """Whether it may come as Arrow: Snowflake answers all else in JSON."""
        return self.kind == SELECT


def texts(columns: dict[str, list[Any]], kind: int = SHOW) -> Answer:
    """Return an answer all of whose columns are text."""
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return Answer(rows, [TEXT] * len(columns), kind)


def records(names: tuple[str, ...], found: list[dict[str, Any]]) -> Answer:
    """Return an answer of SHOW: these columns, all texts, empty where a row says nothing."""
    return texts({name: [row.get(name, "") for row in found] for name in names})


def done(message: str = "Statement executed successfully.") -> Answer:
    """Return the answer of what only succeeds."""
    return texts({"status": [message]}, OTHER)


def counted(**counts: int) -> Answer:
    """Return the answer of a statement that changed rows, by the names of its counts."""
    names = {"inserted": INSERT, "updated": UPDATE, "deleted": DELETE}
    kind = MERGE if len(counts) > 1 else names[next(iter(counts))]
    columns = {f"number of rows {name}": pa.array([n], pa.int64()) for name, n in counts.items()}
    if kind == UPDATE:
        columns["number of multi-joined rows updated"] = pa.array([0], pa.int64())
    return Answer(pa.table(columns), [COUNT] * len(columns), kind)


@dataclass
class Session:
    """Who is logged in, and what is current."""

    account: Account
    catalog: Catalog
    user: User
    tokens: Tokens
    role: str
    warehouse: str | None = None
    database: str | None = None
    schema: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    last_query: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    lock: threading.RLock = field(default_factory=threading.RLock)
    is_cancelled: bool = False
    in_transaction: bool = False

    def __post_init__(self) -> None:
        self.con: duckdb.DuckDBPyConnection = self.catalog.con.cursor()
        self.translator = FakeSnowflakeConnection(self.con, {})

    def cursor(self) -> FakeSnowflakeCursor:
        """Return fakesnow's cursor, used for its translation of SQL alone."""
        self.translator.database, self.translator._schema = self.database, self.schema
        return FakeSnowflakeCursor(conn=self.translator, duck_conn=self.con)

    def close(self) -> None:
        """Drop what was temporary."""
        self.catalog.end_session(self.id)
        self.con.close()

    def name(self, text: str) -> Name:
        """Return the full exact name for a name as written."""
        return self.full(split_name(text))

    def full(self, parts: list[str]) -> Name:
        """Return the full name for exact parts; what is missing is what is current."""
        if len(parts) < 3 and self.database is None:
            raise SnowflakeError(
                "090105",
                "Cannot perform operation. This session does not have a current database. "
                "Call 'USE DATABASE', or use a qualified name.",
                "22000",
            )
        if len(parts) < 2 and self.schema is None:
            raise SnowflakeError(
                "090106",
                "Cannot perform operation. This session does not have a current schema. "
                "Call 'USE SCHEMA', or use a qualified name.",
                "22000",
            )
        head = [self.database or "", self.schema or ""][: 3 - len(parts)]
        return Name(*head, *parts)

    def may(self, privilege: str, kind: str, name: str) -> bool:
        """Say whether the current role has a privilege."""
        return self.account.has(self.role, privilege, kind, name)

    def check_usage(self, name: Name) -> None:
        """Raise where the role may not use the database or the schema of a name."""
        schema = f"{shown(name.database)}.{shown(name.schema)}"
        self.catalog.check_schema(name.database, name.schema)
        if not self.may("USAGE", "DATABASE", shown(name.database)):
            raise not_there("Database", shown(name.database))
        if not self.may("USAGE", "SCHEMA", schema):
            raise not_there("Schema", schema)

    def see(self, name: Name) -> Table:
        """Return a table or view that the role sees, for it may do anything at all with it."""
        self.check_usage(name)
        table = self.catalog.find(name)
        hidden = table.owner_session not in (None, self.id)
        if hidden or not self.may("ALL", table.kind, str(name)):
            raise not_there("Object", str(name))
        return table

    def check_table(self, name: Name, privilege: str) -> Table:
        """Return a table that the role may do this with."""
        table = self.see(name)
        if not self.may(privilege, table.kind, str(name)):
            raise not_allowed(table.kind.lower(), shown(name.table))
        return table

    def check_create(self, name: Name, what: str) -> None:
        """Raise where the role may not create tables (or stages, or views) in a schema."""
        self.check_usage(name)
        if not self.may(f"CREATE {what}", "SCHEMA", f"{shown(name.database)}.{shown(name.schema)}"):
            raise not_allowed("schema", shown(name.schema))

    def find_warehouse(self, name: str) -> Warehouse:
        """Return a warehouse that the role may use."""
        warehouse = self.account.warehouses.get(name)
        if warehouse is None or not self.may("USAGE", "WAREHOUSE", shown(name)):
            raise SnowflakeError(
                "002043",
                "SQL compilation error:\nObject does not exist, or operation cannot be performed.",
                "02000",
            )
        return warehouse

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Run the block whole or not at all, within the transaction that is open or in its own."""
        if self.in_transaction:
            yield
            return
        self.con.begin()
        try:
            yield
            self.con.commit()
        except BaseException:
            self.con.rollback()
            raise

    def need_warehouse(self) -> None:
        """Wake the current warehouse, or raise where none can run a statement."""
        warehouse = self.account.warehouses.get(self.warehouse or "")
        if warehouse is not None and warehouse.quota_is_used:
            raise SnowflakeError(
                "090073",
                f"Warehouse '{warehouse.name}' cannot be resumed because resource monitor "
                "'MONTHLY' has exceeded its quota.",
                "22000",
            )
        if warehouse is None or (warehouse.is_suspended and not warehouse.resumes):
            raise SnowflakeError(
                "000606",
                "No active warehouse selected in the current session.  Select an active "
                "warehouse with the 'use warehouse' command.",
                "57P03",
            )
        warehouse.is_suspended = False

    def wait(self, seconds: float) -> None:
        """Let time pass, as a statement that takes long; ends early where it is cancelled."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_cancelled:
            time.sleep(min(0.02, seconds))
