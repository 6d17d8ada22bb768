"""Snowflake's types: how a declaration reads, and how results announce it.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 16_777_216
MAX_BINARY = 8_388_608

_INTEGERS = {"INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT"}
_ALIASES = {
    **dict.fromkeys(("DECIMAL", "NUMERIC", "DEC", *_INTEGERS), "NUMBER"),
    **dict.fromkeys(("DOUBLE", "DOUBLE PRECISION", "REAL", "FLOAT4", "FLOAT8"), "FLOAT"),
    **dict.fromkeys(("STRING", "TEXT", "CHAR VARYING", "NVARCHAR"), "VARCHAR"),
    **dict.fromkeys(("DATETIME", "TIMESTAMP", "TIMESTAMPNTZ"), "TIMESTAMP_NTZ"),
    "TIMESTAMPLTZ": "TIMESTAMP_LTZ",
    "TIMESTAMPTZ": "TIMESTAMP_TZ",
    "VARBINARY": "BINARY",
    "BOOL": "BOOLEAN",
}
_WIRE = {"NUMBER": "fixed", "FLOAT": "real", "VARCHAR": "text"}
_GEO = ("GEOGRAPHY", "GEOMETRY")
JSON_TYPES = ("VARIANT", "OBJECT", "ARRAY", "GEOGRAPHY", "GEOMETRY", "VECTOR", "MAP")
"""Types that DuckDB keeps as JSON text here."""


@dataclass(frozen=True)
class SfType:
    """One of Snowflake's types with its numbers."""

    name: str
    precision: int = 0
    scale: int = 0
    length: int = 0
    """Characters of a VARCHAR, bytes of a BINARY, dimension of a VECTOR."""
    element: str = ""
    """INT or FLOAT: what a VECTOR holds."""

    def __str__(self) -> str:
        if self.name == "NUMBER":
            return f"NUMBER({self.precision},{self.scale})"
        if self.name in ("VARCHAR", "BINARY"):
            return f"{self.name}({self.length})"
        if self.name.startswith("TIME"):
            return f"{self.name}({self.scale})"
        if self.name == "VECTOR":
            return f"VECTOR({self.element}, {self.length})"
        return self.name

    def rowtype(self, name: str, *, is_nullable: bool = True) -> dict[str, Any]:
        """Return the entry of `rowtype` in a result's answer."""
        entry: dict[str, Any] = {
            "name": name,
            "database": "",
            "schema": "",
            "table": "",
            "nullable": is_nullable,
            "type": _WIRE.get(self.name, self.name.lower()),
            "byteLength": None,
            "length": None,
            "scale": None,
            "precision": None,
            "collation": None,
        }
        if self.name == "NUMBER":
            entry |= {"precision": self.precision, "scale": self.scale}
        elif self.name == "VARCHAR":
            entry |= {"length": self.length, "byteLength": min(4 * self.length, MAX_TEXT)}
        elif self.name == "BINARY":
            entry |= {"length": self.length, "byteLength": self.length}
        elif self.name.startswith("TIME"):
            entry |= {"precision": 0, "scale": self.scale}
        elif self.name in _GEO:
            entry |= {"type": "object", "extTypeName": self.name}
        elif self.name == "VECTOR":
            inside = SfType("FLOAT") if self.element == "FLOAT" else SfType("NUMBER", precision=38)
            part = inside.rowtype("", is_nullable=False)
            entry |= {"vectorDimension": self.length, "fields": [part]}
        return entry


def parse_type(text: str) -> SfType:
    """Read a declaration such as `NUMBER(10, 2)`; what is unknown is a VARIANT."""
    match = re.fullmatch(r"\s*([A-Za-z_][\w ]*?)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        return SfType("VARIANT")
    given, inside = match[1].upper(), match[2]
    numbers = [part.strip() for part in (inside or "").split(",") if part.strip()]
    name = _ALIASES.get(given, given)
    if name == "NUMBER":
        is_integer = given in _INTEGERS or not numbers
        precision = 38 if is_integer else int(numbers[0])
        scale = int(numbers[1]) if len(numbers) > 1 and not is_integer else 0
        return SfType("NUMBER", precision=precision, scale=scale)
    if given in ("CHAR", "CHARACTER", "NCHAR"):
        return SfType("VARCHAR", length=int(numbers[0]) if numbers else 1)
    if name == "VARCHAR":
        return SfType("VARCHAR", length=int(numbers[0]) if numbers else MAX_TEXT)
    if name == "BINARY":
        return SfType("BINARY", length=int(numbers[0]) if numbers else MAX_BINARY)
    if name.startswith("TIME"):
        return SfType(name, scale=int(numbers[0]) if numbers else 9)
    if name == "VECTOR":
        element = "FLOAT" if numbers[0].upper().startswith(("FLOAT", "DOUBLE")) else "INT"
        return SfType("VECTOR", length=int(numbers[1]), element=element)
    if name in ("FLOAT", "BOOLEAN", "DATE", *JSON_TYPES):
        return SfType(name)
    return SfType("VARIANT")


_FROM_DUCKDB = {
    "BOOLEAN": SfType("BOOLEAN"),
    "DATE": SfType("DATE"),
    "DOUBLE": SfType("FLOAT"),
    "FLOAT": SfType("FLOAT"),
    "VARCHAR": SfType("VARCHAR", length=MAX_TEXT),
    "BLOB": SfType("BINARY", length=MAX_BINARY),
    "JSON": SfType("VARIANT"),
    "TIMESTAMP WITH TIME ZONE": SfType("TIMESTAMP_LTZ", scale=9),
    '"NULL"': SfType("VARCHAR", length=MAX_TEXT),
}


def from_duckdb(text: str) -> SfType:
    """Return the type for a column whose declaration nobody knows, by DuckDB's own type."""
    if text in _FROM_DUCKDB:
        return _FROM_DUCKDB[text]
    if match := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", text):
        return SfType("NUMBER", precision=int(match[1]), scale=int(match[2]))
    if text.startswith("TIMESTAMP"):
        return SfType("TIMESTAMP_NTZ", scale=9)
    if text.startswith("TIME"):
        return SfType("TIME", scale=9)
    if match := re.fullmatch(r"(FLOAT|DOUBLE|INTEGER)\[(\d+)\]", text):
        element = "INT" if match[1] == "INTEGER" else "FLOAT"
        return SfType("VECTOR", length=int(match[2]), element=element)
    if text.endswith("]"):
        return SfType("ARRAY")
    if text.startswith(("STRUCT", "MAP")):
        return SfType("OBJECT")
    if text == "BIGINT":
        return SfType("NUMBER", precision=18)
    return SfType("NUMBER", precision=38)
