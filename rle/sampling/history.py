"""What a source has met before: the targets that its own visible events lead to, exactly.

A history path goes down from the source table along many-relations and then up along foreign keys
to the target table: customers <- orders <- items -> products. Nothing is drawn: every visible
event of a path counts, up to a limit of the newest ones.

Shapes: S sources, P pairs, K paths, W windows.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import UnknownNameError, ValidationError
from rle.sampling.kernels import history as kernels
from rle.sampling.kernels.link_loading import load_links
from rle.sampling.kernels.loading import read_only
from rle.sampling.link_batch import History
from rle.sampling.walk import index_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rle.graph.schema import GraphSchema, Relation
    from rle.graph.snapshot import Snapshot
    from rle.sampling.batch import Float32Array, Int32Array, Int64Array

    Path = tuple[int, ...]


def history_paths(
    schema: GraphSchema, *, source: str, target: str, max_hops: int = 4, max_paths: int = 8
) -> tuple[tuple[int, ...], ...]:
    """Return the ways from a source to targets it has met, shortest first, then in schema order.

    A path never comes to a table twice, source and target included (they may be the same table),
    and never follows a link back that it has just come by. Inherited relations are no steps: the
    table that they skip is one.

    Args:
        schema: Of the graph.
        source: Table of the sources.
        target: Table of the targets.
        max_hops: Relations of a path at most.
        max_paths: Paths at most.

    Returns:
        Per path its relations, positions in `schema.relations`: first those from a row to its many,
        then those from a row to its parent; either part may be empty.
    """
    for table in (source, target):
        schema.table(table)
    found: list[Path] = []
    open_paths: list[Path] = [()]
    for _ in range(max_hops):
        longer = [
            (*path, i) for path in open_paths for i in _next_steps(schema, path, source, target)
        ]
        found += [path for path in longer if schema.relations[path[-1]].target == target]
        open_paths = [path for path in longer if schema.relations[path[-1]].target != target]
    return tuple(found[:max_paths])


def _next_steps(schema: GraphSchema, path: Path, source: str, target: str) -> Iterator[int]:
    relations = schema.relations
    last = relations[path[-1]] if path else None
    seen = {source} | {relations[i].target for i in path}
    for i, relation in enumerate(relations):
        if relation.source != (last.target if last else source) or is_inherited(relation):
            continue
        if relation.target in seen and relation.target != target:
            continue
        # Down after up would meet what others have met; an edge is both in one.
        has_gone_up = last is not None and (not last.many or is_edge(last))
        turns_back = last is not None and relation.link == last.link
        if not (relation.many and has_gone_up) and not turns_back:
            yield i


def is_inherited(relation: Relation) -> bool:
    """Whether a relation skips the table it came by; see `rle.graph.inherit`."""
    return ">" in relation.link


def is_edge(relation: Relation) -> bool:
    """Whether a relation stands for an edge table, whose rows are no nodes."""
    return relation.many and relation.link.partition(".")[0] != relation.target


class HistoryReader:
    """Reads the history of sources. Exact, deterministic, safe to share by threads.

    Every row of a path that has a time must be visible at the source's time, the target too. The
    moment of an event is the time of the last row on its way down that has one; an edge table's
    rows have none. Along each path at most `limit` of the newest rows are followed per hop, so
    that counts are exact up to there.

    Args:
        snapshot: The graph; kept open as long as the reader lives.
        source: Table of the sources.
        target: Table of the targets.
        paths: From `history_paths`; none make an empty history.
        inclusive: Whether a row at exactly the source's time is visible.
        windows: Nanoseconds, ascending; see `History.recent`.
        limit: Events followed per source and path.
        time_window: Nanoseconds before the source's time; events that are older are not visible,
            as in `NeighborSampler`. Targets never are too old. None: no limit.

    Raises:
        UnknownNameError: The graph has no such table.
        ValidationError: A path does not lead from source to target, windows are not positive and
            ascending, or the limit or the time window is below 1.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        source: str,
        target: str,
        paths: Sequence[Path],
        inclusive: bool,
        windows: Sequence[int] = (),
        limit: int = 1024,
        time_window: int | None = None,
    ) -> None:
        for table in (source, target):
            if table not in snapshot.tables:
                raise UnknownNameError("table", table, snapshot.tables)
        if any(a >= b for a, b in itertools.pairwise((0, *windows))):
            raise ValidationError(f"Windows must be positive and ascending, not {list(windows)}.")
        if limit < 1:
            raise ValidationError(f"At least one event must be followed, not {limit}.")
        if time_window is not None and time_window < 1:
            raise ValidationError(f"A time window must be positive, not {time_window} ns.")
        for path in paths:
            _check_path(snapshot.schema, path, source, target)
        load_links()
        self._snapshot = snapshot  # the kernel holds addresses of its arrays
        self._num_rows = snapshot.tables[source].num_rows
        self._num_paths, self._num_windows = len(paths), len(windows)
        hops, parts = _plan(snapshot, paths)
        tables = [snapshot.tables[layout.name] for layout in snapshot.schema.tables]
        clocks, buckets = index_times(tables)
        self._graph = tuple(
            read_only(array)
            for array in (
                snapshot.topology.links,
                snapshot.topology.offsets,
                hops,
                parts,
                clocks,
                buckets,
                np.array(windows, np.int64),
            )
        )
        self._options = (int(inclusive), limit, time_window or 0)

    def read(self, rows: Int32Array, times: Int64Array) -> History:
        """Return the pairs of each source. Releases the GIL.

        Args:
            rows: int32 [S], rows of the source table.
            times: int64 [S], nanoseconds since 1970 UTC, below `NULL_TIME`.

        Raises:
            ValidationError: A row is not in the source table, or the lengths differ.
        """
        rows = np.ascontiguousarray(rows, np.int32)
        times = np.ascontiguousarray(times, np.int64)
        if rows.shape != times.shape:
            raise ValidationError(f"rows {rows.shape} and times {times.shape} differ in length.")
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self._num_rows:
            raise ValidationError(
                f"A source row is outside 0..{self._num_rows - 1}, the rows of the source table."
            )
        links, offsets, hops, parts, clocks, buckets, windows = self._graph
        inclusive, limit, time_window = self._options
        offset, numbers, ages = kernels.read_history(
            read_only(rows), read_only(times), links, offsets, hops, parts, clocks, buckets,
            windows, inclusive, limit, time_window,
        )  # fmt: skip
        return self._history(offset, numbers, ages)

    def _history(self, offset: Int32Array, numbers: Int32Array, ages: Float32Array) -> History:
        pairs, paths, windows = int(offset[-1]), self._num_paths, self._num_windows
        numbers, ages = numbers[:pairs], ages[:pairs]
        # Columns: target, then per path count, event and the windows; newest, previous, oldest.
        facts = numbers[:, 1:].reshape(pairs, paths, 2 + windows)
        moments = ages.reshape(pairs, paths, 3)
        return History(
            offset=offset,
            targets=numbers[:, 0].copy(),
            count=facts[:, :, 0].copy(),
            event=facts[:, :, 1].copy(),
            recent=facts[:, :, 2:].copy(),
            newest=moments[:, :, 0].copy(),
            previous=moments[:, :, 1].copy(),
            oldest=moments[:, :, 2].copy(),
        )


def _check_path(schema: GraphSchema, path: Path, source: str, target: str) -> None:
    relations = [schema.relations[i] for i in path]
    ends = [source, *(relation.target for relation in relations)]
    is_joined = ends[:-1] == [relation.source for relation in relations] and ends[-1] == target
    goes_down = [relation.many for relation in relations]
    if not path or not is_joined or goes_down != sorted(goes_down, reverse=True):
        raise ValidationError(
            f"{[relation.name for relation in relations]} is no history path from {source!r} to "
            f"{target!r}: relations to many rows first, then relations to a parent."
        )


def _plan(snapshot: Snapshot, paths: Sequence[Path]) -> tuple[Int64Array, Int64Array]:
    """Return the hops of all paths after each other, and per path where they begin and its clock.

    Returns:
        int64 [H, 5] and int64 [K + 1, 2]; see the columns in `rle.sampling.kernels.history`.
    """
    schema, topology = snapshot.schema, snapshot.topology
    table = {layout.name: i for i, layout in enumerate(schema.tables)}
    hops: list[list[int]] = []
    parts: list[list[int]] = []
    for path in paths:
        parts.append([len(hops), -1])
        for i in path:
            relation, part = schema.relations[i], topology.relations[i]
            is_clock = (
                part.many and not is_edge(relation) and schema.table(relation.target).has_time
            )
            if is_clock:
                parts[-1][1] = table[relation.target]
            start = part.link_start + (0 if part.many else part.column)
            last = part.offset_start if part.many else part.stride
            hops.append([part.many, start, last, table[relation.target], is_clock])
    parts.append([len(hops), -1])
    return np.array(hops, np.int64).reshape(-1, 5), np.array(parts, np.int64)
