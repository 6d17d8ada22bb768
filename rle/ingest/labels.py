"""Labels to training targets and scores back to labels, in the label's own type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.errors import DataError
from rle.values import TaskType, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scalar = bool | int | float | str

_JSON_TYPES = (
    pt.is_boolean,
    pt.is_integer,
    pt.is_floating,
    pt.is_string,
    pt.is_large_string,
)
_TYPES = {
    str(t): t
    for t in (
        pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(),
        pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(),
        pa.large_string(), pa.date32(),
    )
}  # fmt: skip
_DECIMAL = re.compile(r"decimal128\((?P<precision>\d+), (?P<scale>-?\d+)\)")


class LabelCodec(Value):
    """How the labels of one task become numbers and how scores become labels again.

    Fitted on the training split alone and stored with the model.
    """

    task_type: TaskType
    classes: tuple[Scalar, ...] = ()
    """Sorted; the second one is the positive class of a binary task. Empty for regression."""
    class_type: str = "double"
    """Arrow type of a class (of a list's elements), or of the label of a regression."""
    mean: float = 0.0
    """Mean of the training labels, regression only."""
    std: float = 1.0
    """Their standard deviation, 1 where they are all equal."""
    percentiles: tuple[float, float] | None = None
    """Their 2nd and 98th percentile, regression only."""

    @classmethod
    def fit(
        cls, task_type: TaskType, labels: pa.Array | pa.ChunkedArray, *, where: str = "label"
    ) -> Self:
        """Learn classes or scale from the labels of the training split.

        Args:
            task_type: A node task's type.
            labels: [N], any type that the task allows; lists for a multilabel task.
            where: What to call the column in errors.

        Raises:
            DataError: No labels, a NULL, NaN or infinite one, one class only, more classes than
                the task allows, or a type the task cannot have.
        """
        if len(labels) == 0:
            raise DataError(f"Column {where!r} of the training table has no rows.")
        if task_type is TaskType.REGRESSION:
            values = _numbers(labels, where=where)
            std = float(values.std())
            return cls(
                task_type=task_type,
                class_type=str(labels.type),
                mean=float(values.mean()),
                std=std if std > 0 else 1.0,
                percentiles=(float(np.percentile(values, 2)), float(np.percentile(values, 98))),
            )
        values, _ = _class_values(task_type, labels, where=where)
        classes = pc.unique(values)
        classes = _plain(classes.take(pc.sort_indices(classes)))
        _check_count(task_type, classes, where=where)
        return cls(
            task_type=task_type, classes=tuple(classes.to_pylist()), class_type=str(values.type)
        )

    def encode(
        self, labels: pa.Array | pa.ChunkedArray, *, where: str = "label"
    ) -> NDArray[np.float32] | NDArray[np.int64]:
        """Return targets: float32 [N] (binary 0 or 1, regression in its own scale), int64 [N]
        (multiclass), or float32 [N, C] (multilabel, 1 for each class a row has).

        Raises:
            DataError: A NULL, NaN, infinite or unknown label; gives an example.
        """
        if self.task_type is TaskType.REGRESSION:
            return _numbers(labels, where=where).astype(np.float32)
        values, owner = _class_values(self.task_type, labels, where=where)
        found = self._positions(values, where=where)
        if found.null_count:
            raise DataError(self._unknown(values.filter(found.is_null()), len(labels), where=where))
        codes = np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
        if self.task_type is TaskType.MULTICLASS_CLASSIFICATION:
            return codes
        if self.task_type is TaskType.BINARY_CLASSIFICATION:
            return codes.astype(np.float32)
        out = np.zeros((len(labels), len(self.classes)), np.float32)
        out[owner, codes] = 1.0
        return out

    def find_measurable(
        self, labels: pa.Array | pa.ChunkedArray, *, where: str = "label"
    ) -> NDArray[np.bool_]:
        """Return bool [N]: which labels `encode` accepts.

        The others are NULL, NaN or infinite, or of a class that no training row has.

        Raises:
            DataError: The column is of another type than the training labels.
        """
        whole = labels.combine_chunks() if isinstance(labels, pa.ChunkedArray) else labels
        there = np.asarray(whole.is_valid().to_numpy(zero_copy_only=False))
        if self.task_type is TaskType.REGRESSION:
            values = pc.cast(whole, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            return np.asarray(there & np.isfinite(values))
        known = whole.filter(pa.array(there))
        if self.task_type is TaskType.MULTILABEL_CLASSIFICATION:
            owner = np.asarray(pc.list_parent_indices(known).to_numpy(), np.int64)
            values = known.flatten()
        else:
            owner, values = np.arange(len(known)), known
        found = self._positions(values, where=where)
        bad = owner[found.is_null().to_numpy(zero_copy_only=False)]
        there[np.flatnonzero(there)[bad]] = False
        return there

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as text, in the order of `classes`."""
        return tuple(str(value) for value in self.classes)

    def _positions(self, values: pa.Array, *, where: str) -> pa.Array:
        """Return the position of each value among the classes, NULL where it is none."""
        if pt.is_dictionary(values.type):
            values = values.dictionary_decode()
        plain = _plain(values)
        try:
            known = pa.array(list(self.classes), plain.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(
                f"Column {where!r} is {values.type}, but the training labels are {self.class_type}."
            ) from None
        return pc.index_in(plain, value_set=known)

    def _unknown(self, values: pa.Array, num_rows: int, *, where: str) -> str:
        counts = sorted(pc.value_counts(values).to_pylist(), key=lambda found: -found["counts"])
        named = ", ".join(f"{found['values']!r} ({found['counts']} times)" for found in counts[:5])
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        return (
            f"Column {where!r} holds {named}{more} in its {num_rows} rows, which no training row "
            f"has: nothing can be learnt about such a class. Add training rows of it, or leave "
            f"these rows out. The classes are {list(self.classes)[:20]}."
        )

    def decode(self, scores: NDArray[np.floating[Any]]) -> pa.Array:
        """Return labels in their own type from probabilities or values [N, C].

        Binary and multilabel classes are taken from a probability of a half, multiclass takes the
        most probable; regression returns doubles, whatever the type of its labels.
        """
        if self.task_type is TaskType.REGRESSION:
            return pa.array(np.asarray(scores, np.float64).reshape(-1))
        classes = self._class_array()
        if self.task_type is TaskType.MULTICLASS_CLASSIFICATION:
            return classes.take(pa.array(np.asarray(scores).argmax(axis=1)))
        chosen = np.asarray(scores) >= 0.5
        if self.task_type is TaskType.BINARY_CLASSIFICATION:
            return classes.take(pa.array(chosen.reshape(-1).astype(np.int64)))
        offsets = np.concatenate([[0], chosen.sum(axis=1).cumsum()]).astype(np.int32)
        return pa.ListArray.from_arrays(
            pa.array(offsets), classes.take(pa.array(np.nonzero(chosen)[1]))
        )

    def _class_array(self) -> pa.Array:
        plain = pa.array(list(self.classes))
        dtype = _TYPES.get(self.class_type) or _decimal(self.class_type)
        return plain if dtype is None else plain.cast(dtype)


def _numbers(labels: pa.Array | pa.ChunkedArray, *, where: str) -> NDArray[np.float64]:
    if not (
        pt.is_integer(labels.type) or pt.is_floating(labels.type) or pt.is_decimal(labels.type)
    ):
        raise DataError(
            f"Column {where!r} is {labels.type}; a regression needs numbers. Use a classification "
            "task, or cast the column."
        )
    _refuse_null(labels, where=where)
    values = np.asarray(pc.cast(labels, pa.float64(), safe=False).to_numpy(), np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"Column {where!r} holds {values[bad][0]} in {int(bad.sum())} rows; labels must be "
            "finite. Leave such rows out."
        )
    return values


def _class_values(
    task_type: TaskType, labels: pa.Array | pa.ChunkedArray, *, where: str
) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return one value per class a row has, and the row it belongs to."""
    whole = labels.combine_chunks() if isinstance(labels, pa.ChunkedArray) else labels
    _refuse_null(whole, where=where)
    is_list = (
        pt.is_list(whole.type) or pt.is_large_list(whole.type) or pt.is_fixed_size_list(whole.type)
    )
    if is_list != (task_type is TaskType.MULTILABEL_CLASSIFICATION):
        need = "one class per row" if is_list else "a list of classes per row"
        raise DataError(f"Column {where!r} is {whole.type}, but {task_type.name} needs {need}.")
    owner = np.arange(len(whole))
    if is_list:
        owner = np.asarray(pc.list_parent_indices(whole).to_numpy(), np.int64)
        whole = whole.flatten()
        _refuse_null(whole, where=where)
    if pt.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    if pt.is_floating(whole.type) and not bool(pc.all(pc.is_finite(whole)).as_py() in (True, None)):
        raise DataError(f"Column {where!r} holds NaN or infinity; leave such rows out.")
    if pt.is_nested(whole.type):
        raise DataError(f"Column {where!r} is {whole.type}; classes must be plain values.")
    return whole, owner


def _plain(values: pa.Array) -> pa.Array:
    """Return values that JSON can hold: dates and the like become text."""
    if any(is_json(values.type) for is_json in _JSON_TYPES):
        return values
    return values.cast(pa.string())


def _decimal(name: str) -> pa.DataType | None:
    """Return the type that is written like "decimal128(3, 1)"; None where it is another."""
    found = _DECIMAL.fullmatch(name)
    return None if found is None else pa.decimal128(int(found["precision"]), int(found["scale"]))


def _refuse_null(labels: pa.Array | pa.ChunkedArray, *, where: str) -> None:
    if labels.null_count:
        raise DataError(
            f"Column {where!r} has {labels.null_count} NULL labels; leave such rows out of the "
            "task table."
        )


def _check_count(task_type: TaskType, classes: pa.Array, *, where: str) -> None:
    count, shown = len(classes), classes.slice(0, 5).to_pylist()
    if task_type is TaskType.MULTILABEL_CLASSIFICATION:
        if count == 0:
            raise DataError(f"Column {where!r} holds empty lists only; there is nothing to learn.")
        return
    if count < 2:
        raise DataError(
            f"Column {where!r} has one class only, {shown[0]!r}; there is nothing to learn."
        )
    if task_type is TaskType.BINARY_CLASSIFICATION and count > 2:
        raise DataError(
            f"Column {where!r} has {count} classes, such as {shown}; BINARY_CLASSIFICATION needs "
            "exactly two. Use MULTICLASS_CLASSIFICATION."
        )
    if task_type is TaskType.MULTICLASS_CLASSIFICATION and count == 2:
        raise DataError(
            f"Column {where!r} has two classes, {shown}; MULTICLASS_CLASSIFICATION needs more. "
            "Use BINARY_CLASSIFICATION."
        )
