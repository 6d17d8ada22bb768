"""The slow, obvious builder that the fast one is compared with: rows are dicts, loops are plain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass
class Tiny:
    """One table of a tiny database. `time`, keys and links name columns."""

    rows: list[Row]
    keys: tuple[str, ...] = ()
    links: dict[str, tuple[str, str]] | None = None
    time: str | None = None
    is_edge: bool = False


def sorted_rows(table: Tiny) -> list[Row]:
    """Rows by (time, first key, position); NULLs last."""

    def rank(item: tuple[int, Row]) -> tuple[Any, ...]:
        position, row = item
        out: list[Any] = []
        if table.time is not None:
            value = row[table.time]
            out += [value is None, 0 if value is None else value]
        if table.keys:
            key = row[table.keys[0]]
            filler: Any = "" if isinstance(key, str) else 0
            # Text sorts by its UTF-8 bytes.
            shown = key.encode() if isinstance(key, str) else key
            out += [key is None, filler if key is None else shown]
        return (*out, position)

    return [row for _, row in sorted(enumerate(table.rows), key=rank)]


def parents(tables: dict[str, Tiny], child: str, column: str) -> list[int]:
    """The parent's row number of every row of the sorted child, -1 for none."""
    target, key = (tables[child].links or {})[column]
    by_key = {
        row[key]: i for i, row in enumerate(sorted_rows(tables[target])) if row[key] is not None
    }
    return [by_key.get(row[column], -1) for row in sorted_rows(tables[child])]


def children(tables: dict[str, Tiny], child: str, column: str) -> list[list[int]]:
    """The rows of every parent, ascending."""
    target, _ = (tables[child].links or {})[column]
    found: list[list[int]] = [[] for _ in tables[target].rows]
    for row, parent in enumerate(parents(tables, child, column)):
        if parent >= 0:
            found[parent].append(row)
    return found


def edges(tables: dict[str, Tiny], table: str, column: str) -> list[list[int]]:
    """The rows at the other end of an edge table, per row at the end `column`, ascending."""
    links = tables[table].links or {}
    (other,) = [c for c in links if c != column]
    found: list[list[int]] = [[] for _ in tables[links[column][0]].rows]
    ends = zip(parents(tables, table, column), parents(tables, table, other), strict=True)
    for here, there in ends:
        if here >= 0 and there >= 0:
            found[here].append(there)
    return [sorted(rows) for rows in found]
