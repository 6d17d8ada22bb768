"""Foreign keys to parent rows, counting what is NULL and what dangles.

Shapes: N rows of the child table, F foreign keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.errors import DataError
from rle.graph.assemble import targets_of
from rle.graph.report import LinkReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rle.graph.assemble import Parts
    from rle.graph.keys import KeyIndex


@dataclass(frozen=True, slots=True)
class _Found:
    """How one foreign key resolved so far."""

    num_edges: int = 0
    num_null: int = 0
    num_dangling: int = 0
    example: str | None = None

    def plus(self, keys: pa.Array, parents: NDArray[np.int32]) -> _Found:
        num_null = keys.null_count
        num_edges = int((parents >= 0).sum())
        num_dangling = len(keys) - num_null - num_edges
        example = self.example
        if num_dangling and example is None:
            dangling = (parents < 0) & keys.is_valid().to_numpy(zero_copy_only=False)
            example = str(keys[int(np.argmax(dangling))].as_py())
        return replace(
            self,
            num_edges=self.num_edges + num_edges,
            num_null=self.num_null + num_null,
            num_dangling=self.num_dangling + num_dangling,
            example=example,
        )


def resolve_links(
    parts: Parts,
    place: NDArray[np.int32] | None,
    parents: Sequence[tuple[str, str, KeyIndex]],
) -> tuple[NDArray[np.int32], tuple[LinkReport, ...]]:
    """Find the parent of every row.

    Args:
        parts: The child table.
        place: int32 [N], row of every source position; None for the identity.
        parents: Per foreign key its column, the parent's name for errors, and the parent's key.

    Returns:
        int32 [N, F] in row order, -1 for none, and what was found per foreign key.

    Raises:
        DataError: Text would be compared with numbers; names both columns.
    """
    out = np.empty((parts.num_rows, len(parents)), np.int32)
    reports = []
    for f, (column, parent, index) in enumerate(parents):
        where = f"{parts.plan.table}.{column}"
        look_up = _look_up(parts, f"link:{column}", index, where=where, parent=parent)
        found = _Found()
        for p, (batch, rows) in enumerate(targets_of(parts, place)):
            keys = batch.column(f"link:{column}")
            rows_of_parents = index.rows_of(keys) if look_up is None else look_up[p]
            out[rows, f] = rows_of_parents
            found = found.plus(keys, rows_of_parents)
        reports.append(
            LinkReport(
                link=where,
                num_edges=found.num_edges,
                num_null=found.num_null,
                num_dangling=found.num_dangling,
                example=found.example,
            )
        )
    return out, tuple(reports)


def _look_up(
    parts: Parts, name: str, index: KeyIndex, *, where: str, parent: str
) -> list[NDArray[np.int32]] | None:
    """Resolve text keys of all parts at once; None for numbers, which resolve part by part."""
    columns = parts.columns(name)
    is_text = pa.types.is_dictionary(columns[0].type)
    known = sum(len(c.dictionary) if is_text else len(c) - c.null_count for c in columns)
    if is_text != (index.kind == "text"):
        if known == 0:  # all NULL: the type says nothing
            return [np.full(len(c), -1, np.int32) for c in columns]
        kinds = ("text", "numbers") if is_text else ("numbers", "text")
        raise DataError(
            f"Foreign key {where!r} holds {kinds[0]} but {parent!r} holds {kinds[1]}; the number 7 "
            "never equals the text '7'. Cast one of them in a view."
        )
    if not is_text:
        return None
    # One look-up for all parts, because it hashes the whole parent key.
    rows = index.rows_of(pa.chunked_array([c.dictionary for c in columns], pa.large_string()))
    out, first = [], 0
    for column in columns:
        own = np.append(rows[first : first + len(column.dictionary)], np.int32(-1))
        first += len(column.dictionary)
        out.append(own[column.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
    return out
