"""What a table is to the graph: its columns, keys, links and time. Frozen, equal to its JSON."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from rle.errors import UnknownNameError, ValidationError
from rle.values import ColumnDType, Value

NAME = re.compile(r"[^\W\d_]\w*")
"""A table's name in the graph, and an unquoted column in `link_to`."""
_LINK = re.compile(r'([^\W\d_]\w*)\.(?:([^\W\d_]\w*)|"((?:[^"]|"")+)")')
KEY_DTYPES = (ColumnDType.integer_t, ColumnDType.float_t, ColumnDType.text_t)
"""Dtypes a key or a link may have."""


class ColumnSpec(Value):
    """A column of a table and how it is read."""

    name: str
    dtype: ColumnDType


class CandidateKey(Value):
    """A column whose values are unique per row, so that other tables can link to it."""

    column_name: str
    is_feature: bool = False
    """Whether the key's value is also given to the model."""

    def __init__(self, column_name: Any = None, is_feature: Any = False, **data: Any) -> None:
        given = {"column_name": column_name} if column_name is not None else {}
        super().__init__(**given, is_feature=is_feature, **data)


class ForeignKey(Value):
    """A column whose values are keys of another table. Equal to another by its column alone."""

    column_name: str
    link_to: str
    """"Table.column", by the table's name in the graph. Write Table."odd name" where needed."""
    is_feature: bool = False
    """Whether the key's value is also given to the model."""

    def __init__(
        self, column_name: Any = None, link_to: Any = None, is_feature: Any = False, **data: Any
    ) -> None:
        given = {"column_name": column_name, "link_to": link_to}
        super().__init__(
            **{k: v for k, v in given.items() if v is not None}, is_feature=is_feature, **data
        )

    @field_validator("link_to")
    @classmethod
    def _check_form(cls, link_to: str) -> str:
        if not _LINK.fullmatch(link_to):
            raise ValidationError(
                f"link_to must look like 'Table.column', by the table's name in the graph "
                f"(a letter, then letters, digits or _), not {link_to!r}. "
                "A column with other characters goes in double quotes: 'Table.\"odd column\"'."
            )
        return link_to

    @cached_property
    def target(self) -> tuple[str, str]:
        """Table and column this key links to."""
        match = _LINK.fullmatch(self.link_to)
        assert match is not None
        table, plain, quoted = match.groups()
        return table, plain or quoted.replace('""', '"')

    @property
    def link_table(self) -> str:
        """Name of the table this key links to."""
        return self.target[0]

    @property
    def link_column(self) -> str:
        """Name of the key column this key links to."""
        return self.target[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ForeignKey) and other.column_name == self.column_name

    def __hash__(self) -> int:
        return hash(self.column_name)


class TableSpec(Value):
    """A table of the graph. A "node" table's rows are nodes, an "edge" table's rows are edges."""

    name: str
    """Name in the graph; links use it."""
    source: str
    """Name in the warehouse, or path of the file."""
    type: Literal["node", "edge"] = "node"
    columns: tuple[ColumnSpec, ...]
    """Columns that are read, in the order of the source."""
    candidate_keys: tuple[CandidateKey, ...] = ()
    """Keys other tables may link to; the first one orders rows of equal time."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    time_column: str | None = None
    """When a row became known. None: always known."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_name(self.name)
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValidationError(f"Table {self.name!r} has columns twice: {twice}.")
        for column in self._role_columns():
            if column not in names:
                raise UnknownNameError(f"column of table {self.name!r}", column, names)
        self._check_keys()
        self._check_time()
        if self.type == "edge":
            self._check_edge()
        return self

    def _role_columns(self) -> list[str]:
        roles = [*self.key_columns, *self.link_columns]
        return roles + ([self.time_column] if self.time_column is not None else [])

    def _check_keys(self) -> None:
        keys, links = self.key_columns, self.link_columns
        for group, what in ((keys, "candidate key"), (links, "foreign key")):
            twice = sorted({name for name in group if group.count(name) > 1})
            if twice:
                raise ValidationError(f"Table {self.name!r} has {what} {twice[0]!r} twice.")
        if not keys and not links:
            raise ValidationError(
                f"Table {self.name!r} needs at least one primary key or foreign key, or it "
                "cannot be part of the graph."
            )
        for column in (*keys, *links):
            check_key_dtype(self.name, column, self.dtype_of(column))
        for key in self.foreign_keys:
            check_not_to_itself(self.name, key)

    def _check_time(self) -> None:
        column = self.time_column
        if column is None:
            return
        if column in self.key_columns or column in self.link_columns:
            raise ValidationError(
                f"Column {column!r} of table {self.name!r} cannot be time column and key at once."
            )
        if self.dtype_of(column) is not ColumnDType.datetime_t:
            raise ValidationError(
                f"Time column {column!r} of table {self.name!r} must be of dtype datetime, "
                f"not {self.dtype_of(column).value}."
            )

    def _check_edge(self) -> None:
        links = set(self.link_columns)
        extra = [column.name for column in self.columns if column.name not in links]
        if len(links) != 2 or extra or self.candidate_keys:
            raise ValidationError(
                f"Edge table {self.name!r} must have exactly two foreign keys and no other "
                f"column; it has {len(links)} foreign keys and other columns {extra}. "
                "Remove the others with remove_column, or use type='node'."
                if len(links) != 2 or extra
                else f"Edge table {self.name!r} may have no key of its own, such as "
                f"{self.candidate_keys[0].column_name!r}: nothing can link to its rows, which are "
                "edges. Leave it out, or use type='node'."
            )

    @cached_property
    def _dtypes(self) -> dict[str, ColumnDType]:
        return {column.name: column.dtype for column in self.columns}

    def dtype_of(self, column: str) -> ColumnDType:
        """Return the dtype of a column; UnknownNameError where the table does not have it."""
        if column not in self._dtypes:
            raise UnknownNameError(f"column of table {self.name!r}", column, self._dtypes)
        return self._dtypes[column]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Names of the candidate keys' columns."""
        return tuple(key.column_name for key in self.candidate_keys)

    @property
    def link_columns(self) -> tuple[str, ...]:
        """Names of the foreign keys' columns."""
        return tuple(key.column_name for key in self.foreign_keys)

    @property
    def feature_columns(self) -> tuple[ColumnSpec, ...]:
        """Columns the model sees: no key unless is_feature, and not the time column.

        The time column enters through the row's time alone.
        """
        features = {key.column_name for key in self.candidate_keys if key.is_feature}
        features |= {key.column_name for key in self.foreign_keys if key.is_feature}
        hidden = set(self._role_columns()) - features
        return tuple(column for column in self.columns if column.name not in hidden)


def check_name(name: str) -> None:
    """Raise ValidationError where a table's name could not stand in `link_to`."""
    if not NAME.fullmatch(name):
        raise ValidationError(
            f"Table name {name!r} must start with a letter and hold letters, digits and _ only; "
            "the name in the warehouse goes to source."
        )


def check_key_dtype(table: str, column: str, dtype: ColumnDType) -> None:
    """Raise ValidationError where a column of this dtype cannot be a key or a link."""
    if dtype not in KEY_DTYPES:
        raise ValidationError(
            f"Key column {column!r} of table {table!r} must be of dtype "
            f"{', '.join(d.value for d in KEY_DTYPES)}, not {dtype.value}."
        )


def check_not_to_itself(table: str, key: ForeignKey) -> None:
    """Raise ValidationError where a column links to itself."""
    if key.target == (table, key.column_name):
        raise ValidationError(
            f"Foreign key {key.column_name!r} of table {table!r} links to itself. A column may "
            "link to another column of the same table."
        )
