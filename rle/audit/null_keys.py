"""NULL foreign keys of the entity's own row, where the graph cannot tell them from dangling ones.

Shapes: N rows of the table, S seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.audit.places import Basis, Place
from rle.audit.probes import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.spec.dataset import DatasetSpec


def ambiguous_links(spec: DatasetSpec, snapshot: Snapshot, table: str) -> tuple[str, ...]:
    """Name the foreign keys of a table that are NULL in some rows and dangle in others."""
    if not spec.table(table).key_columns:
        return ()
    found = next(t for t in snapshot.report.tables if t.table == table)
    own = {f"{table}.{column}": column for column in spec.table(table).link_columns}
    return tuple(
        own[link.link]
        for link in found.links
        if link.link in own and link.num_null and link.num_dangling
    )


def read_nulls(
    spec: DatasetSpec, snapshot: Snapshot, table: str, columns: tuple[str, ...]
) -> dict[str, NDArray[np.bool_]]:
    """Return whether each row's foreign key is NULL, bool [N] per column. Scans key and columns."""
    store, owner = snapshot.tables[table], spec.table(table)
    key = owner.key_columns[0]
    nulls = {column: np.zeros(store.num_rows, np.bool_) for column in columns}
    for chunk in spec.connector.chunks(owner.source, columns=[key, *columns]):
        for batch in spec.connector.read(chunk):
            rows = store.rows_of(key, batch.column(0))
            known = rows >= 0
            for column, is_null in nulls.items():
                values = batch.column(batch.schema.get_field_index(column)).is_null()
                is_null[rows[known]] = values.to_numpy(zero_copy_only=False)[known]
    return nulls


def null_probes(place: Place, nulls: dict[str, NDArray[np.bool_]]) -> Iterator[Probe]:
    """Yield one probe per foreign key: NULL, or known whether it leads anywhere or not."""
    has_row = place.rows >= 0
    for column, is_null in nulls.items():
        values = np.where(is_null[np.where(has_row, place.rows, 0)] | ~has_row, np.nan, 0.0)
        yield Probe(
            place.table, column, place.path, Basis.UNDATED, 0, values, is_code=True, has_row=has_row
        )
