"""A trainer's config from a file and from settings such as "lr=0.01"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rle.errors import ValidationError
from rle.sdk.mapping_file import read_mapping
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
        settings: "name=value" each, with the value as YAML writes it. They win over the file, and
            of two of the same name the last wins.
        connector: Taken where the file names none: the dataset's.

    Raises:
        ValidationError: There is no such file, it is no mapping, a field is not known
            (UnknownNameError names the nearest) or does not have its type, a setting has no "=".
    """
    fields = {} if path is None else read_mapping(Path(path), what="a config")
    fields |= dict(map(_parsed, settings))
    try:
        return TrainerConfig(**{"connector": connector} | {str(k): v for k, v in fields.items()})
    except ValidationError as error:
        if path is None:
            raise
        raise ValidationError(f"{path} and the settings beside it: {error}") from None


def _parsed(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name.strip():
        raise ValidationError(f"A setting is name=value, such as lr=0.01, not {setting!r}.")
    return name.strip(), _value(text.strip(), name=name)


def _value(text: str, *, name: str) -> Any:
    """Return a number where Python reads one: YAML takes 1e-3 for text and 010 for eight."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        raise ValidationError(
            f"Setting {name!r} has the value {text!r:.100}, which YAML cannot read."
        ) from None
