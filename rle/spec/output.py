"""Where predictions and embeddings are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from rle.connectors.base import CanWrite
from rle.connectors.names import quote
from rle.connectors.registry import connector_class
from rle.errors import ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from rle.connectors.base import Connector

Extension = Literal["parquet", "csv", "pkl"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_QUOTED = re.compile(r'"(?:[^"]|"")+"')
"""As SQL has a name that is taken as it is."""


class OutputConfig(Value):
    """A place for output tables: a warehouse's schema, or a folder of files.

    Build one with `OutputConfig.snowflake`, `OutputConfig.warehouse` or `OutputConfig.local`.
    """

    place: Literal["snowflake", "warehouse", "local"]
    """Which of the three constructors made it."""
    database_name: str | None = None
    """Database of the output tables; for DuckDB the file's stem."""
    schema_name: str | None = None
    """Schema of the output tables; it must exist. Written as in SQL: a name in double quotes,
    '"scores"', is taken as it is, which one in small letters needs in Snowflake. Other characters
    than letters, digits and underscores need no quotes. The database's name likewise.
    """
    artifacts_dir: str | None = None
    """Folder of the output files; made where it is missing."""
    extension: Extension = "parquet"
    """Format of the output files."""

    @classmethod
    def snowflake(cls, *, database_name: str, schema_name: str) -> OutputConfig:
        """Write tables to a schema of the Snowflake account that the connector reads from."""
        return cls(place="snowflake", database_name=database_name, schema_name=schema_name)

    @classmethod
    def warehouse(cls, *, database_name: str, schema_name: str) -> OutputConfig:
        """Write tables to a schema of the warehouse that the connector reads from."""
        return cls(place="warehouse", database_name=database_name, schema_name=schema_name)

    @classmethod
    def local(cls, *, artifacts_dir: str | Path, extension: Extension = "parquet") -> OutputConfig:
        """Write files to a folder, one per table."""
        return cls(place="local", artifacts_dir=str(artifacts_dir), extension=extension)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.place == "local":
            if not self.artifacts_dir:
                raise ValidationError("OutputConfig.local needs artifacts_dir, a folder.")
        elif not self.database_name or not self.schema_name:
            raise ValidationError(
                f"OutputConfig.{self.place} needs database_name and schema_name; "
                "neither may be empty."
            )
        return self

    def table(self, name: str) -> str:
        """Return the full name of an output table: DB.SCHEMA.NAME, or the path of its file."""
        if self.artifacts_dir is not None:
            return str(Path(self.artifacts_dir) / f"{name}.{self.extension}")
        return f"{self.full_schema}.{_part(name)}"

    @property
    def full_schema(self) -> str:
        """Name of the schema, DB.SCHEMA, with double quotes where a part needs them.

        Raises:
            ValidationError: Files are written, and a folder has no schema.
        """
        if self.database_name is None or self.schema_name is None:
            raise ValidationError("OutputConfig.local writes files: there is no schema.")
        return f"{_part(self.database_name)}.{_part(self.schema_name)}"

    def writer(self, connector: Connector) -> CanWrite:
        """Return what writes there: `connector` itself, or a local one for files.

        Raises:
            ValidationError: The connector reads only, or belongs to another kind of place.
        """
        if self.artifacts_dir is not None:
            kind = "csv" if self.extension == "csv" else "parquet"
            place = {"connector_type": kind, "url": self.artifacts_dir}
            writer = connector_class("local")(**place)
        elif self.place == "snowflake" and connector.kind != "snowflake":
            raise ValidationError(
                f"OutputConfig.snowflake needs a Snowflake connector, not {connector.kind!r}. "
                "Use OutputConfig.warehouse or OutputConfig.local."
            )
        else:
            writer = connector
        if not isinstance(writer, CanWrite):
            raise ValidationError(
                f"Connector {connector.kind!r} cannot write tables. Use OutputConfig.local."
            )
        return writer


def _part(name: str) -> str:
    """Return a part of a name as SQL takes it: plain, or in double quotes; as it is if it has."""
    if _PLAIN.fullmatch(name) or _QUOTED.fullmatch(name):
        return name
    return quote(name)
