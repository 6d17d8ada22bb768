"""From a connector's name to its class, importing its driver only when it is asked for."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from rle.connectors.base import Connector
from rle.errors import UnknownNameError, ValidationError

BUILT_IN = {
    "duckdb": "rle.connectors.duckdb:DuckDBConnector",
    "local": "rle.connectors.local:LocalConnector",
    "snowflake": "rle.connectors.snowflake.connector:SnowflakeConnector",
}
"""Name to import path. Others register an entry point in the group "rle.connectors"."""


@cache
def known_connectors() -> dict[str, str]:
    """Return name and import path of every connector that is installed."""
    found = {point.name: point.value for point in entry_points(group="rle.connectors")}
    return found | BUILT_IN


def connector_class(kind: str) -> type[Connector]:
    """Return the class behind `kind`.

    Raises:
        UnknownNameError: No connector has this name.
        ValidationError: Its driver is not installed; the message has the pip line.
    """
    known = known_connectors()
    if kind not in known:
        raise UnknownNameError("connector", kind, known)
    try:
        cls: type[Connector] = pkgutil.resolve_name(known[kind])
    except ModuleNotFoundError as error:
        raise ValidationError(
            f"Connector {kind!r} needs the package {error.name!r}. "
            f"Install it with: pip install 'gnn-rle[{kind}]'."
        ) from error
    return cls


def _resolve(value: Any) -> Any:
    if isinstance(value, Connector):
        return value
    if isinstance(value, dict):
        if not isinstance(value.get("kind"), str):
            raise ValidationError(
                f"A connector's JSON needs its 'kind', one of {sorted(known_connectors())}."
            )
        return connector_class(value["kind"])(**value)
    raise ValidationError(
        "connector must be a connector, such as DuckDBConnector(database='shop.duckdb'), "
        f"not {type(value).__name__}."
    )


AnyConnector = Annotated[
    SerializeAsAny[Connector],
    BeforeValidator(_resolve),
    WithJsonSchema({"type": "object", "properties": {"kind": {"type": "string"}}}),
]
"""Field type: any connector, told apart in JSON by its `kind`."""
