"""Output tables: their names, and how they come into being, all whole or none at all."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from rle.errors import ValidationError
from rle.spec.output import OutputConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rle.connectors.base import CanWrite, Connector

PREDICTIONS = "PREDICTIONS"
EMBEDDINGS = "EMBEDDINGS"
ALIAS = re.compile(r"[A-Za-z0-9]\w{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Where a prediction goes; every name was free when the plan was made."""

    writer: CanWrite
    predictions: str
    """Full name of PREDICTIONS_<ALIAS>."""
    embeddings: Mapping[str, str]
    """Entity column to full name of EMBEDDINGS_<COLUMN>_<ALIAS>; empty where none are wanted."""

    @property
    def tables(self) -> tuple[str, ...]:
        """All names, the prediction table last: whoever sees it sees everything."""
        return (*self.embeddings.values(), self.predictions)

    def check_free(self) -> None:
        """Raise where one of the tables could not be created now; see `CanWrite.can_create`."""
        for table in self.tables:
            self.writer.can_create(table)


def plan_outputs(
    output: OutputConfig,
    connector: Connector,
    *,
    alias: str,
    embed_columns: Sequence[str] = (),
) -> OutputPlan:
    """Name the output tables and check that all of them can be created. Cheap; writes nothing.

    Args:
        output: The place.
        connector: What the place belongs to, unless it is a folder.
        alias: Last part of every name, in any case: letters, digits and underscores.
        embed_columns: Entity columns whose embeddings are wanted too.

    Raises:
        ValidationError: The alias cannot be part of a table's name, or two tables would be one.
        OutputExistsError: One of the tables is there. Nothing is ever overwritten.
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
    names = {column: f"{EMBEDDINGS}_{_in_name(column)}_{alias.upper()}" for column in embed_columns}
    if len(set(names.values())) < len(names):
        raise ValidationError(
            f"Embeddings of columns {list(embed_columns)} would have the same table name "
            f"{next(iter(names.values()))!r}. Rename one of the columns in a view."
        )
    plan = OutputPlan(
        writer=output.writer(connector),
        predictions=output.table(f"{PREDICTIONS}_{alias.upper()}"),
        embeddings={column: output.table(name) for column, name in names.items()},
    )
    plan.check_free()
    return plan


def _in_name(column: str) -> str:
    """Upper-case, with an underscore for what a file or an unquoted table cannot be called."""
    return re.sub(r"\W", "_", column).upper()


def export(
    plan: OutputPlan,
    schemas: Sequence[pa.Schema],
    rows: Iterable[Sequence[pa.RecordBatch]],
) -> int:
    """Create the tables of `plan` from one stream of rows; all of them or none.

    One table is streamed into place. Several are gathered in files first, since a warehouse takes
    one at a time, and created when the last row is there. What was created is removed again when
    a later one fails. A process killed in between leaves embeddings without predictions, never
    predictions without embeddings, and never part of a table.

    Args:
        plan: What to create; checked again, since time has passed.
        schemas: Columns of each table, in the order of `plan.tables`.
        rows: For each step, one batch per table, in the same order.

    Returns:
        Rows of the prediction table.

    Raises:
        OutputExistsError: A table came into being meanwhile; it is left alone.
        Exception: Whatever `rows` raises; no table is there then.
    """
    plan.check_free()
    if len(plan.tables) == 1:
        return plan.writer.write(plan.tables[0], (step[0] for step in rows), schema=schemas[0])
    with tempfile.TemporaryDirectory(prefix="rle-export-") as scratch:
        files = [Path(scratch) / f"{index}.arrow" for index in range(len(schemas))]
        _gather(files, schemas, rows)
        return _create(plan, files, schemas)


def _gather(
    files: Sequence[Path], schemas: Sequence[pa.Schema], rows: Iterable[Sequence[pa.RecordBatch]]
) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_file(str(file), schema))
            for file, schema in zip(files, schemas, strict=True)
        ]
        for step in rows:
            for writer, batch in zip(writers, step, strict=True):
                writer.write_batch(batch)


def _create(plan: OutputPlan, files: Sequence[Path], schemas: Sequence[pa.Schema]) -> int:
    created: list[str] = []
    num_rows = 0
    try:
        for table, file, schema in zip(plan.tables, files, schemas, strict=True):
            num_rows = plan.writer.write(table, _batches(file), schema=schema)
            created.append(table)
    except BaseException:  # Ctrl-C too: half an output must not stay
        for table in reversed(created):
            plan.writer.drop(table)
        raise
    return num_rows


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
