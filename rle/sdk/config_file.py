"""A trainer's config from a file and from settings such as "lr=0.01"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.sdk.mapping_file import read_mapping
from rle.sdk.settings import parse_settings
from rle.spec.config import TrainerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rle.connectors.base import Connector


def read_config(
    path: str | Path | None = None, *, settings: Iterable[str] = (), connector: Connector
) -> TrainerConfig:
    """Return the config that a file and settings make together.

    Args:
        path: A YAML or JSON file with fields of TrainerConfig; None: settings alone.
        settings: As `parse_settings` takes them; they win over the file.
        connector: Taken where the file names none: the dataset's.

    Raises:
        ValidationError: There is no such file, it is no mapping, a field is not known
            (UnknownNameError names the nearest) or does not have its type, a setting has no "=".
    """
    fields = {} if path is None else read_mapping(Path(path), what="a config")
    fields |= parse_settings(settings)
    try:
        return TrainerConfig(**{"connector": connector} | {str(k): v for k, v in fields.items()})
    except ValidationError as error:
        if path is None:
            raise
        raise ValidationError(f"{path} and the settings beside it: {error}") from None
