from __future__ import annotations

import io

from rich.console import Console

from rle.runs.events import (
    ArtifactEvent,
    ErrorEvent,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    RunStatus,
    StatusEvent,
    WarningEvent,
)
from rle.runs.progress import ProgressDisplay

TRAINING = [
    ProgressEvent(stage="train", step=s, num_steps=3, epoch=e, num_epochs=2, loss=0.5)
    for e in (1, 2)
    for s in (1, 2, 3)
]


def shown(events, *, terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, highlight=False, soft_wrap=True)
    with ProgressDisplay(console) as display:
        for event in events:
            display(event)
    return out.getvalue()


def test_outside_a_terminal_a_stage_is_two_plain_lines():
    assert shown(TRAINING, terminal=False).splitlines() == [
        "train epoch 1/2: 3 steps",
        "train epoch 1/2: training loss 0.5000",
        "train epoch 2/2: 3 steps",
        "train epoch 2/2: training loss 0.5000",
    ]


def test_in_a_terminal_the_bar_shows_steps_loss_and_time():
    text = shown(TRAINING, terminal=True)
    assert "train epoch 2/2" in text
    assert "3/3" in text
    assert "loss 0.5000" in text
    assert "0:00:00" in text


def validation(*steps):
    return [ProgressEvent(stage="validate", step=step, num_steps=3) for step in steps]


def test_a_validation_has_a_bar_below_the_one_of_training():
    text = shown([*TRAINING[:1], *validation(1, 2)], terminal=True)
    assert text.rindex("train epoch 1/2") < text.rindex("validate")
    assert "2/3" in text


def test_a_validation_that_is_over_has_no_bar_and_training_goes_on_as_it_was():
    over = [*TRAINING[:1], *validation(1, 3), *TRAINING[1:2]]
    text = shown(over, terminal=True)
    assert text.rindex("validate") < text.rindex("train epoch 1/2")
    assert shown(over, terminal=False).splitlines() == ["train epoch 1/2: 3 steps"]


def test_other_events_are_lines():
    events = [
        StatusEvent(status=RunStatus.RUNNING),
        MetricEvent(name="validation_roc_auc", value=0.81234, step=3, epoch=1.0),
        MetricEvent(name="training_loss", value=0.3, step=3),
        ReportEvent(name="snapshot", text="rows 7\nedges 3"),
        WarningEvent(message="label [7] is out of range"),
        ErrorEvent(error="DataError", message="no rows"),
        ArtifactEvent(name="training_curve", location="/tmp/curve.png"),
        StatusEvent(status=RunStatus.COMPLETED, message="done in 3 s"),
    ]
    assert shown(events, terminal=False).splitlines() == [
        "validation roc auc 0.8123 after epoch 1",
        "rows 7",
        "edges 3",
        "warning: label [7] is out of range",
        "DataError: no rows",
        "wrote training curve: /tmp/curve.png",
        "completed: done in 3 s",
    ]


def test_stages_of_ingest_show_what_they_work_on():
    events = [ProgressEvent(stage="ingest", step=1, num_steps=4, detail="customers")]
    assert "customers" in shown(events, terminal=True)
