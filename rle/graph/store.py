"""One table of a snapshot: blocks of features by kind, and keys that find rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rle.ingest.nulls import NULL_STAMP, NULL_TIME

__all__ = ["NULL_STAMP", "NULL_TIME", "TableStore"]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from rle.graph.keys import KeyIndex


@dataclass(frozen=True, slots=True)
class TableStore:
    """The rows of one table, sorted by (time, first key, position). Arrays are read-only.

    Shapes: N rows; C number, K code and D datetime columns.
    """

    name: str
    num_rows: int
    times: NDArray[np.int64] | None
    """int64 [N], nanoseconds since 1970 UTC, ascending; None if the table has no time column."""
    numbers: NDArray[np.float32]
    """float32 [N, C], NaN for NULL."""
    codes: NDArray[np.int32]
    """int32 [N, K], index into `dictionary(column)`, -1 for NULL."""
    stamps: NDArray[np.int64]
    """int64 [N, D], nanoseconds since 1970 UTC, NULL_STAMP for NULL."""
    vectors: Mapping[str, NDArray[np.float16] | NDArray[np.float32]]
    """Per column [N, dim]; a NULL is a row of NaN."""
    lists: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int32]]]
    """Per column int64 [N + 1] offsets and int32 codes; NULL and the empty list are the same."""
    dictionaries: Mapping[str, Callable[[], pa.Array]] = field(default_factory=dict)
    """Per code or list column a function that opens its sorted values."""
    key_indexes: Mapping[str, KeyIndex] = field(default_factory=dict)

    def dictionary(self, column: str) -> pa.Array:
        """Return the values of a code or list column as text, sorted; code -> value."""
        return self.dictionaries[column]()

    def keys(self, column: str) -> pa.Array:
        """Return the values of a candidate key in row order, in their original type."""
        return self.key_indexes[column].values()

    def rows_of(self, column: str, keys: pa.Array) -> NDArray[np.int32]:
        """Find rows by candidate key; int32 [n], -1 where the key is unknown or NULL.

        Raises:
            DataError: Text is looked up among numbers or the other way round.
        """
        return self.key_indexes[column].rows_of(keys)
