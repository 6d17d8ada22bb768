"""Predictions that are kept as files until somebody wants the tables."""

from __future__ import annotations

import base64
import dataclasses
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from rle.connectors.arrow import plain_batches
from rle.connectors.base import CanWrite, NewTable
from rle.connectors.registry import AnyConnector
from rle.connectors.staging import write_files
from rle.spec.output import OutputConfig
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from rle.connectors.base import Connector
    from rle.inference.export import OutputPlan

MANIFEST = "kept.json"
BATCH_ROWS = 8192
"""Rows that are in memory at a time when tables are made from files."""


class KeptTable(Value):
    """One table that is to be."""

    name: str
    """Full name, as the place understands it."""
    file: str
    """Parquet file in the same folder."""
    num_rows: int
    arrow_schema: str
    """Serialised Arrow schema; Parquet forgets how long a vector is."""


class KeptTables(Value):
    """Everything it takes to make the tables of a prediction later. Written last, beside the files.

    Carries no secret: a connector names its secrets.
    """

    output: OutputConfig
    connector: AnyConnector
    predictions: str
    """Full name of PREDICTIONS_<ALIAS>."""
    embeddings: dict[str, str]
    """Entity column to full name of EMBEDDINGS_<COLUMN>_<ALIAS>."""
    replacing: tuple[str, ...]
    """Names whose older tables go; empty unless overwriting was asked for."""
    tables: tuple[KeptTable, ...]

    @property
    def export_paths(self) -> dict[str, str | dict[str, str]]:
        """Names of the tables, once they are made."""
        return {"predictions": self.predictions, "embeddings": self.embeddings}


def kept_plan(
    plan: OutputPlan, output: OutputConfig, connector: Connector, folder: Path
) -> OutputPlan:
    """Return a plan of the same names that writes files into `folder` and makes no table.

    Names that are taken are refused all the same, before the work and after it.
    """
    keeper = Keeper(plan, output, connector, folder)
    return dataclasses.replace(plan, writer=keeper, kept_in=folder)


class Keeper(CanWrite):
    """Writes Parquet files and what they are to become, all or nothing.

    Args:
        plan: Where the tables will go.
        output: The same place as it was asked for.
        connector: What the place belongs to.
        folder: Where the files go; what an earlier attempt left there is replaced.
    """

    def __init__(
        self, plan: OutputPlan, output: OutputConfig, connector: Connector, folder: Path
    ) -> None:
        self._plan, self._output, self._connector, self._folder = plan, output, connector, folder

    def can_create(self, table: str, *, replace: bool = False) -> None:
        """Check that the table could be made now; see `CanWrite.can_create`."""
        self._plan.writer.can_create(table, replace=replace)

    def write_tables(
        self,
        tables: Sequence[NewTable],
        rows: Iterable[tuple[int, pa.RecordBatch]],
        *,
        replacing: Collection[str] = (),
    ) -> list[int]:
        """Write one file per table, then the manifest. See `CanWrite.write_tables`."""
        files = [self._folder / f"table{i}.parquet" for i in range(len(tables))]
        (self._folder / MANIFEST).unlink(missing_ok=True)
        num_rows = write_files(tables, files, rows, replacing=files)
        kept = KeptTables(
            output=self._output,
            connector=self._connector,
            predictions=self._plan.predictions,
            embeddings=dict(self._plan.embeddings),
            replacing=tuple(replacing),
            tables=tuple(
                KeptTable(name=t.name, file=f.name, num_rows=n, arrow_schema=_as_text(t.schema))
                for t, f, n in zip(tables, files, num_rows, strict=True)
            ),
        )
        temporary = self._folder / f"{MANIFEST}.part"
        temporary.write_text(kept.to_json(indent=1), encoding="utf-8")
        os.replace(temporary, self._folder / MANIFEST)
        return num_rows


def read_kept(folder: Path) -> KeptTables | None:
    """Return what is kept in `folder`; None where nothing is, or nothing whole."""
    path = folder / MANIFEST
    return KeptTables.from_json(path.read_bytes()) if path.is_file() else None


def make_tables(kept: KeptTables, folder: Path) -> list[int]:
    """Make the tables from the files, all or none, as writing them directly would have.

    Returns:
        Rows of each, the prediction table last.

    Raises:
        OutputExistsError: A name is taken, and overwriting was not asked for.
        ConnectionError: The place cannot be reached, or a kept file is damaged.
    """
    writer = kept.output.writer(kept.connector)
    tables = [NewTable(t.name, _as_schema(t.arrow_schema)) for t in kept.tables]
    for name in dict.fromkeys((*kept.replacing, *(t.name for t in tables))):
        writer.can_create(name, replace=bool(kept.replacing))
    files = [folder / table.file for table in kept.tables]
    return writer.write_tables(tables, _rows(tables, files), replacing=kept.replacing)


def remove_files(kept: KeptTables, folder: Path) -> None:
    """Free the space of tables that are made; what they became stays known."""
    for table in kept.tables:
        (folder / table.file).unlink(missing_ok=True)


def _rows(
    tables: Sequence[NewTable], files: Sequence[Path]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for i, (table, path) in enumerate(zip(tables, files, strict=True)):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in plain_batches(file.iter_batches(BATCH_ROWS), table.schema):
                yield i, batch


def _as_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _as_schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
