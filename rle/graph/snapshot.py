"""A snapshot: the graph of one dataset as files that any process maps into memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rle.graph.report import BuildReport
    from rle.graph.schema import GraphSchema
    from rle.graph.store import TableStore
    from rle.graph.topology import Topology
    from rle.ingest.stats import DatasetStats


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The tables and links of one dataset. Cheap to open; nothing is copied per process."""

    path: Path | None
    """Its folder; None for a snapshot that lives in memory only."""
    fingerprint: str
    schema: GraphSchema
    report: BuildReport
    tables: Mapping[str, TableStore]
    topology: Topology

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Map the snapshot in folder `path`.

        Raises:
            DataError: The folder is not a complete snapshot of this version's format.
        """
        from rle.graph.storage import open_snapshot

        return open_snapshot(path)

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        # A worker maps the files itself: only the path travels.
        if self.path is not None:
            return Snapshot.open, (self.path,)
        return Snapshot, tuple(getattr(self, f.name) for f in fields(self))

    def stats(self, *, until: int | None) -> DatasetStats:
        """Return statistics over the rows whose time is at most `until` (ns; None: all rows).

        Computed once per bound and kept beside the snapshot. Rows of tables without a time count.
        """
        from rle.graph.statistics import snapshot_stats

        return snapshot_stats(self, until=until)
