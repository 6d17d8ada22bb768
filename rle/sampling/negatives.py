"""Targets that are not those of a source, drawn so that a few of them stand for all.

Shapes: S sources, k negatives per source, E events, T rows of the target table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from rle.errors import UnknownNameError, ValidationError
from rle.graph.store import NULL_TIME
from rle.graph.topology import group_by_parent
from rle.sampling.kernels import negatives as kernels
from rle.sampling.kernels.link_loading import load_links
from rle.sampling.kernels.loading import read_only
from rle.sampling.visible import count_before, count_visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Float32Array, Int32Array, Int64Array

    NegativeStrategy = Literal["random", "degree_based"]

EARLIEST = np.iinfo(np.int64).min


class NegativeSampler:
    """Draws negatives: targets that are visible at the source's time and not excluded.

    "random" draws uniformly, without replacement. "degree_based" draws each with a probability
    proportional to one more than the number of events that lead to it and are visible at that time,
    with replacement; the one lets targets that nobody has met yet be drawn, too. What is drawn for
    a source depends on (seed, epoch, its position) and on the graph. Safe to share by threads.

    Args:
        snapshot: The graph.
        source: Table of the sources.
        target: Table of the targets.
        strategy: "random" or "degree_based".
        paths: History paths; the first one says what an event is. Not needed for "random".
        inclusive: Whether a row at exactly the source's time is visible.
        seed: Of the draws.

    Raises:
        UnknownNameError: The graph has no such table, or there is no such strategy.
        ValidationError: Negatives by degree are wanted, but no path leads from source to target.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        source: str,
        target: str,
        strategy: NegativeStrategy,
        paths: Sequence[tuple[int, ...]],
        inclusive: bool,
        seed: int,
    ) -> None:
        for table in (source, target):
            if table not in snapshot.tables:
                raise UnknownNameError("table", table, snapshot.tables)
        if strategy not in ("random", "degree_based"):
            raise UnknownNameError("negative strategy", strategy, ("random", "degree_based"))
        self._by_degree = strategy == "degree_based"
        if self._by_degree and not paths:
            raise ValidationError(
                f"Negatives by degree need events that lead from {source!r} to {target!r}, but no "
                "links do. Draw them at random: negative_sampling_strategy='random'."
            )
        load_links()
        self._store = snapshot.tables[target]
        self._inclusive, self._seed = inclusive, seed & 0x7FFFFFFFFFFFFFFF
        destinations, self._times = np.empty(0, np.int32), np.empty(0, np.int64)
        if self._by_degree:
            destinations, self._times = path_events(snapshot, paths[0], source=source)
        offsets, lists = group_by_parent(destinations, self._store.num_rows)
        self._events = tuple(read_only(array) for array in (destinations, offsets, lists))

    def draw(
        self,
        times: Int64Array,
        positions: Int64Array,
        *,
        epoch: int,
        num: int,
        excluded_offset: Int64Array,
        excluded: Int32Array,
    ) -> tuple[Int32Array, Float32Array]:
        """Draw up to `num` negatives per source. Releases the GIL.

        Args:
            times: int64 [S], nanoseconds since 1970 UTC, below `NULL_TIME`.
            positions: int64 [S], the sources' positions in their split, part of the randomness.
            epoch: Part of the randomness.
            num: k.
            excluded_offset: int64 [S + 1], where each source's excluded targets begin.
            excluded: int32, rows of the target table, ascending and distinct within a source.

        Returns:
            int32 [S, k], rows of the target table, and float32 [S, k], logarithms of weights: the
            sum over the draws of weight * f(target) is an unbiased estimate of the sum of f over
            all targets that could be drawn. Where these are no more than k they all come, with
            weight 1, and -1 fills the rest.

        Raises:
            ValidationError: Fewer than one negative is wanted.
        """
        if num < 1:
            raise ValidationError(f"There must be 1 or more negatives per source, not {num}.")
        destinations, offsets, lists = self._events
        out = np.empty((times.size, num), np.int32)
        log_weight = np.empty((times.size, num), np.float32)
        num_visible = count_visible(self._store, times, inclusive=self._inclusive)
        num_events = count_before(self._times, times, inclusive=self._inclusive)
        kernels.draw_negatives(
            read_only(np.ascontiguousarray(positions, np.int64)),
            read_only(num_visible),
            read_only(num_events),
            read_only(np.ascontiguousarray(excluded_offset, np.int64)),
            read_only(np.ascontiguousarray(excluded, np.int32)),
            destinations,
            offsets,
            lists,
            self._seed,
            epoch,
            int(self._by_degree),
            out,
            log_weight,
        )
        return out, log_weight


def path_events(
    snapshot: Snapshot, path: Sequence[int], *, source: str
) -> tuple[Int32Array, Int64Array]:
    """Return where every event of a path leads, and when; see `meetings`."""
    _, destinations, times = meetings(snapshot, path, source=source)
    return destinations, times


def meetings(
    snapshot: Snapshot, path: Sequence[int], *, source: str
) -> tuple[Int32Array, Int32Array, Int64Array]:
    """Return every event of a path, in the order in which they become visible.

    An event is visible when every row on its way is, the target too, but for the source's own.
    Along a path of foreign keys alone each source is one event, visible when the source is.

    Returns:
        int32 [E] rows of the source table, int32 [E] rows of the target table and int64 [E] times,
        ascending; the earliest time of all where no table on the way has one. What is never
        visible is left out.
    """
    schema, topology, tables = snapshot.schema, snapshot.topology, snapshot.tables
    rows = sources = np.arange(tables[source].num_rows, dtype=np.int32)
    times = np.full(rows.size, EARLIEST, np.int64)
    own_times = tables[source].times
    if own_times is not None and not schema.relations[path[0]].many:
        times = np.asarray(own_times)
    for i in path:
        part, store = topology.relations[i], tables[schema.relations[i].target]
        if part.many:
            at = part.offset_start + rows.astype(np.int64)
            first = topology.offsets[at].astype(np.int64)
            lengths = topology.offsets[at + 1] - first
            # Position of every child: where its list begins, less where it begins here.
            shift = np.repeat(part.link_start + first - np.cumsum(lengths) + lengths, lengths)
            rows = topology.links[np.arange(shift.size) + shift]
            sources, times = np.repeat(sources, lengths), np.repeat(times, lengths)
        else:
            rows = topology.parents(i, rows)
            kept = rows >= 0
            sources, rows, times = sources[kept], rows[kept], times[kept]
        if store.times is not None:
            times = np.maximum(times, store.times[rows])
    order = np.argsort(times, kind="stable")
    order = order[: np.searchsorted(times[order], NULL_TIME)]
    return sources[order], rows[order].astype(np.int32), times[order]
