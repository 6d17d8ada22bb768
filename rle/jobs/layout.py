"""Where an engine keeps its jobs: the same files on a head's disk, over HTTP and on a laptop.

    <engine folder>/jobs/queue.jsonl              every transition of every job, in order
    <engine folder>/jobs/queue.lock               held while a line is added
    <engine folder>/jobs/<job id>/request.json    what was asked for
    <engine folder>/jobs/<job id>/code.zip        the code that came with it, if any
    <engine folder>/jobs/<job id>/events.jsonl    what happened: the truth
    <engine folder>/jobs/<job id>/state.json      what the events add up to, for whoever asks often
    <engine folder>/jobs/<job id>/log.txt         what the driver printed, events included
    <engine folder>/jobs/<job id>/alive.lock      held by the driver as long as it lives
    <engine folder>/jobs/<job id>/results/        predictions that wait to be made tables

On a running cluster `<session>/logs/rle` is a link to `<engine folder>/jobs`, so that Ray's own
dashboard, which asks for the token, hands these files out and no other port is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from rle.jobs.request import check_job_id
from rle.runs.events import FILE_NAME as EVENTS_FILE

ENGINE_FOLDER = "RLE_ENGINE_FOLDER"
"""Variable on the head that names the engine folder."""
LINK = "rle"
"""Name of the link among a session's logs."""
EVENTS = EVENTS_FILE
QUEUE, QUEUE_LOCK = "queue.jsonl", "queue.lock"
PACKAGE = "code.zip"
REQUEST, STATE, LOG, ALIVE = "request.json", "state.json", "log.txt", "alive.lock"
RESULTS = "results"


def engine_folder() -> Path:
    """Return the engine folder of the head this process runs on; not made by this call."""
    named = os.environ.get(ENGINE_FOLDER)
    return Path(named) if named else Path.home() / ".rle" / "engine"


def jobs_folder(engine: Path) -> Path:
    """Return the folder of all jobs of an engine."""
    return engine / "jobs"


def job_folder(jobs: Path, job_id: str) -> Path:
    """Return the folder of one job.

    Raises:
        ValidationError: `job_id` has not the form of one.
    """
    return jobs / check_job_id(job_id)


def served_name(job_id: str, name: str) -> str:
    """Return how a job's file is asked for over HTTP, relative to a session's logs."""
    return f"{LINK}/{check_job_id(job_id)}/{name}"
