"""Which dtype a column gets when nobody says: written down, and the same every time.

The rules look at the column's Arrow type first. Where the type leaves a choice, they look at a
sample: at most `SAMPLE_ROWS` rows, in runs spread evenly over the table, the same at every call.

| Arrow type                                    | dtype |
|-----------------------------------------------|-------|
| integers, decimals without fraction digits    | integer |
| floats, decimals with fraction digits         | float |
| booleans                                      | category |
| dates and timestamps, with or without zone    | datetime |
| strings                                       | text or category, see below |
| lists of strings, booleans                    | multi_categorical |
| lists of integers                             | multi_categorical |
| lists of floats                               | embedding if all sampled rows have one length |
| fixed-size lists of numbers                   | embedding |
| anything else (binary, struct, map, time, ..) | none: left out |

Strings become text where the sample holds more than `FEW_VALUES` distinct values and either more
than `VARIED_SHARE` of its values are distinct and they average over `WORDY_LENGTH` characters, or
they average over `LONG_LENGTH` characters. Otherwise they become a category.

A column that is NULL in every sampled row is left out, whatever its type: there is nothing to
learn from it. In an empty table the type decides alone and strings become categories. Keys are
never categories: see `key_dtype`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rle.values import ColumnDType

SAMPLE_ROWS = 8192
"""Rows that inference looks at."""
FEW_VALUES = 20
"""Up to so many distinct values, strings are a category."""
VARIED_SHARE = 0.2
"""Distinct values per non-NULL value above which strings may be text."""
WORDY_LENGTH = 16
"""Mean number of characters above which varied strings are text; ids and names are shorter."""
LONG_LENGTH = 64
"""Mean number of characters above which strings are text, varied or not."""

_SCALARS = {
    ColumnDType.integer_t: {"integer", "float", "category", "text"},
    ColumnDType.float_t: {"integer", "float", "category", "text"},
    ColumnDType.category_t: {"integer", "float", "category", "text"},
    ColumnDType.datetime_t: {"datetime", "category", "text"},
}


@dataclass(frozen=True, slots=True)
class Inference:
    """The outcome for one table."""

    dtypes: dict[str, ColumnDType]
    """Dtype by column, in the order of the source."""
    left_out: dict[str, str]
    """Why, by column that got no dtype."""


def infer_dtypes(sample: pa.Table) -> Inference:
    """Apply the rules of this module to a sample whose types are plain (see `connectors.arrow`)."""
    dtypes: dict[str, ColumnDType] = {}
    left_out: dict[str, str] = {}
    for field, column in zip(sample.schema, sample.columns, strict=True):
        found = _infer_column(field.type, column)
        if isinstance(found, ColumnDType):
            dtypes[field.name] = found
        else:
            left_out[field.name] = found
    return Inference(dtypes, left_out)


def _infer_column(dtype: pa.DataType, column: pa.ChunkedArray) -> ColumnDType | str:
    """Return a dtype, or the reason why there is none."""
    choice = dtype_of_type(dtype)
    if choice is None:
        return f"type {dtype} has no dtype"
    if len(column) and column.null_count == len(column):
        return f"holds NULL only, in all {len(column)} sampled rows"
    if _is_string(dtype):
        return ColumnDType.text_t if _is_text(column) else ColumnDType.category_t
    if choice is ColumnDType.embedding_t and not pt.is_fixed_size_list(dtype):
        lengths = pc.unique(pc.list_value_length(column).drop_null()).to_pylist()
        if len(lengths) > 1:
            return f"lists of floats must have one length; found {sorted(lengths)[:5]}"
        if lengths == [0]:
            return "lists of floats are all empty"
    return choice


def dtype_of_type(dtype: pa.DataType) -> ColumnDType | None:
    """Return the dtype that an Arrow type alone stands for; strings give category here."""
    if pt.is_boolean(dtype) or _is_string(dtype):
        return ColumnDType.category_t
    if pt.is_integer(dtype) or (pt.is_decimal(dtype) and dtype.scale <= 0):
        return ColumnDType.integer_t
    if pt.is_floating(dtype) or pt.is_decimal(dtype):
        return ColumnDType.float_t
    if pt.is_date(dtype) or pt.is_timestamp(dtype):
        return ColumnDType.datetime_t
    if is_list(dtype):
        return _dtype_of_list(dtype)
    return None


def _dtype_of_list(dtype: pa.DataType) -> ColumnDType | None:
    values = dtype.value_type
    if pt.is_floating(values) or (pt.is_fixed_size_list(dtype) and pt.is_integer(values)):
        return ColumnDType.embedding_t
    if pt.is_integer(values) or pt.is_boolean(values) or _is_string(values):
        return ColumnDType.multi_category_t
    return None


def key_dtype(dtype: pa.DataType) -> ColumnDType | None:
    """Return the dtype a column of this type has as a key or link; None where it cannot be one."""
    if _is_string(dtype):
        return ColumnDType.text_t
    choice = dtype_of_type(dtype)
    return choice if choice in (ColumnDType.integer_t, ColumnDType.float_t) else None


def allowed_dtypes(dtype: pa.DataType) -> tuple[ColumnDType, ...]:
    """Return the dtypes that values of an Arrow type can be read as.

    Strings may be read as numbers or as ISO 8601 stamps, which fails later if one is not.
    """
    choice = dtype_of_type(dtype)
    if choice is None:
        return ()
    if _is_string(dtype):
        names = {"text", "category", "integer", "float", "datetime"}
    elif choice in _SCALARS:
        names = _SCALARS[choice]
    elif pt.is_integer(dtype.value_type):
        names = {"embedding", "multi_categorical"}
    else:
        names = {choice.value}
    return tuple(member for member in ColumnDType if member.value in names)


def is_json_lists(values: pa.ChunkedArray | pa.Array) -> bool:
    """Whether a column is text of which every value looks like a JSON list, as in CSV files."""
    if not _is_string(values.type) or values.null_count == len(values):
        return False
    return bool(pc.all(pc.and_(pc.starts_with(values, "["), pc.ends_with(values, "]"))).as_py())


def json_item_type(values: pa.ChunkedArray | pa.Array) -> pa.DataType:
    """Return the type of the items of JSON lists; that of `values` where they are none after all.

    Args:
        values: Text for which `is_json_lists` holds.
    """
    try:
        lists = pa.array([json.loads(text) for text in pc.unique(values.drop_null()).to_pylist()])
    except (ValueError, pa.ArrowException):
        return values.type
    return lists.type.value_type


def is_list(dtype: pa.DataType) -> bool:
    """Whether rows of this type are lists, of any or of one length."""
    return bool(pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype))


def _is_string(dtype: pa.DataType) -> bool:
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype))


def _is_text(column: pa.ChunkedArray) -> bool:
    num_values = len(column) - column.null_count
    if num_values == 0:
        return False
    num_distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if num_distinct <= FEW_VALUES:
        return False
    mean_length = pc.mean(pc.utf8_length(column)).as_py()
    is_varied = num_distinct / num_values > VARIED_SHARE
    return bool(mean_length > LONG_LENGTH or (is_varied and mean_length > WORDY_LENGTH))
