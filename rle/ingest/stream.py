"""All chunks of all tables through one Ray Data pipeline, or in this process without Ray."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from rle.connectors.base import Chunk
from rle.errors import InternalError, RLEError
from rle.ingest.staging import PartInfo, Staging, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Progress = Callable[[int, int], None]

Work = tuple[int, Chunk]
"""Index of the table in `Staging.plans`, and one of its chunks."""


def list_work(staging: Staging) -> list[Work]:
    """Return the chunks of all tables. Reads metadata only."""
    return [
        (i, chunk)
        for i, plan in enumerate(staging.plans)
        for chunk in staging.connector.chunks(
            plan.source, columns=plan.columns, max_rows=plan.chunk_rows
        )
    ]


def stage_all(
    staging: Staging, work: Sequence[Work], *, num_workers: int, on_progress: Progress
) -> list[PartInfo]:
    """Stage every chunk and return what was found, ordered by table and chunk.

    Args:
        staging: Shared by all chunks.
        work: What to stage, in any order: the parts do not depend on it.
        num_workers: 0 stages in this process; otherwise Ray spreads the chunks over its CPUs.
        on_progress: Called with chunks done and chunks in all.

    Raises:
        RLEError: What one of the chunks raised.
    """
    run = _inline if num_workers == 0 else _with_ray
    found: list[PartInfo] = []
    for info in run(staging, work):
        found.append(info)
        on_progress(len(found), len(work))
    return sorted(found, key=lambda info: (info.table, info.chunk))


def _inline(staging: Staging, work: Sequence[Work]) -> Iterator[PartInfo]:
    for table, chunk in work:
        yield stage(staging, table, chunk)


def _with_ray(staging: Staging, work: Sequence[Work]) -> Iterator[PartInfo]:
    import ray.data

    context = ray.data.DataContext.get_current()
    shown = context.enable_progress_bars
    context.enable_progress_bars = False
    items = [{"table": table, "chunk": chunk.to_json()} for table, chunk in work]

    def run(item: dict[str, Any]) -> dict[str, Any]:
        return _stage_item(staging, item)

    try:
        # One pipeline for all tables: each costs seconds however little it does. One block per
        # chunk, so that a lost worker costs the chunks it held and no others.
        done = ray.data.from_items(items, override_num_blocks=len(items)).map(run)
        for row in done.iter_rows():
            if row["error"]:
                raise _unpacked(row["error"])
            yield PartInfo.from_json(row["info"])
    finally:
        context.enable_progress_bars = shown


def _stage_item(staging: Staging, item: dict[str, Any]) -> dict[str, Any]:
    try:
        info = stage(staging, item["table"], Chunk.from_json(item["chunk"]))
    except RLEError as error:
        # As a value: Ray would wrap a raised error, and the user would read Ray's frames.
        return {"info": "", "error": pickle.dumps(error)}
    return {"info": info.to_json(), "error": b""}


def _unpacked(error: bytes) -> RLEError:
    found = pickle.loads(error)  # noqa: S301  written by our own worker a moment ago
    return found if isinstance(found, RLEError) else InternalError(repr(found))
