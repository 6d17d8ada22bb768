"""The columns of one source: what they hold, how they are read, which are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import UnknownNameError, ValidationError
from rle.spec.infer import SAMPLE_ROWS, allowed_dtypes, infer_dtypes, key_dtype
from rle.values import ColumnDType

if TYPE_CHECKING:
    import pyarrow as pa

    from rle.connectors.base import Connector


class Columns:
    """Dtypes by column, changed by their owner; begins with what inference says.

    Args:
        connector: Where the source is.
        source: Its name there.
        table: Name of the owner, for messages.
        sample: Rows of all columns, where they were read already.
    """

    def __init__(
        self, connector: Connector, source: str, *, table: str, sample: pa.Table | None = None
    ) -> None:
        if sample is None:
            sample = connector.sample(source, max_rows=SAMPLE_ROWS)
        found = infer_dtypes(sample)
        self.source, self.table = source, table
        self.has_rows: bool = sample.num_rows > 0
        self.arrow = {field.name: field.type for field in sample.schema}
        self._dtypes, self._left_out = dict(found.dtypes), dict(found.left_out)

    @property
    def dtypes(self) -> dict[str, ColumnDType]:
        """Dtype by column, in the order of the source."""
        return {name: self._dtypes[name] for name in self.arrow if name in self._dtypes}

    @property
    def left_out(self) -> dict[str, str]:
        """Why, by column of the source that is not read."""
        return {name: self._left_out[name] for name in self.arrow if name in self._left_out}

    def get(self, column: str) -> ColumnDType | None:
        """Return the dtype of a column, None where it is left out."""
        return self._dtypes.get(column)

    def position(self, column: str) -> int:
        """Return where the column stands in the source; UnknownNameError where it does not."""
        self.check_in_source(column)
        return list(self.arrow).index(column)

    def check_in_source(self, column: str) -> None:
        """Raise UnknownNameError where the source has no such column."""
        if not isinstance(column, str):
            raise ValidationError(
                f"A role of table {self.table!r} takes the name of one column, not {column!r}; it "
                "may have one primary key and one time column (see candidate_keys for more keys)."
            )
        if column not in self.arrow:
            raise UnknownNameError(f"column in {self.source}", column, self.arrow)

    def check_present(self, column: str) -> None:
        """Raise UnknownNameError where the column is left out or not in the source."""
        self.check_in_source(column)
        if column not in self._dtypes:
            raise UnknownNameError(f"column in table {self.table!r}", column, self._dtypes)

    def remove(self, column: str) -> None:
        """Leave a column out."""
        self.check_present(column)
        del self._dtypes[column]
        self._left_out[column] = "removed"

    def set_dtype(self, column: str, dtype: ColumnDType | str) -> None:
        """Read a column as this dtype; ValidationError where its type does not allow it."""
        self.check_in_source(column)
        wanted = as_dtype(dtype)
        allowed = allowed_dtypes(self.arrow[column])
        if wanted not in allowed:
            choices = ", ".join(d.value for d in allowed) or "none"
            raise ValidationError(
                f"Column {column!r} of table {self.table!r} holds {self.arrow[column]}, which "
                f"cannot be read as {wanted.value}. Possible: {choices}."
            )
        self._dtypes[column] = wanted
        self._left_out.pop(column, None)

    def use_as_key(self, column: str) -> None:
        """Read a column as keys are read: strings as text, whatever inference said.

        A column whose sample is all NULL is taken in, for links may be rare. A type that no key
        can have is left as it is.
        """
        self.check_in_source(column)
        dtype = key_dtype(self.arrow[column])
        if dtype is not None:
            self.set_dtype(column, dtype)

    def kind(self, column: str) -> str:
        """Say how a column is read, for messages."""
        dtype = self._dtypes.get(column)
        return dtype.value if dtype else f"left out ({self._left_out[column]})"


def as_dtype(dtype: ColumnDType | str) -> ColumnDType:
    """Return the member that a name or a member stands for; did-you-mean where there is none."""
    try:
        return ColumnDType(dtype)
    except ValueError:
        raise UnknownNameError("dtype", str(dtype), [d.value for d in ColumnDType]) from None
