"""What the stand-in for Snowflake holds: databases, schemas, tables, views, keys and stages.

DuckDB keeps the rows. What it does not know is kept here: exact names (its own ignore case),
declared types, keys that nothing enforces, and when a table last changed.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
from fakesnow import macros
from snowflake_accounts import SnowflakeError, not_there
from snowflake_types import SfType, from_duckdb

if TYPE_CHECKING:
    from collections.abc import Callable

_PART = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
NAME = rf"{_PART}(?:\s*\.\s*{_PART}){{0,2}}"
"""Pattern of a name of one to three parts."""


class Name(NamedTuple):
    """Exact name of what is in a schema."""

    database: str
    schema: str
    table: str

    def __str__(self) -> str:
        return ".".join(map(shown, self))

    @property
    def sql(self) -> str:
        """All three parts, quoted."""
        return ".".join(map(quoted, self))


@dataclass
class Column:
    """A column as declared."""

    sf_type: SfType
    is_nullable: bool = True
    default: str | None = None
    comment: str | None = None


class Foreign(NamedTuple):
    """A foreign key that nothing enforces."""

    columns: tuple[str, ...]
    table: Name
    referenced: tuple[str, ...]
    name: str


@dataclass
class Table:
    """A table or view."""

    columns: dict[str, Column]
    view_sql: str | None = None
    primary: tuple[str, ...] = ()
    primary_name: str = ""
    unique: list[tuple[str, ...]] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    """Files that COPY INTO has loaded, and does not load twice."""
    cluster_by: str = ""
    comment: str = ""
    owner_session: str | None = None
    """Session of a temporary table."""
    created: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    changed: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def kind(self) -> str:
        """TABLE or VIEW."""
        return "VIEW" if self.view_sql is not None else "TABLE"


@dataclass
class Stage:
    """An internal stage: a folder."""

    folder: Path
    owner_session: str | None = None


class Catalog:
    """Everything of one account, over one DuckDB."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open it.

        Args:
            folder: Where database files go; None keeps them in memory.
        """
        self.folder = folder
        # fakesnow's SQL has lambdas in the old notation.
        self.con = duckdb.connect(config={"lambda_syntax": "ENABLE_SINGLE_ARROW"})
        self.con.execute("SET GLOBAL TimeZone = 'UTC'")
        self.con.execute(macros.creation_sql("memory.main"))
        self.stages_folder = Path(tempfile.mkdtemp(prefix="rle_stages_"))
        self.schemas: dict[str, set[str]] = {}
        self.tables: dict[Name, Table] = {}
        self.stages: dict[Name, Stage] = {}
        self.lock = threading.RLock()

    def close(self) -> None:
        """Let go of everything."""
        self.con.close()
        shutil.rmtree(self.stages_folder, ignore_errors=True)

    def create_database(self, database: str) -> None:
        """Create a database with its schema PUBLIC, where there is none of this name."""
        with self.lock:
            if database in self.schemas:
                return
            file = ":memory:" if self.folder is None else str(self.folder / f"{database}.duckdb")
            self.con.execute(f"ATTACH {literal(file)} AS {quoted(database)}")
            self.schemas[database] = set()
            self.create_schema(database, "PUBLIC")

    def create_schema(self, database: str, schema: str) -> None:
        """Create a schema, where there is none of this name."""
        with self.lock:
            if schema not in self.schemas[database]:
                self.con.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(database)}.{quoted(schema)}")
                self.schemas[database].add(schema)

    def drop_database(self, database: str) -> None:
        """Drop a database and all that is in it."""
        with self.lock:
            for schema in list(self.schemas[database]):
                self.drop_schema(database, schema)
            self.con.execute(f"DETACH {quoted(database)}")
            del self.schemas[database]

    def drop_schema(self, database: str, schema: str) -> None:
        """Drop a schema and all that is in it."""
        with self.lock:
            for name in [name for name in self.tables if name[:2] == (database, schema)]:
                del self.tables[name]
            self.con.execute(f"DROP SCHEMA {quoted(database)}.{quoted(schema)} CASCADE")
            self.schemas[database].discard(schema)

    def check_schema(self, database: str, schema: str) -> None:
        """Raise where there is no such schema."""
        if database not in self.schemas:
            raise not_there("Database", shown(database))
        if schema not in self.schemas[database] and schema != "INFORMATION_SCHEMA":
            raise not_there("Schema", f"{shown(database)}.{shown(schema)}")

    def find(self, name: Name) -> Table:
        """Return a table or view by its exact name."""
        table = self.tables.get(name)
        if table is None:
            raise not_there("Object", str(name))
        return table

    def check_free(self, name: Name) -> None:
        """Raise where a name is taken, in any case: DuckDB could not hold both."""
        for other in self.tables:
            if tuple(map(str.casefold, other)) == tuple(map(str.casefold, name)):
                raise taken(shown(name.table))

    def put(self, name: Name, file: Path, types: dict[str, SfType]) -> int:
        """Make a table of a Parquet file, replacing one of this name; return the number of rows.

        Args:
            name: Its exact name; database and schema are created where needed.
            file: Rows. Their names are kept exactly.
            types: Declared types by column; the rest follows the file's types.
        """
        con = self.con.cursor()
        source = f"read_parquet({literal(str(file))})"
        described = con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        columns, selected = {}, []
        for column, kind, *_ in described:
            sf_type = types.get(column) or _declared(kind)
            is_json = sf_type.name in ("VARIANT", "OBJECT", "ARRAY", "VECTOR", "GEOGRAPHY")
            given = quoted(column)
            if is_json:
                given = f"CAST({given} AS JSON)" if kind == "VARCHAR" else f"to_json({given})"
            selected.append(f"{given} AS {quoted(column)}")
            columns[column] = Column(sf_type)
        with self.lock:
            self.create_database(name.database)
            self.create_schema(name.database, name.schema)
            con.execute(
                f"CREATE OR REPLACE TABLE {name.sql} AS SELECT {', '.join(selected)} FROM {source}"
            )
            self.tables[name] = Table(columns)
            return int(con.execute(f"SELECT count(*) FROM {name.sql}").fetchall()[0][0])

    def num_rows(self, name: Name) -> int:
        """Return the number of rows of a table."""
        rows = self.con.cursor().execute(f"SELECT count(*) FROM {name.sql}").fetchall()
        return int(rows[0][0])

    def touch(self, name: Name) -> None:
        """Note that a table's rows changed."""
        if name in self.tables:
            self.tables[name].changed = dt.datetime.now(dt.UTC)

    def move(self, old: Name, new: Name, run: Callable[[str], object]) -> None:
        """Rename a table, also into another schema of its database."""
        if old[:2] == new[:2]:
            run(f"ALTER TABLE {old.sql} RENAME TO {quoted(new.table)}")
        else:
            run(f"CREATE TABLE {new.sql} AS SELECT * FROM {old.sql}")
            run(f"DROP TABLE {old.sql}")
        self.tables[new] = self.tables.pop(old)

    def end_session(self, session: str) -> None:
        """Drop what was temporary in a session."""
        with self.lock:
            for name in [n for n, table in self.tables.items() if table.owner_session == session]:
                self.con.cursor().execute(f"DROP TABLE IF EXISTS {name.sql}")
                del self.tables[name]
            for name in [n for n, stage in self.stages.items() if stage.owner_session == session]:
                shutil.rmtree(self.stages.pop(name).folder, ignore_errors=True)


def split_name(text: str) -> list[str]:
    """Return the exact parts of a name as written: what is not quoted is in upper case."""
    parts = re.findall(_PART, text)
    return [p[1:-1].replace('""', '"') if p[0] == '"' else p.upper() for p in parts]


def quoted(name: str) -> str:
    """Return a name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def shown(name: str) -> str:
    """Return a name as messages show it: quoted only where it must be."""
    return name if re.fullmatch(r"[A-Z_][A-Z0-9_$]*", name) else quoted(name)


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def taken(name: str) -> SnowflakeError:
    """Return the answer to a name that is there already."""
    return SnowflakeError(
        "002002", f"SQL compilation error:\nObject '{name}' already exists.", "42710"
    )


def _declared(kind: str) -> SfType:
    """The type of a column that came from a file, wide as Snowflake declares it by default."""
    if re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", kind):
        return SfType("NUMBER", precision=38)
    if kind == "TIMESTAMP WITH TIME ZONE":
        return SfType("TIMESTAMP_TZ", scale=9)
    return from_duckdb(kind)
