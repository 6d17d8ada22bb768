"""What a connector asks of its engine.

Engines and jobs are layers above connectors, so they are found by name, and only when a connector
has an engine: reading tables never loads them.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from rle.errors import ValidationError


def check_ready(engine_name: str) -> None:
    """Check that there is such an engine and that it takes jobs.

    Raises:
        ValidationError: No engine may have this name.
        ConnectionError: There is none, or it is not READY; names it and its status.
    """
    if not engine_name:
        raise ValidationError(
            "engine_name is empty. Name an engine, or leave it out for the only one there is."
        )
    _open(engine_name)


def is_elsewhere(engine_name: str) -> bool:
    """Whether the engine runs on other machines, whose files cannot be looked at from here."""
    record = pkgutil.resolve_name("rle.engines.lookup:find_engine")(engine_name)
    return bool(record.backend != "local")


def list_jobs(
    engine_name: str | None, *, state: str | None, limit: int | None
) -> list[dict[str, Any]]:
    """Return a row per job, newest first; see `Connector.list_jobs`."""
    status = None
    if state is not None:
        status = pkgutil.resolve_name("rle.runs.job_status:JobStatus").parse(state)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValidationError(f"limit must be None or a whole number, 0 or more, not {limit!r}.")
    with _client(engine_name) as client:
        return [_row(job, job.engine) for job in client.states(status=status, limit=limit)]


def get_job(engine_name: str | None, job_id: str) -> dict[str, Any]:
    """Return the row of one job; see `Connector.get_job`."""
    engine = _open(engine_name, must_run=False)
    with _client_of(engine) as client:
        return _row(client.state(job_id), engine.name)


def cancel_job(engine_name: str | None, job_id: str) -> None:
    """Cancel a job; see `Connector.cancel_job`."""
    with _client(engine_name) as client:
        client.cancel(job_id)


def job_events(
    engine_name: str | None, job_id: str, continuation_token: str | None
) -> dict[str, Any]:
    """Return the events after a token; see `Connector.get_job_events`."""
    offset = _offset(continuation_token)
    with _client(engine_name) as client:
        events, end = client.events(job_id, offset=offset)
    return {
        "events": [event.model_dump(mode="json") for event in events],
        "continuation_token": str(end),
    }


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    if not isinstance(token, str) or not (token.isascii() and token.isdigit()):
        raise ValidationError(
            "continuation_token must be one that get_job_events returned, or None for the "
            f"beginning, not {token!r:.100}."
        )
    return int(token)


def _row(job: Any, engine_name: str) -> dict[str, Any]:
    begun, ended = job.started_at, job.finished_at
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "created_by": job.created_by,
        "created_on": job.queued_at,
        "finished_at": ended,
        "duration": (ended - begun).total_seconds() if begun and ended else None,
        "engine": engine_name,
        "payload_type": job.kind,
    }


def _client(engine_name: str | None) -> Any:
    return _client_of(_open(engine_name, must_run=False))


def _client_of(engine: Any) -> Any:
    return pkgutil.resolve_name("rle.jobs.client:JobClient")(engine)


def _open(engine_name: str | None, **options: bool) -> Any:
    return pkgutil.resolve_name("rle.engines.lookup:open_engine")(engine_name, **options)
