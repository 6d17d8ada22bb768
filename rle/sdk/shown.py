"""A job in words: the line of a `repr`, what is read of its progress and its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rle.runs.events import ErrorEvent
from rle.runs.job_status import JobStatus
from rle.runs.pace import seconds_left
from rle.runs.printable import printable

if TYPE_CHECKING:
    from rle.jobs.state import JobState
    from rle.runs.events import ProgressEvent

BEST = "best_"
"""What the name of the kept weights' metric begins with."""


def duration(seconds: float) -> str:
    """Return a time span for people: "4.2 s", "3 min 05 s", "2 h 07 min"."""
    seconds = max(0.0, seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def stage_label(progress: ProgressEvent) -> str:
    """Return what is being done: "train epoch 3/10", "ingest customers"."""
    label = progress.stage
    if progress.epoch is not None:
        label += f" epoch {progress.epoch}"
        label += f"/{progress.num_epochs}" if progress.num_epochs else ""
    return f"{label} {progress.detail}" if progress.detail else label


def progress_words(state: JobState) -> list[str]:
    """Return stage, step, loss, metric and time left, as far as they are known."""
    progress = state.progress
    if progress is None:
        return []
    words = [stage_label(progress), f"step {progress.step}/{progress.num_steps}"]
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.4f}")
    words += [f"{name} {value:.4f}" for name, value in main_metrics(state).items()]
    since = state.stages.get(progress.stage)
    left = None if since is None else seconds_left(progress, since=since)
    if left is not None and left > 0:
        words.append(f"{duration(left)} left")
    return words


def main_metrics(state: JobState) -> dict[str, float]:
    """Return the evaluation metrics by name for people: the best first, no losses, no rates."""
    names = [name for name in state.metrics if "loss" not in name and name != "learning_rate"]
    names.sort(key=lambda name: not name.startswith(BEST))
    return {name.replace("_", " "): state.metrics[name] for name in names}


def ran_for(state: JobState, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a job has run or ran; None where it has not begun."""
    if state.started_at is None:
        return None
    end = state.finished_at or now or datetime.now(UTC)
    return max(0.0, (end - state.started_at).total_seconds())


def place_in_queue(state: JobState) -> str:
    """Return how many jobs come first, in words; empty where nobody knows."""
    if state.ahead is None:
        return ""
    if state.ahead == 0:
        return "next in line"
    return f"{state.ahead} job{'s' if state.ahead > 1 else ''} before this one"


def error_of(state: JobState) -> ErrorEvent | None:
    """Return why a job failed; None where it did not."""
    if state.status is not JobStatus.FAILED:
        return None
    if state.error is not None:
        return state.error
    when = state.finished_at or state.updated_at or datetime.now(UTC)
    message = state.message or "The job failed without a word; its log may say more: get_logs()."
    return ErrorEvent(error="JobFailed", message=message, time=when)


def failure(error: ErrorEvent) -> str:
    """Return an error in a few lines: what happened, and what to do about it."""
    text = f"{error.error}: {error.message}"
    return f"{text}\nWhat to do: {error.advice}" if error.advice else text


def activity(state: JobState, *, now: datetime | None = None) -> str:
    """Return in a line what a job is doing, or what came of it."""
    seconds = ran_for(state, now=now)
    span = "" if seconds is None else duration(seconds)
    if state.status is JobStatus.RUNNING:
        words = [*(progress_words(state) or [state.message]), f"running for {span}"]
    elif state.status is JobStatus.FAILED:
        error = error_of(state)
        words = [
            failure(error).replace("\n", " ") if error else "",
            f"after {span}" if span else "",
        ]
    elif state.status.is_terminal:
        measured = [f"{name} {value:.4f}" for name, value in main_metrics(state).items()]
        words = [*measured, f"ran for {span}" if span else state.message]
    else:
        waits = place_in_queue(state) or state.message.rstrip(".")
        words = [waits, f"queued {age(state.queued_at, now=now)}"]
    return printable(", ".join(word for word in words if word))


def age(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Return how long ago something was: "12 s ago"; empty where nobody knows."""
    if moment is None:
        return ""
    return f"{duration(((now or datetime.now(UTC)) - moment).total_seconds())} ago"
