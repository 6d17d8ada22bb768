"""Tables to snapshot: reuse by fingerprint, or stage, assemble, link and publish at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rle.errors import DataError
from rle.graph.construct import Construction
from rle.graph.files import translated
from rle.graph.snapshot import Snapshot
from rle.graph.storage import FORMAT, is_complete, publish
from rle.ingest.plan import check_columns, plan_table
from rle.ingest.staging import Staging
from rle.ingest.text import find_embedder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.graph.construct import OnProgress
    from rle.ingest.text import EmbedderSource
    from rle.spec.dataset import DatasetSpec


def build_snapshot(
    spec: DatasetSpec,
    *,
    folder: Path,
    text_embedder: str,
    num_workers: int,
    on_progress: OnProgress,
    inherit_links: bool = True,
) -> Snapshot:
    """Return the snapshot of `spec`'s tables, building it unless it is there already.

    Args:
        spec: Tables, links and their connector. Of the task only its entity tables matter.
        folder: Where snapshots live, one folder each, named by fingerprint.
        text_embedder: A known name or a path; looked for only where a table has text.
        num_workers: 0 reads in this process; otherwise Ray Data spreads the chunks.
        on_progress: Called with a stage ("read", "build"), steps done and steps in all.
        inherit_links: Whether tables that extend another, row for row, also get its links; see
            `rle.graph.inherit`.

    Raises:
        MissingModelError: There is text, and the embedder is not on this machine.
        UnknownNameError: A source or a column has gone since the spec was made.
        DataError: Rows contradict the spec: duplicate keys, an empty entity table, and the like.
        StorageError: The disk is full. Nothing half is kept.
    """
    plans = tuple(plan_table(table) for table in spec.tables)
    embedder = find_embedder(text_embedder) if any(plan.texts for plan in plans) else None
    versions = _versions(spec)
    fingerprint = _fingerprint(spec, versions, embedder, inherit_links=inherit_links)
    final = folder / fingerprint
    if is_complete(final):
        return Snapshot.open(final)
    for plan in plans:
        check_columns(plan, spec.connector)
    connector, read_at = spec.connector.at_one_moment([table.source for table in spec.tables])
    if read_at is not None:
        _check_unchanged(spec, versions)  # from here on, changes do not matter
    with translated(f"Writing the graph snapshot to {folder}"), _workplace(final) as temporary:
        staging = Staging(
            connector=connector,
            plans=plans,
            embedder=embedder,
            folder=str(temporary / "parts"),
        )
        (temporary / "parts").mkdir()
        build = Construction(
            spec, staging, temporary / "snapshot", on_progress, inherit_links=inherit_links
        )
        manifest = build.run(fingerprint, num_workers=num_workers)
        if read_at is None:
            _check_unchanged(spec, versions)
        if final.exists():  # damaged, or of another format: it could never be opened
            shutil.rmtree(final)
        publish(temporary / "snapshot", final, manifest.model_copy(update={"read_at": read_at}))
    return Snapshot.open(final)


@contextmanager
def _workplace(final: Path) -> Iterator[Path]:
    """A folder beside `final` that is gone afterwards, whatever happens."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(final.parent)
    owner = f"{uuid.uuid4().hex[:8]}-{socket.gethostname()}-{os.getpid()}"
    temporary = final.parent / f".building-{final.name}-{owner}"
    try:
        temporary.mkdir()
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _versions(spec: DatasetSpec) -> dict[str, str]:
    return {table.source: spec.connector.version(table.source) for table in spec.tables}


def _check_unchanged(spec: DatasetSpec, versions: dict[str, str]) -> None:
    if _versions(spec) != versions:
        raise DataError("The tables changed while they were read. Run again.")


def _fingerprint(
    spec: DatasetSpec,
    versions: dict[str, str],
    embedder: EmbedderSource | None,
    *,
    inherit_links: bool,
) -> str:
    """Hash everything the snapshot's content hangs on. The task is not part of it."""
    content = {
        "format": FORMAT,
        "connector": spec.connector.model_dump(mode="json"),
        "tables": [table.model_dump(mode="json") for table in spec.tables],
        "versions": versions,
        "embedder": embedder.identity if embedder else None,
        "inherit_links": inherit_links,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _remove_abandoned(folder: Path) -> None:
    """Remove what builds on this host left behind when they were killed."""
    host = socket.gethostname()
    for path in folder.glob(".building-*"):
        owner, _, pid = path.name.rpartition("-")
        if owner.endswith(f"-{host}") and pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
