"""GNNTable: the handle with which a user says what a table is."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Literal, TypeVar

from rle.errors import RoleKeyError, ValidationError
from rle.spec.columns import Columns, as_dtype
from rle.spec.show import say, show_rows, yes
from rle.spec.table import (
    KEY_DTYPES,
    CandidateKey,
    ColumnSpec,
    ForeignKey,
    TableSpec,
    check_key_dtype,
    check_name,
    check_not_to_itself,
)
from rle.values import ColumnDType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rle.connectors.base import Connector

K = TypeVar("K", CandidateKey, ForeignKey)
HEADER = ("column", "dtype", "format", "feature", "key", "foreign key", "link to", "time")


class GNNTable:
    """A table of the graph, seen through its metadata: no row is kept.

    Dtypes are inferred from the schema and a small sample (rules: `rle.spec.infer`). What is wrong
    but can be put right with the setters is printed here and raised by `validate_table`.

    Args:
        connector: Where the table is.
        name: Name in the graph, which links use; a letter, then letters, digits and _.
        source: Name in the warehouse, DB.SCHEMA.TABLE, or path of a file.
        primary_key: Column whose values are unique per row; the same as one candidate key.
        foreign_keys: Links to other tables.
        time_column: When a row became known; of dtype datetime.
        type: "node", or "edge" for a table of exactly two foreign keys whose rows are edges.
        candidate_keys: Further columns whose values are unique per row.
        column_dtypes: Dtypes that are not to be inferred, by column.
        columns: The source's columns, where a sample was read already.

    Raises:
        UnknownNameError: A named column is not in the source; suggests the nearest.
        ValidationError: The name, a key or a dtype is impossible.
        ConnectionError: The source cannot be read.
    """

    def __init__(
        self,
        connector: Connector,
        name: str,
        source: str,
        primary_key: str | None = None,
        foreign_keys: Iterable[ForeignKey] | None = None,
        time_column: str | None = None,
        *,
        type: Literal["node", "edge"] = "node",
        candidate_keys: Iterable[CandidateKey] | None = None,
        column_dtypes: Mapping[str, ColumnDType | str] | None = None,
        columns: Columns | None = None,
    ) -> None:
        check_name(name)
        if type not in ("node", "edge"):
            raise ValidationError(f"type of table {name!r} must be 'node' or 'edge', not {type!r}.")
        self.connector = connector
        self._name, self._source, self._type = name, source, type
        self._columns = columns or Columns(connector, source, table=name)
        self._candidate_keys: list[CandidateKey] = []
        self._foreign_keys: list[ForeignKey] = []
        self._time_column: str | None = None
        self._refused: dict[str, str] = {}
        self._refused_time: str | None = None
        for column, dtype in (column_dtypes or {}).items():
            self._columns.set_dtype(column, dtype)
        fixed = set(column_dtypes or {})
        self._take_keys(primary_key, self._in_order(candidate_keys), fixed)
        self._take_links(self._in_order(foreign_keys), fixed)
        self._take_time(time_column)
        self._report()

    @property
    def name(self) -> str:
        """Name in the graph."""
        return self._name

    @property
    def source(self) -> str:
        """Name in the warehouse, or path of the file."""
        return self._source

    @property
    def type(self) -> Literal["node", "edge"]:
        """Whether rows are nodes or edges."""
        return self._type

    @property
    def columns(self) -> dict[str, ColumnDType]:
        """Dtype by column, in the order of the source."""
        return self._columns.dtypes

    @property
    def left_out(self) -> dict[str, str]:
        """Why, by column of the source that is not in the table."""
        return self._columns.left_out

    @property
    def has_rows(self) -> bool:
        """Whether the source had any row when this table was declared."""
        return self._columns.has_rows

    @property
    def primary_key(self) -> str | None:
        """Column of the first candidate key, None where there is none."""
        return self._candidate_keys[0].column_name if self._candidate_keys else None

    @property
    def candidate_keys(self) -> tuple[CandidateKey, ...]:
        """Keys that other tables may link to; the primary key comes first."""
        return tuple(self._candidate_keys)

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """Links to other tables."""
        return tuple(self._foreign_keys)

    @property
    def time_column(self) -> str | None:
        """When a row became known, None where that is not known."""
        return self._time_column

    @property
    def spec(self) -> TableSpec:
        """The table as frozen data; raises ValidationError where it does not hold together."""
        return TableSpec(
            name=self._name,
            source=self._source,
            type=self._type,
            columns=tuple(ColumnSpec(name=n, dtype=d) for n, d in self.columns.items()),
            candidate_keys=self.candidate_keys,
            foreign_keys=self.foreign_keys,
            time_column=self._time_column,
        )

    def remove_column(self, col_name: str) -> None:
        """Take a column out of the table, and with it its roles."""
        self._columns.remove(col_name)
        self._refused.pop(col_name, None)
        self._candidate_keys = [k for k in self._candidate_keys if k.column_name != col_name]
        self._foreign_keys = [k for k in self._foreign_keys if k.column_name != col_name]
        if self._time_column == col_name:
            self._time_column = None

    def add_column(self, col_name: str, dtype: ColumnDType | str) -> None:
        """Take a column of the source in, one that was removed or could not be inferred."""
        if self._columns.get(col_name) is not None:
            raise ValidationError(
                f"Column {col_name!r} is in table {self._name!r} already; change its dtype with "
                "update_column_dtype."
            )
        self._columns.set_dtype(col_name, dtype)

    def update_column_dtype(self, col_name: str, dtype: ColumnDType | str) -> None:
        """Read a column as another dtype. Keys stay integer, float or text, times datetime."""
        self._columns.check_present(col_name)
        wanted = as_dtype(dtype)
        if col_name == self._time_column and wanted is not ColumnDType.datetime_t:
            raise ValidationError(
                f"Column {col_name!r} is the time column of table {self._name!r} and must stay "
                f"datetime; unset_time_column first to make it {wanted.value}."
            )
        if self._is_key(col_name):
            check_key_dtype(self._name, col_name, wanted)
        self._columns.set_dtype(col_name, wanted)

    def set_primary_key(self, col_name: str) -> None:
        """Make a column the primary key, in place of the one there is."""
        self._use_as_key(col_name)
        rest = [k for k in self._candidate_keys[1:] if k.column_name != col_name]
        self._candidate_keys = [CandidateKey(column_name=col_name), *rest]

    def unset_primary_key(self, col_name: str) -> None:
        """Take the role of primary key from a column.

        Raises:
            RoleKeyError: The column is not the primary key. A KeyError and a ValueError.
        """
        self._columns.check_present(col_name)
        if self.primary_key != col_name:
            raise RoleKeyError(
                f"Column {col_name!r} is not the primary key of table {self._name!r}; "
                f"that is {self.primary_key!r}."
            )
        self._candidate_keys = self._candidate_keys[1:]

    def set_foreign_key(self, foreign_key: ForeignKey) -> None:
        """Link a column to a key of another table, or to another column of this one."""
        column = foreign_key.column_name
        self._columns.check_present(column)
        if foreign_key in self._foreign_keys:
            raise ValidationError(
                f"Column {column!r} of table {self._name!r} is a foreign key already; "
                "unset_foreign_key first."
            )
        check_not_to_itself(self._name, foreign_key)
        self._use_as_key(column)
        self._foreign_keys.append(foreign_key)

    def unset_foreign_key(self, foreign_key: ForeignKey) -> None:
        """Remove a link.

        Raises:
            RoleKeyError: The column is not a foreign key. A KeyError and a ValueError.
        """
        self._columns.check_present(foreign_key.column_name)
        if foreign_key not in self._foreign_keys:
            raise RoleKeyError(
                f"Column {foreign_key.column_name!r} of table {self._name!r} is not a foreign key."
            )
        self._foreign_keys.remove(foreign_key)

    def set_time_column(self, col_name: str) -> None:
        """Say which column tells when a row became known, in place of the one there is."""
        self._columns.check_present(col_name)
        self._check_not_both(col_name, is_both=self._is_key(col_name))
        if self._columns.get(col_name) is not ColumnDType.datetime_t:
            raise ValidationError(self._not_a_time(col_name))
        self._refused.pop(self._refused_time or "", None)
        self._time_column = col_name

    def unset_time_column(self, col_name: str) -> None:
        """Take the role of time column from a column; rows are then always visible."""
        self._columns.check_in_source(col_name)
        if col_name not in (self._time_column, self._refused_time):
            raise ValidationError(
                f"Column {col_name!r} is not the time column of table {self._name!r}; "
                f"that is {self._time_column!r}."
            )
        self._refused.pop(col_name, None)
        self._time_column = None

    def validate_table(self) -> None:
        """Check the table by itself; print which columns it leaves out and whether it has no rows.

        A table may be empty, such as one that fills only later; the task's entity table may not,
        which `Dataset` checks.

        Raises:
            ValidationError: No key, or an impossible key or time column.
        """
        if self._refused:
            raise ValidationError("\n".join(self._refused.values()))
        _ = self.spec
        self._report()

    def show_table(self) -> None:
        """Print the columns with their dtypes and roles."""
        title = f"Table {self._name} ({self._type}) from {self._source}"
        show_rows(title, HEADER, (self._describe(column) for column in self._columns.arrow))

    def _describe(self, column: str) -> tuple[str, ...]:
        dtype = self._columns.get(column)
        key = next((k for k in self._candidate_keys if k.column_name == column), None)
        link = next((k for k in self._foreign_keys if k.column_name == column), None)
        is_feature = column != self._time_column
        if key or link:
            is_feature = any(role.is_feature for role in (key, link) if role)
        return (
            column,
            dtype.value if dtype else "Not defined",
            str(self._columns.arrow[column]),
            yes(dtype is not None and is_feature),
            "primary" if column == self.primary_key else "candidate" if key else "",
            yes(link is not None),
            link.link_to if link else "",
            yes(column == self._time_column),
        )

    def __repr__(self) -> str:
        roles = [f"{len(self.columns)} columns"]
        if self._candidate_keys:
            roles.append("key " + ", ".join(k.column_name for k in self._candidate_keys))
        roles += [f"{key.column_name} -> {key.link_to}" for key in self._foreign_keys]
        if self._time_column:
            roles.append(f"time {self._time_column}")
        return f"<GNNTable {self._name} ({self._type}) from {self._source}: {'; '.join(roles)}>"

    def _in_order(self, keys: Iterable[K] | None) -> list[K]:
        given = list(keys or ())
        for key in given:
            self._columns.check_in_source(key.column_name)
        if isinstance(keys, AbstractSet):
            # A set has another order in each process, and the first key orders rows.
            given.sort(key=lambda key: self._columns.position(key.column_name))
        return given

    def _take_keys(self, primary: str | None, keys: list[CandidateKey], fixed: set[str]) -> None:
        if primary is not None:
            self._columns.check_in_source(primary)
            # Given as candidate key too, that one says whether it is a feature.
            same = [key for key in keys if key.column_name == primary]
            others = [key for key in keys if key.column_name != primary]
            keys = [*(same or [CandidateKey(column_name=primary)]), *others]
        for key in keys:
            if any(key.column_name == known.column_name for known in self._candidate_keys):
                raise ValidationError(
                    f"Table {self._name!r} has candidate key {key.column_name!r} twice."
                )
            if self._may_be_key(key.column_name, fixed):
                self._candidate_keys.append(key)

    def _take_links(self, links: list[ForeignKey], fixed: set[str]) -> None:
        for key in links:
            if key in self._foreign_keys:
                raise ValidationError(
                    f"Table {self._name!r} has foreign key {key.column_name!r} twice."
                )
            check_not_to_itself(self._name, key)
            if self._may_be_key(key.column_name, fixed):
                self._foreign_keys.append(key)

    def _take_time(self, column: str | None) -> None:
        if column is None:
            return
        self._columns.check_in_source(column)
        self._check_not_both(column, is_both=self._is_key(column))
        if self._columns.get(column) is ColumnDType.datetime_t:
            self._time_column = column
        else:
            self._refused_time = column
            self._refuse(column, self._not_a_time(column))

    def _may_be_key(self, column: str, fixed: set[str]) -> bool:
        """Read the column as a key; where it cannot be one, print why and leave it without role."""
        if column not in fixed:
            self._columns.use_as_key(column)
        if self._columns.get(column) in KEY_DTYPES:
            return True
        self._refuse(
            column,
            f"Column {column!r} of table {self._name!r} cannot be a key: a key must be integer, "
            f"float or text, and it is {self._columns.kind(column)}.",
        )
        return False

    def _use_as_key(self, column: str) -> None:
        self._columns.check_present(column)
        self._check_not_both(column, is_both=column == self._time_column)
        if self._columns.get(column) not in KEY_DTYPES:
            self._columns.use_as_key(column)  # strings that were a category are text as a key
        check_key_dtype(self._name, column, self._columns.dtypes[column])
        self._refused.pop(column, None)

    def _check_not_both(self, column: str, *, is_both: bool) -> None:
        if is_both:
            raise ValidationError(
                f"Column {column!r} of table {self._name!r} cannot be time column and key at once."
            )

    def _not_a_time(self, column: str) -> str:
        return (
            f"Column {column!r} of table {self._name!r} cannot be the time column: a time column "
            f"must be datetime, and it is {self._columns.kind(column)}. If it holds dates as ISO "
            f"8601 text, say so: column_dtypes={{{column!r}: 'datetime'}}."
        )

    def _refuse(self, column: str, message: str) -> None:
        self._refused[column] = message
        say(message)

    def _is_key(self, column: str) -> bool:
        keys = [key.column_name for key in self._candidate_keys]
        return column in keys or any(column == key.column_name for key in self._foreign_keys)

    def _report(self) -> None:
        if not self.has_rows:
            say(f"Table {self._name!r} ({self._source}) has no rows.")
        if self.left_out:
            reasons = "; ".join(f"{name} ({why})" for name, why in self.left_out.items())
            say(f"Table {self._name!r} leaves out {len(self.left_out)} columns: {reasons}.")
