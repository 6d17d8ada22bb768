"""A job's log in words."""

from __future__ import annotations

from datetime import UTC, datetime

from rle.cli.log_text import raw_lines, readable
from rle.runs.events import ErrorEvent, JobEvent, MetricEvent, ProgressEvent
from rle.runs.job_status import JobStatus

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def line(event):
    return f"{event.model_dump_json()}\n"


def step(number, loss=None):
    return line(
        ProgressEvent(
            stage="train",
            step=number,
            num_steps=9,
            epoch=1,
            num_epochs=2,
            loss=loss,
            time=NOON,
        )
    )


LOG = "".join(
    [
        "plain\n",
        line(JobEvent(job_id="any", status=JobStatus.RUNNING, time=NOON)),
        *(step(number, loss=0.5) for number in range(1, 6)),
        line(MetricEvent(name="validation_roc_auc", value=0.75, step=5, time=NOON)),
        '{"type":"mine"}\n',
        line(ErrorEvent(error="OSError", message="The disk is full.", time=NOON)),
        step(1),
        step(2),
    ]
)


def test_events_are_words_and_of_progress_only_the_newest_is_shown():
    assert readable(LOG).splitlines() == [
        "plain",
        "job running",
        "train epoch 1/2: step 5/9, loss 0.5000",
        "validation roc auc 0.7500",
        '{"type":"mine"}',
        "OSError: The disk is full.",
        "train epoch 1/2: step 2/9",
    ]


def test_the_last_lines_are_counted_as_they_are_shown():
    assert readable(LOG, lines=2) == "OSError: The disk is full.\ntrain epoch 1/2: step 2/9\n"
    assert readable("", lines=2) == ""
    assert raw_lines(None) is None
    assert raw_lines(1000) > 1000
