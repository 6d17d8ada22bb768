from __future__ import annotations

import subprocess
import sys

import pytest

from rle.connectors import registry
from rle.connectors.registry import AnyConnector, connector_class
from rle.errors import UnknownNameError, ValidationError
from rle.values import Value


class Holder(Value):
    connector: AnyConnector


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_each_built_in_connector_has_its_kind(kind: str) -> None:
    assert connector_class(kind).model_fields["kind"].default == kind


def test_the_nearest_kind_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'duckdb'"):
        connector_class("duckdbb")


def test_a_missing_driver_comes_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "mars", "rle_no_such_package:Connector")
    registry.known_connectors.cache_clear()
    try:
        with pytest.raises(ValidationError, match=r"pip install 'gnn-rle\[mars\]'"):
            connector_class("mars")
    finally:
        registry.known_connectors.cache_clear()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "connector must be a connector"),
        ({"database": "x"}, "needs its 'kind'"),
        ({"kind": "duckdb", "databse": "x"}, "Did you mean 'database'"),
    ],
)
def test_what_is_no_connector_is_told(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Holder(connector=value)


def test_a_connector_is_found_again_from_json() -> None:
    holder = Holder(connector={"kind": "local", "connector_type": "csv", "url": "/data"})
    assert Holder.from_json(holder.to_json()) == holder
    assert type(holder.connector) is connector_class("local")


def test_the_registry_loads_no_driver() -> None:
    script = (
        "import sys, rle.connectors.registry; assert not {'duckdb', 'pyarrow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
