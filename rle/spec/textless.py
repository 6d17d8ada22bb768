"""A dataset whose text is read as categories, so that no text embedder is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.values import ColumnDType

if TYPE_CHECKING:
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec


def without_text(spec: DatasetSpec) -> DatasetSpec:
    """Return the dataset with its text columns read as categories; keys stay as they are."""
    return spec.replace(tables=tuple(_without_text(table) for table in spec.tables))


def _without_text(table: TableSpec) -> TableSpec:
    roles = {*table.key_columns, *table.link_columns}
    features = {column.name for column in table.feature_columns} - roles
    columns = tuple(
        column.replace(dtype=ColumnDType.category_t)
        if column.dtype is ColumnDType.text_t and column.name in features
        else column
        for column in table.columns
    )
    return table.replace(columns=columns)
