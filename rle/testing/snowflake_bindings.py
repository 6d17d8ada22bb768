"""Values that a driver binds on the server's side (`?`), as Python values.

fakesnow's own reading stumbles over NULL and reads REAL as text.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

_EPOCH = dt.datetime(1970, 1, 1)


def bound_values(bindings: dict[str, Any] | None) -> tuple[list[Any], list[list[Any]] | None]:
    """Return values in order, or rows of them where several rows were bound at once."""
    if not bindings:
        return [], None
    ordered = [bindings[key] for key in sorted(bindings, key=int)]
    if any(isinstance(each["value"], list) for each in ordered):
        columns = [[_value(each["type"], value) for value in each["value"]] for each in ordered]
        return [], [list(row) for row in zip(*columns, strict=True)]
    return [_value(each["type"], each["value"]) for each in ordered], None


def _value(kind: str, text: Any) -> Any:
    if text is None:
        return None
    text = str(text)
    kind = kind.upper()
    if kind == "FIXED":
        return int(text) if "." not in text else Decimal(text)
    if kind == "REAL":
        return float(text)
    if kind == "BOOLEAN":
        return text.lower() in ("true", "1")
    if kind == "BINARY":
        return bytes.fromhex(text)
    if kind == "DATE":
        return (_EPOCH + dt.timedelta(milliseconds=int(text))).date()
    if kind == "TIME":
        return (_EPOCH + dt.timedelta(microseconds=int(text) // 1000)).time()
    if kind.startswith("TIMESTAMP"):
        moment = _EPOCH + dt.timedelta(microseconds=int(text.split()[0]) // 1000)
        return moment if kind == "TIMESTAMP_NTZ" else moment.replace(tzinfo=dt.UTC)
    return text
