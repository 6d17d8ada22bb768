"""What a job's events add up to: its status, how far it is, what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, JsonValue

from rle.jobs.request import job_type
from rle.runs.events import (
    ArtifactEvent,
    ErrorEvent,
    JobEvent,
    MetricEvent,
    ProgressEvent,
    ResultEvent,
    RunEvent,
    WarningEvent,
)
from rle.runs.job_status import JobStatus
from rle.runs.pace import seconds_left
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rle.runs.events import AnyEvent


class JobState(Value):
    """A job at one moment. Equal to state.json; times are UTC by the engine's clock."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    job_id: str
    kind: str
    """Of its work, as in `JobRequest.kind`."""
    experiment_name: str
    created_by: str
    status: JobStatus = JobStatus.CREATED
    message: str = ""
    """One line for people, of the newest transition."""
    ahead: int | None = None
    """Jobs that come first; None unless queued."""
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    """Of the newest event."""
    model_run_id: str | None = None
    progress: ProgressEvent | None = None
    """The newest; None before the first and after the end."""
    stages: dict[str, datetime] = Field(default_factory=dict)
    """When each stage was first heard of."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """The newest value of each."""
    warnings: tuple[str, ...] = ()
    artifacts: dict[str, str] = Field(default_factory=dict)
    """Place of each thing that is complete."""
    result: dict[str, JsonValue] | None = None
    error: ErrorEvent | None = None

    @property
    def export_paths(self) -> dict[str, JsonValue] | None:
        """Names of the tables: {"predictions": table, "embeddings": {column: table}}."""
        paths = (self.result or {}).get("export_paths")
        return paths if isinstance(paths, dict) else None

    def after(self, *events: AnyEvent) -> JobState:
        """Return the state that follows. A terminal status stays, whatever comes later."""
        changes: dict[str, Any] = {}
        for event in events:
            changes |= self._changed_by(event, changes)
        return self.model_copy(update=changes)

    def _changed_by(self, event: AnyEvent, so_far: dict[str, Any]) -> dict[str, Any]:
        now = {"updated_at": event.time}
        if isinstance(event, JobEvent):
            status = so_far.get("status", self.status)
            return now | self._moved(status, event)
        if isinstance(event, ProgressEvent):
            stages = so_far.get("stages", self.stages)
            begun = stages if event.stage in stages else stages | {event.stage: event.time}
            return now | {"progress": event, "stages": begun}
        if isinstance(event, MetricEvent):
            return now | {
                "metrics": so_far.get("metrics", self.metrics) | {event.name: event.value}
            }
        if isinstance(event, WarningEvent):
            return now | {"warnings": (*so_far.get("warnings", self.warnings), event.message)}
        if isinstance(event, ArtifactEvent):
            known = so_far.get("artifacts", self.artifacts)
            return now | {"artifacts": known | {event.name: event.location}}
        if isinstance(event, RunEvent):
            return now | {"model_run_id": event.model_run_id}
        if isinstance(event, ResultEvent):
            return now | {"result": event.result}
        if isinstance(event, ErrorEvent):
            return now | {"error": event}
        return now

    @staticmethod
    def _moved(status: JobStatus, event: JobEvent) -> dict[str, Any]:
        if event.status == status:
            return {"message": event.message, "ahead": event.ahead}
        if not status.may_become(event.status):
            return {}
        moved: dict[str, Any] = {"status": event.status, "message": event.message}
        moved["ahead"] = event.ahead if event.status is JobStatus.QUEUED else None
        if event.status is JobStatus.QUEUED:
            moved["queued_at"] = event.time
        elif event.status is JobStatus.RUNNING:
            moved["started_at"] = event.time
        elif event.status.is_terminal:
            moved |= {"finished_at": event.time, "progress": None}
        return moved

    def _progress(self) -> dict[str, Any] | None:
        """Return stage, steps, epochs, loss and seconds left, of the stage under way."""
        if self.progress is None:
            return None
        since = self.stages.get(self.progress.stage)
        left = None if since is None else seconds_left(self.progress, since=since)
        known = self.progress.model_dump(exclude={"type", "time"})
        return known | {"seconds_left": None if left is None else round(left, 1)}

    def as_status(self) -> dict[str, Any]:
        """Return what `JobMonitor.get_status` promises: plain values by name."""
        return {
            "job_id": self.job_id,
            "status": self.status.value,
            "message": self.message,
            "ahead": self.ahead,
            "queued_at": self.queued_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "updated_at": self.updated_at,
            "experiment_name": self.experiment_name,
            "job_type": job_type(self.kind),
            "model_run_id": self.model_run_id,
            "progress": self._progress(),
            "metrics": dict(self.metrics),
            "warnings": list(self.warnings),
            "result": self.result,
            "export_paths": self.export_paths,
            "error": self.error and f"{self.error.error}: {self.error.message}",
        }


def add_up(start: JobState, events: Iterable[AnyEvent]) -> JobState:
    """Return the state after all events, from the one a request begins with."""
    return start.after(*events)
