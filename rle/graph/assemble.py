"""The parts of one table to its sorted blocks on disk, one part in memory at a time.

Shapes: N rows of the table, n rows of a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.errors import DataError
from rle.graph.files import create_array, open_batch, save_array, save_values
from rle.graph.keys import KeyIndex, index_keys
from rle.graph.order import places, row_order
from rle.graph.schema import TableLayout
from rle.ingest.convert import uneven_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.ingest.plan import TablePlan
    from rle.ingest.staging import PartInfo, Staging

MAX_ROWS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Parts:
    """The staged parts of one table, mapped, in the order of their chunks."""

    plan: TablePlan
    batches: tuple[pa.RecordBatch, ...]
    infos: tuple[PartInfo, ...]
    num_rows: int

    def columns(self, name: str) -> list[pa.Array]:
        """Return one column of every part."""
        return [batch.column(name) for batch in self.batches]

    def whole(self, name: str) -> pa.Array:
        """Return one column of all parts as one array; copied unless there is one part."""
        return pa.chunked_array(self.columns(name)).combine_chunks()

    def total(self, counter: str) -> dict[str, int]:
        """Add up a per-column counter of the parts."""
        out: dict[str, int] = {}
        for info in self.infos:
            for column, count in getattr(info, counter).items():
                out[column] = out.get(column, 0) + count
        return out


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the rows of a table's parts went, and how they are found by key."""

    place: NDArray[np.int32] | None
    """int32 [N], row of every source position; None where the source was in order."""
    keys: dict[str, KeyIndex]


def open_parts(staging: Staging, table: int, infos: Sequence[PartInfo]) -> Parts:
    """Map the parts of table number `table`.

    Raises:
        DataError: The table has more rows than an int32 row number can count.
    """
    own = tuple(info for info in infos if info.table == table)
    num_rows = sum(info.num_rows for info in own)
    plan = staging.plans[table]
    if num_rows > MAX_ROWS:
        raise DataError(
            f"Table {plan.table!r} has {num_rows:,} rows; a snapshot holds at most {MAX_ROWS:,} "
            "per table."
        )
    batches = tuple(open_batch(staging.part(table, info.chunk, info.piece)) for info in own)
    return Parts(plan, batches, own, num_rows)


def place_rows(parts: Parts, folder: Path, key_types: dict[str, pa.DataType]) -> Placed:
    """Sort the rows, write times, keys and look-ups.

    Raises:
        DataError: A candidate key is not unique.
    """
    plan = parts.plan
    times = None
    if plan.time is not None:
        times = np.asarray(parts.whole("time:").to_numpy(zero_copy_only=False))
    plain = {column: parts.whole(f"key:{column}") for column in plan.keys}
    order = row_order(times, plain[plan.keys[0]] if plan.keys else None)
    if times is not None:
        save_array(folder / "times.npy", times if order is None else times[order])
    keys = {}
    for i, column in enumerate(plan.keys):
        values = plain.pop(column)
        values = values if order is None else values.take(pa.array(order))
        keys[column] = index_keys(column, key_types[column], values, table=plan.table)
        _save_key(folder, i, keys[column])
    return Placed(None if order is None else places(order), keys)


def write_blocks(parts: Parts, place: NDArray[np.int32] | None, folder: Path) -> TableLayout:
    """Write all feature blocks in row order and return what lies where."""
    plan = parts.plan
    _write_rows(parts, place, folder / "numbers.npy", "numbers:", len(plan.numbers), np.float32)
    _write_rows(parts, place, folder / "stamps.npy", "stamps:", len(plan.stamps), np.int64)
    _write_codes(parts, place, folder)
    dims = [_write_vectors(parts, place, folder, i) for i in range(len(plan.vectors))]
    for i, column in enumerate(plan.lists):
        _write_lists(parts, place, folder, i, column)
    return TableLayout(
        name=plan.table,
        has_time=plan.time is not None,
        number_columns=plan.numbers,
        code_columns=plan.codes,
        stamp_columns=plan.stamps,
        vector_columns=tuple(zip(plan.vectors, dims, strict=True)),
        list_columns=plan.lists,
        key_columns=plan.keys,
    )


def targets_of(
    parts: Parts, place: NDArray[np.int32] | None
) -> Iterator[tuple[pa.RecordBatch, slice | NDArray[np.int32]]]:
    """Yield every part with the rows it goes to."""
    first = 0
    for batch in parts.batches:
        here = slice(first, first + batch.num_rows)
        yield batch, here if place is None else place[here]
        first = here.stop


def _save_key(folder: Path, i: int, index: KeyIndex) -> None:
    save_values(folder / f"key{i}.arrow", index.plain)
    for name in ("sorted_values", "sorted_rows", "dense"):
        values = getattr(index, name)
        if values is not None:
            save_array(folder / f"key{i}_{name}.npy", values)


def _write_rows(
    parts: Parts,
    place: NDArray[np.int32] | None,
    path: Path,
    name: str,
    width: int,
    dtype: type[np.generic],
) -> None:
    out = create_array(path, (parts.num_rows, width), dtype)
    if width == 0:
        return
    for batch, rows in targets_of(parts, place):
        out[rows] = _block(batch.column(name), width)


def _write_codes(parts: Parts, place: NDArray[np.int32] | None, folder: Path) -> None:
    columns = parts.plan.codes
    out = create_array(folder / "codes.npy", (parts.num_rows, len(columns)), np.int32)
    maps = []
    for i, column in enumerate(columns):
        dictionaries = [array.dictionary for array in parts.columns(f"code:{column}")]
        maps.append(_unified(dictionaries, folder / f"dictionary{i}.arrow"))
    for p, (batch, rows) in enumerate(targets_of(parts, place)):
        block = np.empty((batch.num_rows, len(columns)), np.int32)
        for i, column in enumerate(columns):
            block[:, i] = maps[i][p][_indices(batch.column(f"code:{column}"))]
        out[rows] = block


def _write_vectors(parts: Parts, place: NDArray[np.int32] | None, folder: Path, i: int) -> int:
    column = parts.plan.vectors[i]
    dims = sorted({info.dims[column] for info in parts.infos if column in info.dims})
    if len(dims) > 1:
        raise uneven_vectors(f"{parts.plan.table}.{column}", dims[0], dims[1])
    dim = dims[0] if dims else 1
    dtype = np.float16 if i < len(parts.plan.texts) else np.float32
    out = create_array(folder / f"vector{i}.npy", (parts.num_rows, dim), dtype)
    name = f"vector:{column}"
    for batch, rows in targets_of(parts, place):
        out[rows] = _block(batch.column(name), dim) if name in batch.schema.names else np.nan
    return dim


def _write_lists(
    parts: Parts, place: NDArray[np.int32] | None, folder: Path, i: int, column: str
) -> None:
    arrays = parts.columns(f"list:{column}")
    maps = _unified([a.values.dictionary for a in arrays], folder / f"list_dictionary{i}.arrow")
    offsets = np.zeros(parts.num_rows + 1, np.int64)
    for batch, rows in targets_of(parts, place):
        lengths = pc.list_value_length(batch.column(f"list:{column}"))
        offsets[1:][rows] = lengths.to_numpy(zero_copy_only=False)
    np.cumsum(offsets, out=offsets)
    codes = create_array(folder / f"list{i}_codes.npy", (int(offsets[-1]),), np.int32)
    for p, (batch, rows) in enumerate(targets_of(parts, place)):
        array = batch.column(f"list:{column}")
        local = array.offsets.to_numpy(zero_copy_only=False)
        # Element j of a row goes j places behind the row's own start.
        shift = np.repeat(offsets[:-1][rows] - local[:-1], np.diff(local))
        codes[shift + np.arange(local[0], local[-1])] = maps[p][_indices(array.values)]
    save_array(folder / f"list{i}_offsets.npy", offsets)


def _unified(dictionaries: list[pa.Array], path: Path) -> list[NDArray[np.int32]]:
    """Write the sorted union of the parts' dictionaries; return each part's codes in it.

    Every map ends with -1, so that the code -1 maps to itself.
    """
    union = pc.unique(pa.chunked_array(dictionaries, pa.large_string()))
    union = union.take(pc.sort_indices(union))
    save_values(path, union)
    maps = []
    for dictionary in dictionaries:
        found = pc.index_in(dictionary, value_set=union).to_numpy(zero_copy_only=False)
        maps.append(np.append(found, -1).astype(np.int32))
    return maps


def _indices(codes: pa.DictionaryArray) -> NDArray[np.int32]:
    indices = codes.indices
    if indices.null_count:
        indices = indices.fill_null(-1)
    return np.asarray(indices.to_numpy(zero_copy_only=False))


def _block(column: pa.Array, width: int) -> NDArray[Any]:
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
