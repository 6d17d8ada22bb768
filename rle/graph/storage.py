"""The folder of a snapshot: a manifest that names every file and its size, and how to open it."""

from __future__ import annotations

import base64
import os
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from rle.errors import DataError, ValidationError
from rle.graph.files import open_array, open_values, sync
from rle.graph.keys import KeyIndex
from rle.graph.report import BuildReport
from rle.graph.schema import GraphSchema
from rle.graph.snapshot import Snapshot
from rle.graph.store import TableStore
from rle.graph.topology import RelationSlice, Topology
from rle.ingest.keys import key_kind
from rle.values import Value

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.schema import TableLayout

FORMAT = 1
"""Version of the folder's layout; part of the fingerprint."""
_MANIFEST = "manifest.json"


class KeyFiles(Value):
    """What cannot be read off the files of a candidate key."""

    column: str
    original_type: str
    """The Arrow type of the source column, serialised."""
    first: int

    @classmethod
    def of(cls, index: KeyIndex) -> KeyFiles:
        """Describe a key that has been written."""
        schema = pa.schema([pa.field(index.column, index.original_type)])
        text = base64.b64encode(schema.serialize().to_pybytes()).decode()
        return cls(column=index.column, original_type=text, first=index.first)

    def arrow_type(self) -> pa.DataType:
        """Return the type of the source column."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.original_type))).field(0).type


class Manifest(Value):
    """Everything about a snapshot but its arrays. Written last."""

    format: int
    fingerprint: str
    graph: GraphSchema
    report: BuildReport
    read_at: str | None = None
    """Moment as of which all tables were read, in ISO 8601; None where each was read by itself."""
    num_rows: dict[str, int]
    keys: dict[str, tuple[KeyFiles, ...]]
    relations: tuple[RelationSlice, ...]
    files: dict[str, int]
    """Size in bytes of every file, by its path in the folder."""


def table_folder(folder: Path, table: int) -> Path:
    """Return where the files of table number `table` of the schema lie."""
    return folder / f"t{table}"


def sizes(folder: Path) -> dict[str, int]:
    """Return the size of every file below `folder`, by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(files)}


def publish(temporary: Path, final: Path, manifest: Manifest) -> None:
    """Write the manifest, bring everything to the disk and give the folder its name, at once.

    Where another process published the same snapshot first, that one stays.
    """
    (temporary / _MANIFEST).write_text(manifest.to_json(indent=1))
    sync(temporary)
    try:
        os.rename(temporary, final)
    except OSError:
        if not is_complete(final):
            raise
    handle = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_complete(path: Path) -> bool:
    """Whether `path` holds a whole snapshot of this format."""
    try:
        _read_manifest(path)
    except DataError:
        return False
    return True


def open_snapshot(path: Path) -> Snapshot:
    """Map the snapshot in folder `path`; see `Snapshot.open`."""
    manifest = _read_manifest(path)
    tables = {
        layout.name: _open_table(path, manifest, i, layout)
        for i, layout in enumerate(manifest.graph.tables)
    }
    topology = Topology(
        open_array(path / "links.npy"), open_array(path / "offsets.npy"), manifest.relations
    )
    return Snapshot(path, manifest.fingerprint, manifest.graph, manifest.report, tables, topology)


def _read_manifest(path: Path) -> Manifest:
    file = path / _MANIFEST
    if not file.is_file():
        raise DataError(f"{path} holds no complete graph snapshot. Delete it; it is rebuilt.")
    try:
        manifest = Manifest.from_json(file.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path} holds a snapshot of another version or a damaged one. Delete it; it is "
            f"rebuilt. ({str(error)[:200]})"
        ) from None
    if manifest.format != FORMAT:
        raise DataError(
            f"{path} holds a snapshot of format {manifest.format}, not {FORMAT}. Delete it; it is "
            "rebuilt."
        )
    for name, size in manifest.files.items():
        found = path / name
        if not found.is_file() or found.stat().st_size != size:
            raise DataError(
                f"The snapshot in {path} is damaged: {name} is missing or not {size} bytes long. "
                "Delete the folder; it is rebuilt."
            )
    return manifest


def _open_table(path: Path, manifest: Manifest, i: int, layout: TableLayout) -> TableStore:
    folder = table_folder(path, i)
    dictionaries = {
        column: partial(_words, folder / f"dictionary{k}.arrow")
        for k, column in enumerate(layout.code_columns)
    }
    dictionaries |= {
        column: partial(_words, folder / f"list_dictionary{k}.arrow")
        for k, column in enumerate(layout.list_columns)
    }
    return TableStore(
        name=layout.name,
        num_rows=manifest.num_rows[layout.name],
        times=open_array(folder / "times.npy") if layout.has_time else None,
        numbers=open_array(folder / "numbers.npy"),
        codes=open_array(folder / "codes.npy"),
        stamps=open_array(folder / "stamps.npy"),
        vectors={
            column: open_array(folder / f"vector{k}.npy")
            for k, (column, _) in enumerate(layout.vector_columns)
        },
        lists={
            column: (
                open_array(folder / f"list{k}_offsets.npy"),
                open_array(folder / f"list{k}_codes.npy"),
            )
            for k, column in enumerate(layout.list_columns)
        },
        dictionaries=dictionaries,
        key_indexes={
            key.column: _open_key(folder, k, key)
            for k, key in enumerate(manifest.keys[layout.name])
        },
    )


def _open_key(folder: Path, k: int, key: KeyFiles) -> KeyIndex:
    plain = open_values(folder / f"key{k}.arrow")
    found = {}
    for name in ("sorted_values", "sorted_rows", "dense"):
        file = folder / f"key{k}_{name}.npy"
        found[name] = open_array(file) if file.is_file() else None
    return KeyIndex(
        column=key.column,
        kind=key_kind(plain.type, where=key.column),
        original_type=key.arrow_type(),
        plain=plain,
        first=key.first,
        **found,
    )


def _words(path: Path) -> pa.Array:
    return pc.cast(open_values(path), pa.string())
