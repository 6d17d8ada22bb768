"""All chunks of all tables through one Ray Data pipeline, or in this process without Ray."""

from __future__ import annotations

import logging
import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rle.connectors.base import Chunk
from rle.errors import InternalError, RLEError
from rle.ingest.idle import reading
from rle.ingest.staging import PartInfo, Staging, stage
from rle.runs.clean_stream import clean_output

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
    for done, infos in enumerate(run(staging, work), 1):
        found += infos
        on_progress(done, len(work))
    # Sorting a large table comes next; what Arrow holds back from reading would only be in its way.
    pa.default_memory_pool().release_unused()
    return sorted(found, key=lambda info: (info.table, info.chunk, info.piece))


def _inline(staging: Staging, work: Sequence[Work]) -> Iterator[list[PartInfo]]:
    for table, chunk in work:
        yield stage(staging, table, chunk)


def _with_ray(staging: Staging, work: Sequence[Work]) -> Iterator[list[PartInfo]]:
    import ray.data

    items = [{"table": table, "chunk": chunk.to_json()} for table, chunk in work]

    def run(item: dict[str, Any]) -> dict[str, Any]:
        clean_output()  # of a Ray worker, which keeps what a warehouse's driver says in its log
        with reading(staging.connector):
            return _stage_item(staging, item)

    with _quiet():
        # One pipeline for all tables: each costs seconds however little it does. One block per
        # chunk, so that a lost worker costs the chunks it held and no others.
        done = ray.data.from_items(items, override_num_blocks=len(items)).map(run)
        for row in done.iter_rows():
            if row["error"]:
                raise _unpacked(row["error"])
            yield [PartInfo.from_json(info) for info in row["infos"]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data's plan and bars off the screen: the caller shows progress of its own."""
    import ray.data

    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    shown, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = shown
        logger.setLevel(level)


def _stage_item(staging: Staging, item: dict[str, Any]) -> dict[str, Any]:
    try:
        infos = stage(staging, item["table"], Chunk.from_json(item["chunk"]))
    except RLEError as error:
        # As a value: Ray would wrap a raised error, and the user would read Ray's frames.
        return {"infos": [], "error": pickle.dumps(error)}
    return {"infos": [info.to_json() for info in infos], "error": b""}


def _unpacked(error: bytes) -> RLEError:
    found = pickle.loads(error)  # noqa: S301  written by our own worker a moment ago
    return found if isinstance(found, RLEError) else InternalError(repr(found))
