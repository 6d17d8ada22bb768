"""Lists inside Snowflake's ARRAY and VARIANT columns, which arrive as JSON text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Sequence

SNIFFED_ROWS = 1000
"""Values that are looked at to see what the lists of a column hold."""

_UNDEFINED = re.compile(r'"(?:[^"\\]|\\.)*"|undefined')


def kind_of(values: Sequence[str | None]) -> pa.DataType:
    """Return the type of a column by its first values: a list of one kind, or text.

    Args:
        values: JSON text, or None.

    Returns:
        list<string> where all values are lists and all their elements strings; list<int64> where
        all are whole numbers, list<double> where all are numbers; string for anything else, also
        where there is no value.
    """
    given = [value for value in values if value is not None]
    try:
        lists = _load_all(given)
    except ValueError:
        return pa.string()
    if not lists or not all(isinstance(found, list) for found in lists):
        return pa.string()
    elements = {type(element) for found in lists for element in found if element is not None}
    if elements <= {str}:
        return pa.list_(pa.string())
    if elements <= {int}:
        return pa.list_(pa.int64())
    return pa.list_(pa.float64()) if elements <= {int, float} else pa.string()


def load_lists(values: Sequence[str | None], element: pa.DataType) -> list[list[Any] | None]:
    """Return the lists in JSON text.

    Args:
        values: JSON text, or None.
        element: Type of the elements. In lists of strings anything else is kept as its JSON.

    Raises:
        ValueError: A value is no list, or an element is none of that type.
    """
    found = iter(_load_all([value for value in values if value is not None]))
    lists = [None if value is None else next(found) for value in values]
    if any(not isinstance(each, list) for each in lists if each is not None):
        raise ValueError("not all values are lists")
    if not pt.is_string(element):
        return lists
    return [None if each is None else [_as_text(value) for value in each] for each in lists]


def dump(value: Any) -> str:
    """Return the JSON of a value that a driver has taken apart."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else dump(value)


def _load_all(values: Sequence[str]) -> list[Any]:
    # One call for all values: a call for each costs several times as much.
    text = "[" + ",".join(value or "null" for value in values) + "]"
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError:
        # An element that is SQL's NULL is written as a bare `undefined`, which is no JSON.
        loaded = json.loads(_UNDEFINED.sub(_null, text))
    if len(loaded) != len(values):
        raise ValueError("not all values are JSON")
    return list(loaded)


def _null(found: re.Match[str]) -> str:
    return "null" if found[0] == "undefined" else found[0]
