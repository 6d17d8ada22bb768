"""Links that a table inherits from the row it extends.

A table whose foreign key is unique holds at most one row per parent row: it extends its parent, as
departures extend flights. What is true of the parent then holds for it too: a departure is a
departure from the flight's origin. The inherited link leads from the grandparent straight to the
extending rows, in the order of *their* time, which is when they became known. The newest flights
of an airport are those just put on sale; its newest departures are those that just left.

Shapes: N rows of the child, P rows of its parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.graph.schema import Relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from rle.spec.table import TableSpec

    Int32Array = NDArray[np.int32]

MIN_COVERAGE = 0.5
"""Share of parent rows that must have a row in the child; fewer are exceptions."""


def keepers(tables: Sequence[TableSpec]) -> set[str]:
    """Name the tables whose parents `inherited` may need: children with time, and their parents."""
    by_name = {table.name: table for table in tables}
    out: set[str] = set()
    for table in tables:
        for key in table.foreign_keys:
            if _may_inherit(table, by_name[key.link_table]):
                out |= {table.name, key.link_table}
    return out


def inherited(
    tables: Sequence[TableSpec], parents: Mapping[str, Int32Array], num_rows: Mapping[str, int]
) -> Iterator[tuple[Relation, Int32Array]]:
    """Yield every inherited relation with the grandparent of each child row.

    Args:
        tables: Specs, in the order of the schema.
        parents: int32 [N, F] per table that `keepers` names, -1 for none.
        num_rows: Rows per node table.

    Yields:
        A relation from grandparent to child, and int32 [N], -1 for none.
    """
    by_name = {table.name: table for table in tables}
    for table in tables:
        for f, key in enumerate(table.foreign_keys):
            parent = by_name[key.link_table]
            if not _may_inherit(table, parent):
                continue
            own = parents[table.name][:, f]
            if not is_extension(own, num_rows[parent.name]):
                continue
            for g, above in enumerate(parent.foreign_keys):
                link = f"{table.name}.{key.column_name}>{above.column_name}"
                relation = Relation(
                    name=f"{link}:children",
                    source=above.link_table,
                    target=table.name,
                    many=True,
                    link=link,
                )
                # A row without a parent looks up the entry behind the last one, which is none.
                over = np.append(parents[parent.name][:, g], np.int32(-1))
                yield relation, over[own]


def is_extension(parent: Int32Array, num_parents: int) -> bool:
    """Whether no two rows share a parent, and at least half of the parents have a row."""
    known = parent[parent >= 0]
    if known.size == 0 or not MIN_COVERAGE * num_parents <= known.size <= num_parents:
        return False
    return int(np.bincount(known, minlength=1).max()) == 1


def _may_inherit(table: TableSpec, parent: TableSpec) -> bool:
    both_nodes = table.type == "node" and parent.type == "node"
    return both_nodes and table.time_column is not None and bool(parent.foreign_keys)
