"""The two real databases, built once, and a way to plant something into a copy."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest

from examples.datasets import lahman, nycflights
from rle import DuckDBConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = {"lahman": lahman, "nycflights": nycflights}


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where graphs are kept for all audits, since none changes them."""
    return tmp_path_factory.mktemp("audit_home")


@pytest.fixture(autouse=True)
def _graphs_are_shared(_home: None, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLE_HOME", str(shared_home))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the database of a name, built at its first use; read-only."""
    folder = tmp_path_factory.mktemp("audit_databases")
    return lambda name: MODULES[name].build(folder / f"{name}.duckdb")


@pytest.fixture
def plant(built: Callable[[str], Path], tmp_path: Path) -> Callable[..., DuckDBConnector]:
    """Returns a connector to a copy of a database, after some SQL in it."""

    def copy(name: str, *statements: str) -> DuckDBConnector:
        path = tmp_path / f"{name}.duckdb"
        shutil.copyfile(built(name), path)
        with duckdb.connect(str(path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for statement in statements:
                connection.execute(statement)
        return DuckDBConnector(database=str(path))

    return copy
