"""Labels as an audit measures them: numbers, or one yes-or-no per class.

Shapes: S seeds, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rle.values import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.audit.task_rows import TaskRows

MAX_CLASSES = 10
"""Classes that are looked at, most frequent first: one column that says one class is enough."""


@dataclass(frozen=True, slots=True)
class AuditLabels:
    """Labels of the seeds, those to learn from first."""

    names: tuple[str, ...]
    """What each class is called."""
    is_class: NDArray[np.bool_]
    """bool [S, C]."""
    numbers: NDArray[np.float64] | None
    """float64 [S], of a regression."""

    def is_constant(self, num_fit: int) -> bool:
        """Whether the rows to learn from, the first `num_fit`, or the others are all alike."""
        values = self.is_class if self.numbers is None else self.numbers[:, None]
        parts = (values[:num_fit], values[num_fit:])
        return any(bool((part == part[:1]).all()) for part in parts)


def read_labels(
    task_type: TaskType, parts: tuple[tuple[TaskRows, NDArray[np.int64]], ...]
) -> AuditLabels:
    """Return the labels of some positions of some splits, one after the other.

    Args:
        task_type: Of the task; the targets of a link task count as classes.
        parts: Splits with labels and positions in them. Classes come from the first.
    """
    numbers = None
    if task_type is TaskType.REGRESSION:
        numbers = np.concatenate([_numbers(rows)[at] for rows, at in parts])
    kept = _frequent(parts[0][0])
    if task_type is TaskType.REGRESSION:
        kept = kept[:1]  # one value may be what a column gives away, such as 0
    return AuditLabels(
        names=tuple(kept.to_pylist()),
        is_class=np.concatenate([_indicators(rows, kept)[at] for rows, at in parts]),
        numbers=numbers,
    )


def _numbers(found: TaskRows) -> NDArray[np.float64]:
    assert found.labels is not None
    values = pc.cast(found.labels, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.nan_to_num(np.asarray(values, np.float64))


def _frequent(found: TaskRows) -> pa.Array:
    """Return the most frequent labels as text, ties by value."""
    _, labels = found.targets()
    counted = pc.value_counts(pc.cast(labels.drop_null(), pa.string()))
    table = pa.table({"value": counted.field("values"), "count": counted.field("counts")})
    table = table.sort_by([("count", "descending"), ("value", "ascending")])
    return table.column("value").combine_chunks()[:MAX_CLASSES]


def _indicators(found: TaskRows, kept: pa.Array) -> NDArray[np.bool_]:
    owner, labels = found.targets()
    code = pc.index_in(pc.cast(labels, pa.string()), value_set=kept)
    at = code.fill_null(-1).to_numpy(zero_copy_only=False)
    out = np.zeros((len(found.keys), len(kept)), np.bool_)
    out[owner[at >= 0], at[at >= 0]] = True
    return out
