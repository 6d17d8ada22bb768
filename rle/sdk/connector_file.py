"""A connector from a file: its own, or one that holds it, such as a dataset or a config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.connectors.registry import AnyConnector
from rle.errors import ValidationError
from rle.sdk.mapping_file import read_mapping
from rle.values import Value

if TYPE_CHECKING:
    from rle.connectors.base import Connector


class _Holder(Value):
    connector: AnyConnector


def read_connector(path: str | Path) -> Connector:
    """Return the connector that a YAML or JSON file holds.

    Args:
        path: Holds a connector's fields, such as `kind: duckdb` and `database: shop.duckdb`, or
            has them under `connector`, as dataset files do.

    Raises:
        ValidationError: There is no such file, or it holds no connector.
    """
    content = read_mapping(Path(path), what="a connector")
    try:
        return _Holder(connector=content.get("connector", content)).connector
    except ValidationError as error:
        raise ValidationError(f"{path} does not hold a valid connector: {error}") from None
