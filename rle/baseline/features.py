"""Seeds -> a table of plain numbers: automatic aggregates of the rows a sampler would show.

Everything is read from the visible prefix of a list, so what happens after a seed's time cannot
change its features.

Shapes: S seeds, F features, C number columns, J joins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.columns import TableReader
from rle.baseline.links import Links
from rle.baseline.parts import ListPart, PlacePart
from rle.baseline.seeds import Seeds
from rle.sampling.kernels.aggregates import load_aggregates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rle.baseline.plan import FeaturePlan, Place
    from rle.graph.snapshot import Snapshot

    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]

CHUNK_ROWS = 4096
"""Seeds that are worked on at once."""


class Features:
    """A plan bound to one snapshot. Safe to share by threads once built.

    Args:
        snapshot: The graph.
        plan: What is computed.

    Raises:
        DataError: The graph lacks a relation of the plan.
    """

    def __init__(self, snapshot: Snapshot, plan: FeaturePlan) -> None:
        load_aggregates()
        self._snapshot, self.plan = snapshot, plan
        self._links = Links(snapshot)
        self._readers = {
            columns.table: TableReader(
                columns, snapshot.schema.table(columns.table), snapshot.tables[columns.table]
            )
            for columns in plan.tables
        }
        self._parts: list[PlacePart | ListPart] = [
            PlacePart(number, place, self._readers[place.table])
            for number, place in enumerate(plan.places)
        ]
        self._parts += [
            ListPart(path, plan, self._links, self._readers, snapshot) for path in plan.lists
        ]
        named = [pair for part in self._parts for pair in part.names]
        kept = range(len(named)) if plan.kept is None else plan.kept
        self._kept = np.array(list(kept), np.int64)
        self.names: tuple[str, ...] = tuple(named[i][0] for i in kept)
        """Readable and distinct, in the order of the columns."""
        self.categories: tuple[int, ...] = tuple(
            position for position, i in enumerate(kept) if named[i][1]
        )
        """Positions of features that are ranks of categories."""

    def compute(self, rows: Int32Array, times: Int64Array) -> Float32Array:
        """Return the features of some seeds, float32 [S, F]; NaN where there is nothing to say.

        Args:
            rows: int32 [S], rows of the entity table, none of them -1.
            times: int64 [S], nanoseconds.
        """
        seeds = Seeds(
            self._snapshot,
            rows,
            times,
            inclusive=self.plan.inclusive,
            time_window=self.plan.time_window,
        )
        at = [self._place_rows(seeds, place) for place in self.plan.places]
        wanted = set(self._kept.tolist())
        out = np.empty((rows.size, self._kept.size), np.float32)
        first = column = 0
        for part in self._parts:
            places = range(first, first + len(part.names))
            first += len(part.names)
            chosen = [i - places.start for i in places if i in wanted]
            if chosen:
                found = part.compute(seeds, at[part.place])
                for i in chosen:
                    out[:, column] = found[i]
                    column += 1
        return out

    def chunks(self, rows: Int32Array, times: Int64Array) -> Iterator[tuple[int, Float32Array]]:
        """Yield (position of the first seed, features) for `CHUNK_ROWS` seeds at a time."""
        for first in range(0, rows.size, CHUNK_ROWS):
            part = slice(first, first + CHUNK_ROWS)
            yield first, self.compute(rows[part], times[part])

    def _place_rows(self, seeds: Seeds, place: Place) -> Int32Array:
        rows = seeds.rows
        for name in place.path:
            rows = self._links.follow(seeds, rows, name)
        return np.ascontiguousarray(rows, np.int32)
