"""What a run ran on: kept with it, so that its figures can be compared later."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("gnn-rle", "torch", "ray", "numpy", "numba", "pyarrow", "duckdb", "mlflow")


def describe_machine() -> dict[str, str | int | dict[str, str]]:
    """Return processor, cores, memory, system, Python and versions. Nothing that is a secret."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
