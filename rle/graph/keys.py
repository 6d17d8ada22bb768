"""Candidate keys: which row has which key, compared by value and never across kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.errors import DataError
from rle.ingest.keys import KeyKind, key_kind, plain_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """A candidate key of one table: its values in row order and the way back to rows."""

    column: str
    kind: KeyKind
    original_type: pa.DataType
    """The column's type in the source."""
    plain: pa.Array
    """Values in row order as int64, float64 or large_string; NULL where a row has no key."""
    sorted_values: NDArray[np.int64] | NDArray[np.float64] | None
    """Non-NULL values ascending; None for text, and for integers that have `dense`."""
    sorted_rows: NDArray[np.int32] | None
    """Row of each sorted value; None where it equals its position."""
    dense: NDArray[np.int32] | None
    """Integers of a narrow range: row of value `first + i`, -1 for none."""
    first: int = 0

    def values(self) -> pa.Array:
        """Return the keys in row order, in their original type."""
        if self.plain.type == self.original_type:
            return self.plain
        return pc.cast(self.plain, self.original_type)

    def rows_of(self, keys: pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
        """Find rows by key; int32 [n], -1 where the key is unknown or NULL."""
        kind = key_kind(keys.type, where=self.column)
        if (kind == "text") != (self.kind == "text"):
            raise DataError(
                f"Key column {self.column!r} holds {self.original_type}, but is looked up by "
                f"{keys.type}; 7 never equals '7'. Cast one of them."
            )
        plain = plain_keys(keys, where=self.column)
        if self.kind == "text":
            found = pc.index_in(plain, value_set=self.plain, skip_nulls=True)
            return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int32)
        valid = np.asarray(pc.is_valid(plain).to_numpy(zero_copy_only=False), bool)
        wanted = np.asarray(pc.fill_null(plain, 0).to_numpy(zero_copy_only=False))
        rows = self._dense_rows(wanted) if self.dense is not None else self._sorted_rows(wanted)
        rows[~valid] = -1
        return rows

    def _dense_rows(self, wanted: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int32]:
        assert self.dense is not None
        last = self.first + self.dense.size - 1
        inside = (wanted >= self.first) & (wanted <= last)
        if wanted.dtype == np.float64:
            inside &= wanted == np.floor(wanted)
        at = np.where(inside, wanted, self.first).astype(np.int64) - self.first
        rows = self.dense[at] if self.dense.size else np.full(wanted.size, -1, np.int32)
        return np.where(inside, rows, np.int32(-1)).astype(np.int32, copy=False)

    def _sorted_rows(self, wanted: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int32]:
        assert self.sorted_values is not None
        if self.sorted_values.size == 0:
            return np.full(wanted.size, -1, np.int32)
        at = np.searchsorted(self.sorted_values, wanted)
        at[at == self.sorted_values.size] = 0
        rows = at.astype(np.int32) if self.sorted_rows is None else self.sorted_rows[at]
        return np.where(self.sorted_values[at] == wanted, rows, np.int32(-1))


def index_keys(column: str, original_type: pa.DataType, plain: pa.Array, *, table: str) -> KeyIndex:
    """Build the way from key to row.

    Args:
        column: Name of the key column.
        original_type: Its type in the source.
        plain: int64, float64 or large_string [N] in row order.
        table: For error texts.

    Raises:
        DataError: A key occurs twice; gives an example.
    """
    kind = key_kind(plain.type, where=f"{table}.{column}")
    if kind == "text":
        _refuse_duplicate_text(plain, table=table, column=column)
        return KeyIndex(column, kind, original_type, plain, None, None, None)
    rows = np.flatnonzero(pc.is_valid(plain).to_numpy(zero_copy_only=False)).astype(np.int32)
    values = plain.drop_null().to_numpy(zero_copy_only=False)
    if not (values[1:] > values[:-1]).all():
        order = np.argsort(values)
        values, rows = values[order], rows[order]
    repeated = np.flatnonzero(values[1:] == values[:-1])
    if repeated.size:
        raise _duplicate(table, column, values[repeated[0]].item(), repeated.size)
    if kind == "integer" and values.size:
        first, last = int(values[0]), int(values[-1])
        if last - first < 4 * values.size:
            dense = np.full(last - first + 1, -1, np.int32)
            dense[values - first] = rows
            return KeyIndex(column, kind, original_type, plain, None, None, dense, first)
    return KeyIndex(column, kind, original_type, plain, values, rows, None)


def _refuse_duplicate_text(plain: pa.Array, *, table: str, column: str) -> None:
    if pc.count_distinct(plain, mode="only_valid").as_py() == len(plain) - plain.null_count:
        return
    counts = pc.value_counts(plain.drop_null())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    raise _duplicate(table, column, repeated.field("values")[0].as_py(), len(repeated))


def _duplicate(table: str, column: str, example: object, count: int) -> DataError:
    return DataError(
        f"Key {column!r} of table {table!r} is not unique: {example!r} occurs more than once "
        f"({count} such value{'s' if count > 1 else ''}). Deduplicate the source, or make the "
        "column no key."
    )
