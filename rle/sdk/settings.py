"""Settings as they are typed: "lr=0.01"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from rle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Return the values of settings by name; of two of the same name the last.

    Args:
        settings: "name=value" each, with the value as Python writes a number or as YAML writes
            anything else.

    Raises:
        ValidationError: One has no name or no "=", or a value that YAML cannot read.
    """
    return dict(map(_parsed, settings))


def _parsed(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name.strip():
        raise ValidationError(f"A setting is name=value, such as lr=0.01, not {setting!r}.")
    return name.strip(), _value(text.strip(), name=name)


def _value(text: str, *, name: str) -> Any:
    # YAML alone takes 1e-3 for text and 010 for eight.
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
