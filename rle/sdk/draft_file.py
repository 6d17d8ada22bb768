"""A drafted schema as a YAML file that a person edits and `Dataset.from_draft` reads."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import Field

from rle.connectors.registry import AnyConnector
from rle.connectors.survey import Closed
from rle.errors import OutputExistsError, StorageError, ValidationError
from rle.sdk.draft import SchemaDraft, progress_of_tables
from rle.sdk.mapping_file import read_mapping
from rle.spec.columns import Columns
from rle.spec.gnn_table import GNNTable
from rle.spec.infer import SAMPLE_ROWS
from rle.spec.table import CandidateKey, ForeignKey
from rle.values import ColumnDType, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.connectors.base import Connector

SUFFIXES = (".yaml", ".yml")


class _TableDraft(Value):
    name: str
    source: str
    type: Literal["node", "edge"] = "node"
    candidate_keys: tuple[CandidateKey, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    time_column: str | None = None
    always_known: bool = False
    """Whether a table with dates and no time column is meant to be so."""
    columns: dict[str, ColumnDType]
    """Columns that are not here are left out."""


class _Draft(Value):
    schema_name: str = Field(alias="schema")
    connector: AnyConnector
    tables: tuple[_TableDraft, ...]


def write_draft(draft: SchemaDraft, path: str | Path) -> Path:
    """Write a draft to a new file, with what it says about itself as comments on top.

    A connector carries the names of its secrets only, so the file holds no secret.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValidationError(f"{str(path)!r} must end in {', '.join(SUFFIXES)}.")
    content = {
        "schema": draft.schema,
        "connector": draft.connector.model_dump(mode="json"),
        "tables": [_content(table, draft.always_known) for table in draft.tables],
    }
    about = "".join(f"# {line}\n" for line in str(draft).splitlines())
    text = about + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputExistsError(
            f"{path} exists already, and somebody may have edited it; nothing is overwritten. "
            "Save under another name, or delete the file first. Dataset.from_draft reads it."
        ) from None
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing {path}") from error
    return path


def read_draft(path: str | Path) -> SchemaDraft:
    """Return the draft that `write_draft` wrote and somebody may have edited.

    Raises:
        ValidationError: There is no such file, or it holds no draft.
        RLEError: A table is not there, or not as the file says.
    """
    content = read_mapping(Path(path), what="a draft")
    try:
        draft = _Draft(**content)
    except ValidationError as error:
        raise ValidationError(f"{path} does not hold a valid draft: {error}") from None
    columns = _columns(draft.connector, draft.tables)
    tables = [_table(draft.connector, table, columns[table.name]) for table in draft.tables]
    known = [table.name for table in draft.tables if table.always_known]
    return SchemaDraft(draft.connector, draft.schema_name, tables, always_known=known)


def _content(table: GNNTable, always_known: frozenset[str]) -> dict[str, object]:
    drafted = _TableDraft(
        name=table.name,
        source=table.source,
        type=table.type,
        candidate_keys=table.candidate_keys,
        foreign_keys=table.foreign_keys,
        time_column=table.time_column,
        always_known=table.name in always_known,
        columns=table.columns,
    )
    return drafted.model_dump(mode="json")


def _columns(connector: Connector, drafted: Sequence[_TableDraft]) -> dict[str, Columns]:
    """Look at the sources of all tables; return their columns by the tables' names."""
    names: dict[str, list[str]] = {}
    for table in drafted:
        names.setdefault(table.source, []).append(table.name)
    found: dict[str, Columns] = {}
    with (
        progress_of_tables() as on_table,
        closing(connector.survey(list(names), max_rows=SAMPLE_ROWS)) as surveyed,
    ):
        for done, item in enumerate(surveyed, 1):
            if isinstance(item, Closed):
                raise item.error
            for name in names[item.source]:
                found[name] = Columns(connector, item.source, table=name, sample=item.sample)
            on_table(done, len(names))
    return found


def _table(connector: Connector, drafted: _TableDraft, columns: Columns) -> GNNTable:
    table = GNNTable(
        connector,
        drafted.name,
        drafted.source,
        foreign_keys=drafted.foreign_keys,
        time_column=drafted.time_column,
        type=drafted.type,
        candidate_keys=drafted.candidate_keys,
        column_dtypes=drafted.columns,
        columns=columns,
    )
    for column in table.columns:
        if column not in drafted.columns:
            table.remove_column(column)
    return table
