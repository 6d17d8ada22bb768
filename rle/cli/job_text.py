"""A job as people read it, and one of many as programs do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rle.jobs.request import job_type
from rle.runs.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rle.jobs.listing import JobSummary

FIRST = ("job_id", "status", "message", "ahead", "experiment_name", "job_type", "model_run_id")
TIMES = ("queued_at", "started_at", "finished_at")


def listed(job: JobSummary) -> dict[str, Any]:
    """Return one job of a list in the words of `JobMonitor.get_status`."""
    row = {name: value for name, value in job.model_dump(mode="json").items() if name != "kind"}
    return row | {"job_type": job_type(job.kind)}


def job_lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known of a job, safe to print, then its traceback and events where asked."""
    yield from map(printable, _lines(shown))


def _lines(shown: Mapping[str, Any]) -> Iterator[str]:
    for name in FIRST:
        if shown.get(name) not in (None, ""):
            yield f"{_label(name)}: {shown[name]}"
    for name in TIMES:
        if shown[name] is not None:
            yield f"{_label(name)}: {_at(shown[name])} UTC"
    if shown["progress"]:
        yield _progress(shown["progress"])
    yield from _values(shown)
    for warning in shown["warnings"]:
        yield f"warning: {warning}"
    if shown["error"]:
        yield f"error: {shown['error']}"
    if shown.get("traceback"):
        yield shown["traceback"].rstrip("\n")
    yield from _events(shown.get("events", ()))


def _progress(progress: Mapping[str, Any]) -> str:
    words = [f"progress: {progress['stage']}"]
    if progress["epoch"] is not None:
        words.append(f"epoch {progress['epoch']} of {progress['num_epochs'] or '?'}")
    words.append(f"step {progress['step']} of {progress['num_steps']}")
    if progress["loss"] is not None:
        words.append(f"loss {progress['loss']:.4f}")
    if progress["seconds_left"]:
        words.append(f"{progress['seconds_left']:.0f} s left")
    return ", ".join(words)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _values(shown: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(shown["metrics"].items()):
        yield f"{_label(name)}: {value:.6g}"
    if shown["result"]:
        yield "result: " + json.dumps(shown["result"], indent=2, ensure_ascii=False)


def _events(events: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for event in events:
        rest = {name: value for name, value in event.items() if name not in ("type", "time")}
        yield f"{event['time']} {event['type']} {json.dumps(rest, ensure_ascii=False)}"
