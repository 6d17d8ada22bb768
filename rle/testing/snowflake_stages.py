"""Stages of the stand-in for Snowflake: CREATE, PUT, LIST, REMOVE, DROP, and COPY INTO a table.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from snowflake_accounts import SnowflakeError, not_there
from snowflake_catalog import NAME, Name, Stage, literal, quoted, shown, taken
from snowflake_duckdb import run_duckdb
from snowflake_session import COPY, OTHER, Answer, Session, done, texts

_AT = rf"@(?P<stage>{NAME})(?P<path>/.*)?"
_COPY_COLUMNS = ("file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen",
                 "first_error", "first_error_line", "first_error_character",
                 "first_error_column_name")  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A folder of a stage, as a statement names it."""

    name: Name
    folder: Path
    path: str
    """Below the stage; may be the beginning of a file's name."""

    def files(self) -> list[Path]:
        """All files that the path is the beginning of, sorted."""
        found = [file for file in self.folder.rglob("*") if file.is_file()]
        return sorted(f for f in found if str(f.relative_to(self.folder)).startswith(self.path))

    def shown(self, file: Path) -> str:
        """Return a file's name as LIST and COPY tell it."""
        return f"{self.name.table.lower()}/{file.relative_to(self.folder)}"


def create_stage(session: Session, match: re.Match[str]) -> Answer:
    """CREATE [OR REPLACE] [TEMPORARY] STAGE [IF NOT EXISTS]."""
    name = session.name(match["name"])
    session.check_create(name, "STAGE")
    catalog = session.catalog
    with catalog.lock:
        if name in catalog.stages:
            if match["exists"]:
                return done(f"{shown(name.table)} already exists, statement succeeded.")
            if not match["replace"]:
                raise taken(shown(name.table))
            shutil.rmtree(catalog.stages[name].folder, ignore_errors=True)
        folder = catalog.stages_folder / secrets.token_hex(8)
        folder.mkdir()
        catalog.stages[name] = Stage(folder, session.id if match["temporary"] else None)
    return done(f"Stage area {shown(name.table)} successfully created.")


def drop_stage(session: Session, match: re.Match[str]) -> Answer:
    """DROP STAGE [IF EXISTS]."""
    name = session.name(match["name"])
    stage = session.catalog.stages.pop(name, None)
    if stage is None:
        if match["exists"]:
            return done("Drop statement executed successfully.")
        raise not_there("Stage", str(name))
    shutil.rmtree(stage.folder, ignore_errors=True)
    return done(f"{shown(name.table)} successfully dropped.")


def find_place(session: Session, text: str) -> Place:
    """Return the place that `@stage/path` means."""
    text = text.strip()
    text = text[1:-1].replace("''", "'") if text[0] == "'" else text
    if re.fullmatch(r"@~(?:/[^\s]*)?", text):
        own = session.catalog.stages_folder / f"of {session.user.name}"
        own.mkdir(exist_ok=True)
        return Place(Name("", "", "~"), own, _inside(text[2:]))
    match = re.fullmatch(_AT, text, re.DOTALL)
    if match is None:
        raise SnowflakeError("001003", f"SQL compilation error:\ninvalid stage '{text}'.", "42000")
    name = session.name(match["stage"])
    session.check_usage(name)
    stage = session.catalog.stages.get(name)
    if stage is None or stage.owner_session not in (None, session.id):
        raise not_there("Stage", str(name))
    return Place(name, stage.folder, _inside(match["path"] or ""))


def _inside(path: str) -> str:
    """Return a path below a stage, which must not lead out of it."""
    below = path.lstrip("/")
    if ".." in Path(below).parts:
        raise SnowflakeError("001003", "SQL compilation error:\ninvalid stage path.", "42000")
    return below


def put(session: Session, match: re.Match[str]) -> Answer:
    """PUT file://... @stage: tells the driver where to upload; the driver says how it went."""
    place = find_place(session, match["target"])
    options = match["options"] or ""
    location = place.folder / place.path
    upload = {
        "src_locations": [match["source"].removeprefix("file://")],
        "parallel": int(_option(options, "PARALLEL", "4")),
        "autoCompress": _option(options, "AUTO_COMPRESS", "TRUE").upper() == "TRUE",
        "overwrite": _option(options, "OVERWRITE", "FALSE").upper() == "TRUE",
        "sourceCompression": _option(options, "SOURCE_COMPRESSION", "auto_detect").lower(),
        "command": "UPLOAD",
        "folder": str(location.relative_to(session.catalog.stages_folder)),
        "stage": str(place.name),
    }
    return Answer(pa.table({}), [], OTHER, upload)


def list_stage(session: Session, match: re.Match[str]) -> Answer:
    """LIST @stage."""
    place = find_place(session, match["place"])
    files = place.files()
    return texts(
        {
            "name": [place.shown(file) for file in files],
            "size": [str(file.stat().st_size) for file in files],
            "md5": [_md5(file) for file in files],
            "last_modified": ["Thu, 1 Jan 1970 00:00:00 GMT"] * len(files),
        }
    )


def remove(session: Session, match: re.Match[str]) -> Answer:
    """REMOVE @stage/path."""
    place = find_place(session, match["place"])
    files = place.files()
    for file in files:
        file.unlink()
    return texts({"name": [place.shown(f) for f in files], "result": ["removed"] * len(files)})


def copy_into(session: Session, match: re.Match[str]) -> Answer:
    """COPY INTO table FROM @stage: Parquet, columns by their names, all files or nothing."""
    name = session.name(match["table"])
    table = session.check_table(name, "INSERT")
    session.need_warehouse()
    place = find_place(session, match["place"])
    options = match["options"] or ""
    files = place.files()
    wanted = re.search(r"FILES\s*=\s*\(([^)]*)\)", options, re.IGNORECASE)
    if wanted:
        names = set(re.findall(r"'([^']*)'", wanted[1]))
        files = [
            f
            for f in files
            if str(f.relative_to(place.folder))[len(place.path) :].lstrip("/") in names
        ]
    if not files:
        return texts({"status": ["Copy executed with 0 files processed."]}, COPY)
    if not re.search(r"TYPE\s*=\s*'?PARQUET", options, re.IGNORECASE):
        raise SnowflakeError("000002", "Unsupported feature 'COPY of other than PARQUET'.", "0A000")
    by_name = _option(options, "MATCH_BY_COLUMN_NAME", "NONE").upper()
    if by_name == "NONE":
        raise SnowflakeError(
            "002019",
            "SQL compilation error:\nPARQUET file format can produce one and only one column of "
            "type variant, object, or array. Load data into separate columns using the "
            "MATCH_BY_COLUMN_NAME copy option or copy with transformation.",
            "0A000",
        )
    force = _option(options, "FORCE", "FALSE").upper() == "TRUE"
    rows: list[list[Any]] = []
    marks = {file: f"{place.shown(file)} {_md5(file)}" for file in files}
    with session.whole():
        for file, mark in marks.items():
            if mark in table.loaded and not force:
                rows.append([place.shown(file), "LOAD_SKIPPED", "0", "0", "1", "1",
                             "File was loaded before.", None, None, None])  # fmt: skip
                continue
            count = _load(session, name, list(table.columns), file, by_name)
            rows.append([place.shown(file), "LOADED", str(count), str(count), "1", "0",
                         None, None, None, None])  # fmt: skip
    table.loaded |= set(marks.values())
    session.catalog.touch(name)
    if _option(options, "PURGE", "FALSE").upper() == "TRUE":
        for file in files:
            file.unlink()
    columns = dict(zip(_COPY_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    return texts(columns, COPY)


def _load(session: Session, name: Name, columns: list[str], file: Path, by_name: str) -> int:
    try:
        inside = pq.read_schema(file).names
    except pa.ArrowInvalid as error:
        raise SnowflakeError(
            "100069", f"Error parsing the parquet file: {error}", "22000"
        ) from error
    exact = by_name == "CASE_SENSITIVE"
    found = {column if exact else column.upper(): column for column in inside}
    pairs = [
        (c, found[c if exact else c.upper()])
        for c in columns
        if (c if exact else c.upper()) in found
    ]
    if not pairs:
        raise SnowflakeError(
            "100080", "No column of the file matches a column of the table.", "22000"
        )
    into = ", ".join(quoted(column) for column, _ in pairs)
    given = ", ".join(quoted(column) for _, column in pairs)
    run_duckdb(
        session,
        f"INSERT INTO {name.sql} ({into}) SELECT {given} FROM read_parquet({literal(_glob(file))})",
    )
    return int(session.con.fetchall()[0][0])


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def _glob(file: Path) -> str:
    return re.sub(r"([\[*?])", r"[\1]", str(file))


def _option(options: str, key: str, default: str) -> str:
    match = re.search(rf"\b{key}\s*=\s*'?(\w+)'?", options, re.IGNORECASE)
    return match[1] if match else default


def write_upload(folder: Path, path: str, content: bytes, *, is_new: bool) -> int:
    """Put an uploaded file where a PUT said; returns the HTTP status.

    Args:
        folder: Of all stages.
        path: Below it. One with a wildcard is no file's: the driver then asks for each file's own.
        content: What to write.
        is_new: Whether a file that is there already stays.
    """
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()) or "*" in target.name or "?" in target.name:
        return 400
    if is_new and target.exists():
        return 412
    target.parent.mkdir(parents=True, exist_ok=True)
    # A file may come packed; readers look at what is in it and not at its name.
    target.write_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    return 200
