"""Engine backends by name: a name and where its class lives, loaded only when it is used."""

from __future__ import annotations

import pkgutil

from rle.engines.base import EngineBackend
from rle.errors import UnknownNameError

BUILT_IN = {
    "local": "rle.engines.local:LocalBackend",
    "address": "rle.engines.address:AddressBackend",
}


def backend_of(name: str) -> EngineBackend:
    """Return the backend of this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in BUILT_IN:
        raise UnknownNameError("engine backend", name, BUILT_IN)
    backend = pkgutil.resolve_name(BUILT_IN[name])()
    if not isinstance(backend, EngineBackend):
        raise TypeError(f"{BUILT_IN[name]} is no EngineBackend")
    return backend
