"""A folder of Parquet or CSV files as a database, in one call."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import BeforeValidator, model_validator

from rle.connectors import csv_file, parquet_file
from rle.connectors.arrow import project, spread, take_runs
from rle.connectors.base import CHUNK_ROWS, CanWrite, Chunk, Connector, NewTable
from rle.connectors.duckdb_file import is_there
from rle.connectors.names import join, parse
from rle.connectors.staging import EXTENSIONS, check_file_free, write_files
from rle.errors import ConnectionError, PermissionError, UnknownNameError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence


def _local_path(url: Any) -> Any:
    if not isinstance(url, str | Path):
        return url
    text = str(url).removeprefix("file://")
    if "://" in text:
        raise ValidationError(f"LocalConnector reads files of this machine, not {text!r}.")
    # Workers run in other folders, so a relative path would mean another place there.
    return str(Path(text).expanduser().absolute())


class LocalConnector(Connector, CanWrite):
    """Reads Parquet or CSV files as tables, and writes output tables as files.

    A source is the path of a file (absolute, or relative to the folder), or FOLDER.main.STEM.
    Parquet is read by row groups, each by itself. A CSV file is one chunk; it is comma-separated
    with a header line, and an empty field is NULL while "" is an empty text.
    """

    kind: Literal["local"] = "local"
    connector_type: Literal["parquet", "csv"]
    """Format of the files that FOLDER.main.STEM means."""
    url: Annotated[str, BeforeValidator(_local_path)]
    """Path of the folder, or of one file in it; kept as an absolute path."""

    @model_validator(mode="before")
    @classmethod
    def _need_url(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("url"):
            raise ValidationError(
                "LocalConnector needs url, the path of a folder with Parquet or CSV files."
            )
        return data

    @model_validator(mode="after")
    def _check_file_type(self) -> Self:
        suffix = Path(self.url).suffix
        if Path(self.url).is_file() and suffix != f".{self.connector_type}":
            raise ValidationError(
                f"LocalConnector(connector_type={self.connector_type!r}) cannot read {self.url}."
            )
        return self

    @cached_property
    def folder(self) -> Path:
        """The folder whose files are the tables."""
        path = Path(self.url)
        return path.parent if path.suffix == f".{self.connector_type}" else path

    def sources(self) -> list[str]:
        """Return FOLDER.main.STEM of every file of this type in the folder, sorted."""
        self._check_folder()
        files = sorted(self.folder.glob(f"*.{self.connector_type}"))
        return [join(self.folder.name, "main", file.stem) for file in files]

    def arrow_schema(self, source: str) -> pa.Schema:
        """Return the file's columns; see `Connector.arrow_schema`."""
        with self._reading(source) as path:
            return _format(path).schema(path)

    def num_rows(self, source: str) -> int:
        """Return the exact number of rows. A CSV file is scanned for it."""
        with self._reading(source) as path:
            return int(_format(path).num_rows(path))

    def version(self, source: str) -> str:
        """Return size and time of change of the file."""
        with self._reading(source) as path:
            stat = path.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"

    def sample(
        self, source: str, *, columns: Sequence[str] | None = None, max_rows: int
    ) -> pa.Table:
        """Return rows spread evenly over the file; see `Connector.sample`."""
        with self._reading(source) as path:
            schema = project(_format(path).schema(path), columns, source=source)
            runs = spread(_format(path).num_rows(path), max_rows)
            if path.suffix == ".parquet":
                batches = list(parquet_file.read_runs(path, schema, runs))
            else:
                batches = list(take_runs(csv_file.read(path, schema), runs))
        return pa.Table.from_batches(batches, schema=schema)

    def chunks(
        self, source: str, *, columns: Sequence[str], max_rows: int = CHUNK_ROWS
    ) -> list[Chunk]:
        """Split a Parquet file at row groups; a CSV file is one chunk. See `Connector.chunks`."""
        with self._reading(source) as path:
            project(_format(path).schema(path), columns, source=source)
            shared: dict[str, Any] = {"source": source, "columns": tuple(columns)}
            if path.suffix == ".csv":
                return [Chunk(**shared, index=0, num_rows=None, token={})]
            return [
                Chunk(**shared, index=i, num_rows=num_rows, token={"row_groups": groups})
                for i, (groups, num_rows) in enumerate(parquet_file.group_rows(path, max_rows))
            ]

    def read(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a chunk."""
        with self._reading(chunk.source) as path:
            schema = project(_format(path).schema(path), chunk.columns, source=chunk.source)
            if path.suffix == ".csv":
                yield from csv_file.read(path, schema)
            else:
                token: dict[str, Any] = chunk.token
                yield from parquet_file.read(path, schema, row_groups=token["row_groups"])

    def exists(self, source: str) -> bool:
        """Whether there is such a file."""
        return self._path(source).is_file()

    def check_access(self) -> tuple[str, ...]:
        """Check that the folder can be listed; see `Connector.check_access`."""
        self._check_folder()
        if not os.access(self.folder, os.R_OK | os.X_OK):
            raise PermissionError(
                f"Folder {self.folder} is closed to this user. Its owner can open it with: "
                f"chmod a+rx {shlex.quote(str(self.folder))}"
            )
        return self._seen_from_here(str(self.folder))

    def probe(self, source: str) -> None:
        """Open the file and read nothing of a CSV file's rows; see `Connector.probe`."""
        with self._reading(source) as path:
            if path.suffix == ".parquet":
                _format(path).schema(path)

    def can_create(self, table: str, *, replace: bool = False) -> None:
        """Check that this name could be written to now; see `CanWrite.can_create`."""
        check_file_free(self._path(table), replace=replace)

    def write_tables(
        self,
        tables: Sequence[NewTable],
        rows: Iterable[tuple[int, pa.RecordBatch]],
        *,
        replacing: Collection[str] = (),
    ) -> list[int]:
        """Create files, all or none; each ending chooses a format (.parquet, .csv, .pkl).

        In CSV, lists are written as JSON. A .pkl file holds a pickled pandas DataFrame. The folder
        is made where it is missing. See `CanWrite.write_tables`.
        """
        for table in tables:
            self.can_create(table.name, replace=table.name in replacing)
        paths = [self._path(table.name) for table in tables]
        # In the order of the tables, so that an old last table goes first.
        old = [self._path(name) for name in replacing]
        old.sort(key=lambda path: paths.index(path) if path in paths else -1)
        return write_files(tables, paths, rows, replacing=old)

    def _path(self, source: str) -> Path:
        if source.endswith(EXTENSIONS):
            return self.folder / Path(source).expanduser()
        example = f"{join(self.folder.name, 'main', 'orders')} or orders.{self.connector_type}"
        database, schema, table = parse(source, example=example)
        if database.casefold() != self.folder.name.casefold():
            raise UnknownNameError("folder", database, [self.folder.name])
        if schema.casefold() != "main":
            raise UnknownNameError(f"schema of folder {database}", schema, ["main"])
        return self.folder / f"{table}.{self.connector_type}"

    def _check_folder(self) -> None:
        if not is_there(self.folder) or not self.folder.is_dir():
            raise ConnectionError(f"There is no folder {self.folder}.")

    @contextmanager
    def _reading(self, source: str) -> Iterator[Path]:
        path = self._path(source)
        self._check_folder()
        if not is_there(path) or not path.is_file():
            raise UnknownNameError("file or table", source, self._known(source))
        if path.suffix == ".pkl":
            raise ValidationError(f"{path} cannot be read as a table; use .parquet or .csv.")
        if not os.access(path, os.R_OK):
            raise PermissionError(
                f"{path} is not readable by this user. Its owner can open it with: "
                f"chmod a+r {shlex.quote(str(path))}"
            )
        try:
            yield path
        except (pa.ArrowInvalid, pa.ArrowSerializationError) as error:
            raise ConnectionError(f"{path} is damaged or not {path.suffix[1:]}: {error}") from error

    def _known(self, source: str) -> list[str]:
        """Return what `source` could have meant, spelt the way it was."""
        if not source.endswith(EXTENSIONS):
            return self.sources()
        wanted = self._path(source).parent
        prefix = source[: len(source) - len(Path(source).name)]
        return [prefix + file.name for file in sorted(wanted.glob(f"*{Path(source).suffix}"))]


def _format(path: Path) -> Any:
    return parquet_file if path.suffix == ".parquet" else csv_file
