"""Output tables: their names, and how they come into being, all whole or none at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.connectors.base import NewTable
from rle.connectors.names import parse
from rle.errors import ValidationError
from rle.spec.output import OutputConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from rle.connectors.base import CanWrite, Connector

PREDICTIONS = "PREDICTIONS"
EMBEDDINGS = "EMBEDDINGS"
ALIAS = re.compile(r"[A-Za-z0-9]\w{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Where a prediction goes; every name was free, or to be replaced, when the plan was made."""

    writer: CanWrite
    predictions: str
    """Full name of PREDICTIONS_<ALIAS>."""
    embeddings: Mapping[str, str]
    """Entity column to full name of EMBEDDINGS_<COLUMN>_<ALIAS>; empty where none are wanted."""
    replacing: tuple[str, ...] = ()
    """Every name this alias can have for this task, where older results are to be replaced: an
    older embedding table goes too when none is wanted now."""
    kept_in: Path | None = None
    """Folder where the rows are kept as files and no table is made; None: tables are made."""

    @property
    def tables(self) -> tuple[str, ...]:
        """All names, the prediction table last: whoever sees it sees everything."""
        return (*self.embeddings.values(), self.predictions)

    @property
    def artifacts(self) -> list[tuple[str, str]]:
        """What there is once it is carried out: what each thing is, and where."""
        if self.kept_in is not None:
            return [("kept_predictions", str(self.kept_in))]
        embeddings = [("embeddings", table) for table in self.embeddings.values()]
        return [*embeddings, ("predictions", self.predictions)]

    def check_free(self) -> None:
        """Raise where one of the tables could not be created now; see `CanWrite.can_create`."""
        for table in dict.fromkeys((*self.replacing, *self.tables)):
            self.writer.can_create(table, replace=bool(self.replacing))


def plan_outputs(
    output: OutputConfig,
    connector: Connector,
    *,
    alias: str,
    entity_columns: Sequence[str] = (),
    extract_embeddings: bool = False,
    overwrite_results: bool = False,
    sources: Collection[str] = (),
) -> OutputPlan:
    """Name the output tables and check that all of them can be created. Cheap; writes nothing.

    Args:
        output: The place.
        connector: What the place belongs to, unless it is a folder.
        alias: Last part of every name, in any case: letters, digits and underscores.
        entity_columns: Entity columns of the task: one of a node task, source and target of a link
            task.
        extract_embeddings: Whether their embeddings are wanted too.
        overwrite_results: Whether older tables of this alias are replaced.
        sources: Names of the tables that the dataset reads; none of them is ever replaced.

    Raises:
        ValidationError: The alias cannot be part of a table's name, two tables would be one, or one
            to be replaced is a table of the dataset.
        OutputExistsError: One of the tables is there, and overwriting was not asked for.
        PermissionError: The place is not writable.
    """
    if not isinstance(alias, str) or not ALIAS.fullmatch(alias):
        raise ValidationError(
            f"Output alias {alias!r} must be 1 to 100 letters, digits or underscores and not begin "
            "with an underscore: it becomes the end of a table's name, such as PREDICTIONS_MAY."
        )
    if not isinstance(output, OutputConfig):
        raise ValidationError(
            f"output_config must be an OutputConfig, such as OutputConfig.local, not {output!r}."
        )
    embeddings = {
        column: output.table(f"{EMBEDDINGS}_{_in_name(column)}_{alias.upper()}")
        for column in entity_columns
    }
    if extract_embeddings and len(set(embeddings.values())) < len(embeddings):
        raise ValidationError(
            f"Embeddings of columns {list(entity_columns)} would have the same table name "
            f"{next(iter(embeddings.values()))!r}. Rename one of the columns in a view."
        )
    predictions = output.table(f"{PREDICTIONS}_{alias.upper()}")
    replacing = tuple(dict.fromkeys((*embeddings.values(), predictions)))
    plan = OutputPlan(
        writer=output.writer(connector),
        predictions=predictions,
        embeddings=embeddings if extract_embeddings else {},
        replacing=replacing if overwrite_results else (),
    )
    _check_not_read(plan, sources)
    plan.check_free()
    return plan


def _check_not_read(plan: OutputPlan, sources: Collection[str]) -> None:
    read = {identity(source) for source in sources}
    for table in plan.replacing:
        if identity(table) in read:
            raise ValidationError(
                f"overwrite_results=True would replace {table}, which the dataset reads. Choose "
                "another output alias."
            )


def identity(name: str) -> tuple[str, ...]:
    """Return what all spellings of a table's name share; case never tells two tables apart here."""
    try:
        parts: tuple[str, ...] = parse(name, example="")
    except ValidationError:  # a file's
        parts = (name,)
    return tuple(part.casefold() for part in parts)


def _in_name(column: str) -> str:
    """Upper-case, with an underscore for what a file or an unquoted table cannot be called."""
    return re.sub(r"\W", "_", column).upper()


def export(
    plan: OutputPlan,
    schemas: Sequence[pa.Schema],
    rows: Iterable[tuple[int, pa.RecordBatch]],
) -> list[int]:
    """Create the tables of `plan` from one stream of rows; all of them or none, together.

    Args:
        plan: What to create; checked again, since time has passed.
        schemas: Columns of each table, in the order of `plan.tables`.
        rows: Batches, each with the position of its table.

    Returns:
        Rows of each table.

    Raises:
        OutputExistsError: A table came into being meanwhile; it is left alone.
        Exception: Whatever `rows` raises; nothing has changed then.
    """
    plan.check_free()
    tables = [NewTable(*pair) for pair in zip(plan.tables, schemas, strict=True)]
    return plan.writer.write_tables(tables, rows, replacing=plan.replacing)
