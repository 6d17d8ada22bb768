"""A YAML or JSON file that holds one mapping, such as a dataset or a config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from rle.errors import ValidationError

if TYPE_CHECKING:
    from pathlib import Path


def read_mapping(path: Path, *, what: str) -> dict[str, Any]:
    """Return the mapping in a file: JSON where its name ends in .json, else YAML.

    Args:
        path: Of the file.
        what: What it should hold, for messages: "a dataset".

    Raises:
        ValidationError: There is no such file, it cannot be read, or it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise ValidationError(f"There is no file {path}.") from None
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ValidationError(f"{path} is neither YAML nor JSON: it is no text.") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValidationError(f"{path} is neither YAML nor JSON: {reason}") from None
    if not isinstance(content, dict):
        raise ValidationError(f"{path} does not hold {what}, but {type(content).__name__}.")
    return content
