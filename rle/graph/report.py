"""What a build found: rows, edges, bad keys, bytes and seconds per table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.values import Value

if TYPE_CHECKING:
    from rich.table import Table


class LinkReport(Value):
    """How the foreign keys of one column resolved."""

    link: str
    """`"child.column"`, or `"child.column>its"` for a link that the parent's row hands down."""
    num_edges: int
    num_null: int = 0
    """Rows whose foreign key is NULL."""
    num_dangling: int = 0
    """Rows whose foreign key names no row of the parent table."""
    example: str | None = None
    """One dangling key."""


class ColumnReport(Value):
    """Cells of one column that could not be kept as they are."""

    column: str
    num_clamped: int = 0
    """Dates outside 1677-09-21 .. 2262-04-11, moved to the nearer end."""
    num_infinite: int = 0
    """Numbers beyond the float32 range, kept as NULL."""
    num_incomplete: int = 0
    """Vectors with a NULL, NaN or infinite entry, kept as NULL."""


class TableReport(Value):
    """What was found in one table and what it became."""

    table: str
    num_rows: int
    num_null_keys: int = 0
    """Rows whose first candidate key is NULL: kept, but nothing can refer to them."""
    num_null_times: int = 0
    """Rows whose time is NULL: visible to nothing that has a time."""
    links: tuple[LinkReport, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    """Only columns in which something was changed."""
    feature_bytes: int = 0
    """Times and feature blocks."""
    key_bytes: int = 0
    """Candidate keys and their look-ups."""
    topology_bytes: int = 0
    """Links in both directions of the table's own foreign keys."""
    seconds: float = 0.0
    """Wall time of the table's finishing step, reading excluded."""


class BuildReport(Value):
    """What a build found, per table."""

    tables: tuple[TableReport, ...]
    staging_seconds: float = 0.0
    """Wall time of reading, typing and embedding, all tables together."""
    seconds: float = 0.0
    """Wall time of the whole build."""

    @property
    def num_rows(self) -> int:
        """Rows of all tables."""
        return sum(t.num_rows for t in self.tables)

    @property
    def num_edges(self) -> int:
        """Resolved foreign keys of all tables."""
        return sum(link.num_edges for t in self.tables for link in t.links)

    @property
    def num_bytes(self) -> int:
        """Bytes of the snapshot's arrays."""
        return sum(t.feature_bytes + t.key_bytes + t.topology_bytes for t in self.tables)

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence per kind of row or cell that was not taken as it is."""
        return tuple(line for table in self.tables for line in _warnings_of(table))

    def render(self) -> Table:
        """Return the report as a table that rich can print."""
        from rich.table import Table

        out = Table(
            "table", "rows", "edges", "dangling", "NULL keys", "MB", "bytes/row", "s",
            title="Graph snapshot",
        )  # fmt: skip
        for column in out.columns[1:]:
            column.justify = "right"
        for t in self.tables:
            size = t.feature_bytes + t.key_bytes + t.topology_bytes
            out.add_row(
                t.table,
                f"{t.num_rows:,}",
                f"{sum(link.num_edges for link in t.links):,}",
                f"{sum(link.num_dangling for link in t.links):,}",
                f"{t.num_null_keys + sum(link.num_null for link in t.links):,}",
                f"{size / 1e6:,.1f}",
                f"{size / max(t.num_rows, 1):,.0f}",
                f"{t.seconds:.2f}",
            )
        return out


def _warnings_of(table: TableReport) -> list[str]:
    lines: list[str] = []
    if table.num_rows == 0:
        lines.append(f"{table.table}: there are no rows.")
    if table.num_null_keys:
        lines.append(f"{table.table}: {table.num_null_keys} rows have a NULL key.")
    if table.num_null_times:
        lines.append(
            f"{table.table}: {table.num_null_times} rows have a NULL time and are never visible "
            "where a time bound applies."
        )
    lines.extend(
        f"{link.link}: {link.num_dangling} keys name no row, such as {link.example}."
        for link in table.links
        if link.num_dangling
    )
    for column in table.columns:
        name = f"{table.table}.{column.column}"
        if column.num_clamped:
            lines.append(f"{name}: {column.num_clamped} dates outside 1677..2262 were clamped.")
        if column.num_infinite:
            lines.append(f"{name}: {column.num_infinite} infinite numbers count as NULL.")
        if column.num_incomplete:
            lines.append(
                f"{name}: {column.num_incomplete} vectors with a NULL, NaN or infinite entry "
                "count as NULL."
            )
    return lines
