"""Makes the tables of a job that kept its predictions as files: once, whole, never over others."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rle.errors import JobHandlerError
from rle.jobs.layout import REQUEST, RESULTS, STATE, job_folder
from rle.jobs.request import JobRequest, MaterializeWork
from rle.jobs.state import JobState
from rle.jobs.work import as_result, record_of
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydantic import JsonValue

    from rle.inference.keep import KeptTables
    from rle.runs.events import AnyEvent

MADE = "made.json"
"""Beside the kept files: which job made the tables."""
LOCK = "materialize.lock"
MADE_ALREADY = "were made already"
"""In the message of an error: the tables are there, by an earlier job."""


def materialize(
    request: JobRequest, folder: Path, tell: Callable[[AnyEvent], None]
) -> dict[str, JsonValue]:
    """Make the tables of the job that the request names.

    Raises:
        JobHandlerError: That job is not on this engine ("unknown_job"), has not completed
            ("not_completed"), made its tables itself, or they were made already ("materialized").
        OutputExistsError: A table of such a name came into being meanwhile.
    """
    from rle.runs.events import ArtifactEvent
    from rle.runs.job_records import EXPORTS_TAG

    work = request.work
    if not isinstance(work, MaterializeWork):
        raise JobHandlerError(f"A job of kind {request.kind!r} makes no kept tables.", "kind")
    source = job_folder(folder.parent, work.source_job_id)
    kept = _kept_by(source)  # first: with nothing to make, nothing is loaded or recorded
    with record_of(request, folder) as tracker:
        with _alone(source / RESULTS):
            num_rows = _make(kept, source, request.job_id)
        for name, location in _places(kept):
            tell(ArtifactEvent(name=name, location=location))
        tracker.tag(EXPORTS_TAG, json.dumps(kept.export_paths))
    return as_result(
        {
            "experiment_name": work.experiment_name,
            "source_job_id": work.source_job_id,
            "num_rows": num_rows[-1],
            "materialized": True,
            "export_paths": kept.export_paths,
            "output": kept.output.model_dump(mode="json"),
        }
    )


def _kept_by(source: Path) -> KeptTables:
    """Return what a job kept; say why there is nothing where there is nothing."""
    from rle.inference.keep import read_kept

    job_id = source.name
    if not (source / REQUEST).is_file():
        raise JobHandlerError(
            f"There is no job {job_id} on this engine, so its tables cannot be made here. Submit "
            "to the engine that ran it; `rle jobs list` shows an engine's jobs.",
            "unknown_job",
        )
    asked = JobRequest.from_json((source / REQUEST).read_bytes())
    if getattr(asked.work, "materialize", True):
        makes = "makes its tables itself" if asked.kind in _PREDICT else "predicts nothing"
        raise JobHandlerError(f"Job {job_id}, of kind {asked.kind!r}, {makes}.", "materialized")
    status, why = _ending(source)
    if status is not JobStatus.COMPLETED:
        raise JobHandlerError(
            f"Job {job_id} is {status.value}{why}, so there is nothing to make tables of. Only the "
            "predictions of a completed job become tables.",
            "not_completed",
        )
    kept = read_kept(source / RESULTS)
    if kept is None:
        raise JobHandlerError(
            f"The files that job {job_id} kept are gone from {source / RESULTS}. Predict again.",
            "not_completed",
        )
    return kept


_PREDICT = ("predict", "train_inference")


def _ending(source: Path) -> tuple[JobStatus, str]:
    """Return where a job stands, and why in a few words."""
    path = source / STATE
    if not path.is_file():
        return JobStatus.QUEUED, ""
    state = JobState.from_json(path.read_bytes())
    why = "" if state.error is None else f" ({state.error.error}: {state.error.message:.200})"
    return state.status, why


def _make(kept: KeptTables, source: Path, job_id: str) -> list[int]:
    """Make the tables, say so beside the files, and free their space."""
    from rle.inference.keep import make_tables, remove_files

    results = source / RESULTS
    if (results / MADE).is_file():
        made = json.loads((results / MADE).read_text(encoding="utf-8"))
        raise JobHandlerError(
            f"The tables of job {source.name} {MADE_ALREADY}, by job {made['job_id']} at "
            f"{made['at']}: {kept.predictions}.",
            "materialized",
        )
    num_rows = make_tables(kept, results)
    note = {"job_id": job_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    temporary = results / f"{MADE}.part"
    temporary.write_text(json.dumps(note), encoding="utf-8")
    os.replace(temporary, results / MADE)
    remove_files(kept, results)
    return num_rows


def _places(kept: KeptTables) -> list[tuple[str, str]]:
    embeddings = [("embeddings", table) for table in kept.embeddings.values()]
    return [*embeddings, ("predictions", kept.predictions)]


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """Wait until no other job makes these tables; the kernel frees the lock if one dies."""
    with (results / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
