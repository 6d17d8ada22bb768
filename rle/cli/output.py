"""Where predictions go, as the command line says it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import ValidationError

if TYPE_CHECKING:
    from rle.spec.output import OutputConfig


def output_config(output: str | None, output_dir: Path | None, extension: str) -> OutputConfig:
    """Return the place that --output or --output-dir names.

    Args:
        output: "DB.SCHEMA", as SQL has it: a part in double quotes is taken as it is.
        output_dir: A folder.
        extension: Of the files in it.

    Raises:
        ValidationError: Neither or both are given, or one is not of its form.
    """
    from rle.connectors.names import split_schema
    from rle.spec.output import OutputConfig

    if (output is None) == (output_dir is None):
        raise ValidationError("Where to? Give --output DB.SCHEMA or --output-dir DIR, one of them.")
    if output_dir is not None:
        return OutputConfig(place="local", artifacts_dir=str(output_dir), extension=extension)
    try:
        database, schema = split_schema(output or "")
    except ValidationError:
        raise ValidationError(
            f"--output is DB.SCHEMA, such as SHOP.MAIN, not {output!r}. A part with dots in it, or "
            'in small letters in Snowflake, goes in double quotes: DB."odd.name".'
        ) from None
    return OutputConfig.warehouse(database_name=database, schema_name=schema)


def no_output(**given: object) -> None:
    """Refuse options that say how to predict where nothing is predicted.

    Args:
        given: Each option's value by its name; false where it was not given.

    Raises:
        ValidationError: One was given.
    """
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise ValidationError(
            f"{' and '.join(named)} need --predict ALIAS: else only a model comes."
        )
