"""The rows of a split of a link task, as files that workers map, and what is odd about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rle.graph.link_task import LinkSplitRows

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.values import Split

ARRAYS = ("rows", "times", "offsets", "targets")


def save_split(folder: Path, split: LinkSplitRows, at: NDArray[np.int64] | None = None) -> None:
    """Write the rows of a split that has targets, or those at int64 [n] `at`, into `folder`."""
    assert split.offsets is not None
    assert split.targets is not None
    chosen = np.arange(split.rows.size) if at is None else at
    lengths = np.diff(split.offsets)[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(split.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
    arrays = (split.rows[chosen], split.times[chosen], offsets, split.targets[places])
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load_split(folder: Path, split: Split) -> LinkSplitRows:
    """Map what `save_split` wrote; keys and times as in the table are not kept."""
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS
    }
    keys = pa.nulls(arrays["rows"].size)
    return LinkSplitRows(split=split, keys=keys, task_times=None, **arrays)


def usable_rows(split: LinkSplitRows) -> NDArray[np.int64]:
    """Rows with a known source and a known target, int64 [n]."""
    if split.offsets is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((split.rows >= 0) & (np.diff(split.offsets) > 0))


def targets_of_row(split: LinkSplitRows, row: int) -> NDArray[np.int32]:
    """Rows of the target table, ascending."""
    assert split.offsets is not None
    assert split.targets is not None
    return split.targets[split.offsets[row] : split.offsets[row + 1]]


def split_remarks(split: LinkSplitRows) -> list[str]:
    """What the user should know about the rows of a split that is trained on."""
    remarks = target_remarks(split)
    if split.num_unknown:
        unknown = (
            f"{split.num_unknown} of {split.rows.size} rows of the {split.split.value} table name "
            f"a source that is not in the graph, such as {split.example_unknown!r}; they are left "
            "out."
        )
        remarks.insert(0, unknown)
    return remarks


def target_remarks(split: LinkSplitRows) -> list[str]:
    """What the user should know about the targets of a split."""
    table, remarks = f"the {split.split.value} table", []
    if split.num_unknown_targets:
        remarks.append(
            f"{split.num_unknown_targets} targets of {table} are not in the graph, such as "
            f"{split.example_unknown_target!r}; they are left out, and can never be predicted."
        )
    if split.num_duplicate_targets:
        remarks.append(
            f"{split.num_duplicate_targets} targets of {table} are named more than once by their "
            "row; each counts once."
        )
    if split.num_empty:
        remarks.append(
            f"{split.num_empty} of {split.rows.size} rows of {table} have no target; they teach "
            "nothing and are not measured."
        )
    return remarks
