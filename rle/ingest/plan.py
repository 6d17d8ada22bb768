"""Which columns of a table are read and what each becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import UnknownNameError
from rle.values import ColumnDType, Value

if TYPE_CHECKING:
    from rle.connectors.base import Connector
    from rle.spec.table import TableSpec

_CELLS_PER_CHUNK = 2**24
_MAX_CHUNK_ROWS = 262_144
_MIN_CHUNK_ROWS = 4_096


class TablePlan(Value):
    """The columns of one table by what they become. Order is the spec's."""

    table: str
    source: str
    is_edge: bool
    columns: tuple[str, ...]
    """Everything that is read."""
    time: str | None
    keys: tuple[str, ...]
    links: tuple[str, ...]
    """Foreign-key columns."""
    numbers: tuple[str, ...]
    codes: tuple[str, ...]
    stamps: tuple[str, ...]
    texts: tuple[str, ...]
    embeddings: tuple[str, ...]
    lists: tuple[str, ...]

    @property
    def vectors(self) -> tuple[str, ...]:
        """Columns that become vectors: text first, then embeddings."""
        return self.texts + self.embeddings

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk, so that a chunk of a very wide table still fits a worker's memory."""
        rows = _CELLS_PER_CHUNK // max(len(self.columns), 1)
        return max(_MIN_CHUNK_ROWS, min(_MAX_CHUNK_ROWS, rows))


def plan_table(spec: TableSpec) -> TablePlan:
    """Sort the columns of `spec` by what they become."""
    by_dtype: dict[ColumnDType, list[str]] = {dtype: [] for dtype in ColumnDType}
    features = () if spec.type == "edge" else spec.feature_columns
    for column in features:
        by_dtype[column.dtype].append(column.name)
    numeric = set(by_dtype[ColumnDType.integer_t]) | set(by_dtype[ColumnDType.float_t])
    roles = [*spec.key_columns, *spec.link_columns]
    roles += [spec.time_column] if spec.time_column is not None else []
    named = dict.fromkeys([*roles, *(column.name for column in features)])
    return TablePlan(
        table=spec.name,
        source=spec.source,
        is_edge=spec.type == "edge",
        columns=tuple(c.name for c in spec.columns if c.name in named),
        time=spec.time_column,
        keys=spec.key_columns,
        links=spec.link_columns,
        numbers=tuple(c.name for c in features if c.name in numeric),
        codes=tuple(by_dtype[ColumnDType.category_t]),
        stamps=tuple(by_dtype[ColumnDType.datetime_t]),
        texts=tuple(by_dtype[ColumnDType.text_t]),
        embeddings=tuple(by_dtype[ColumnDType.embedding_t]),
        lists=tuple(by_dtype[ColumnDType.multi_category_t]),
    )


def check_columns(plan: TablePlan, connector: Connector) -> None:
    """Raise UnknownNameError where the source or one of its columns has gone since the spec."""
    known = connector.arrow_schema(plan.source).names
    for column in plan.columns:
        if column not in known:
            raise UnknownNameError(f"column of {plan.source}", column, known)
