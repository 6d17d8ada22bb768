"""What is seen of many sources in one go: a sample of each and the keys that are declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from rle.connectors.keys import TableKeys
    from rle.errors import RLEError


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A source that could be read."""

    source: str
    sample: pa.Table
    """As `Connector.sample` returns it; its schema is the source's."""
    keys: TableKeys


@dataclass(frozen=True, slots=True)
class Closed:
    """A source that could not be read."""

    source: str
    error: RLEError
