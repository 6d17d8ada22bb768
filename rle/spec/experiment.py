"""Where a warehouse keeps experiments and models, for warehouses that do."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from rle.values import Value

Name = Annotated[str, Field(min_length=1)]


class ExperimentConfig(Value):
    """Database and schema for experiments and models."""

    # pydantic has a method called schema, so the field has another name inside.
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    database: Name
    """Name of the database."""
    schema_name: Annotated[Name, Field(alias="schema")]
    """Name of the schema in it. Given as `schema`."""
