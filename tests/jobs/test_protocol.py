"""docs/job-protocol.md says what the code does."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rle.engines.address import OLDEST_RAY
from rle.jobs import failures, layout
from rle.jobs.alive import BREATH_LIMIT_S
from rle.jobs.queue import Entry
from rle.jobs.request import JobRequest, Work
from rle.jobs.state import JobState
from rle.jobs.submission import STOP_WAIT_S, entrypoint
from rle.jobs.versions import FORMAT, KINDS, read_request
from rle.runs.events import AnyEvent, parse_event
from rle.runs.job_status import JobStatus
from rle.runs.redact import redact

if TYPE_CHECKING:
    import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "job-protocol.md").read_text(encoding="utf-8")
EVENT_TYPES = {cls.model_fields["type"].default for cls in get_args(get_args(AnyEvent)[0])}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


EVENTS = [parse_event(line) for line in _blocks("jsonl")[0].splitlines()]


def test_each_line_is_what_the_code_writes() -> None:
    for line, event in zip(_blocks("jsonl")[0].splitlines(), EVENTS, strict=True):
        assert event.to_json() == line
        assert redact(line) == line
    request, entry = _blocks("json")
    assert read_request(request).to_json() == request.strip()
    assert Entry.from_json(entry).to_json() == entry.strip()


def test_each_type_of_event_is_shown_and_explained() -> None:
    assert {event.type for event in EVENTS} == EVENT_TYPES
    explained = TEXT.partition("| type | says |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", explained, re.MULTILINE)) == EVENT_TYPES


def test_the_lines_add_up_to_a_finished_job() -> None:
    state = JobState(job_id="x", kind="train", experiment_name="a/b/c", created_by="ann")
    state = state.after(*EVENTS)
    assert state.status is JobStatus.COMPLETED
    assert state.result is not None


def test_each_kind_and_each_field_of_a_request_is_told() -> None:
    kinds = TEXT.partition("| kind | what it does |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", kinds, re.MULTILINE))
    assert set(rows) == set(KINDS)
    for cls in get_args(get_args(Work)[0]):
        fields = set(cls.model_fields) - {"kind"}
        assert set(re.findall(r"`(\w+)`", rows[cls.model_fields["kind"].default])) == fields
    told = TEXT.partition("| field | meaning |")[2].partition("\n\n")[0]
    rows_told = [row.split("|")[1] for row in told.splitlines() if row.startswith("| `")]
    named = {name for row in rows_told for name in re.findall(r"`(\w+)`", row)}
    assert named == set(JobRequest.model_fields)
    assert f"| `format` | {FORMAT}." in TEXT


def test_the_table_of_statuses_is_what_is_parsed() -> None:
    table = TEXT.partition("| here | Ray Jobs | also read |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:4] for row in table.splitlines() if row.startswith("| `")]
    assert {re.findall(r"`(\w+)`", row[0])[0] for row in rows} == set(JobStatus)
    for here, ray, others in rows:
        status = JobStatus(re.findall(r"`(\w+)`", here)[0])
        names = re.findall(r"`(\w+)`", others) + re.findall(r"`(\w+)`", ray)[:1]
        assert {JobStatus.parse(name) for name in names} <= {status}


def test_files_and_figures_are_those_of_the_code() -> None:
    for name in (layout.QUEUE, layout.QUEUE_LOCK, layout.REQUEST, layout.EVENTS, layout.STATE,
                 layout.LOG, layout.ALIVE, layout.RESULTS, layout.PACKAGE, layout.ENGINE_FOLDER,
                 failures.ENTRY_POINTS):  # fmt: skip
        assert name in TEXT
    assert f"after {BREATH_LIMIT_S:g} s without a breath" in TEXT
    assert f"killed after {STOP_WAIT_S:g} s" in TEXT
    assert f"Ray older than {'.'.join(map(str, OLDEST_RAY))}" in TEXT
    request = read_request(_blocks("json")[0])
    assert entrypoint(request).replace(request.job_id, "ID") in TEXT


def test_the_example_of_a_symptom_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_added", [])
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(_blocks("python")[0], "docs/job-protocol.md", "exec"), {})
    assert said.getvalue() == "Ask data-platform for more.\n"


def test_a_state_may_hold_what_json_has_not() -> None:
    state = JobState(job_id="x", kind="train", experiment_name="a/b/c", created_by="ann",
                     metrics={"training_loss": float("nan")})  # fmt: skip
    assert json.loads(state.to_json())["metrics"] == {"training_loss": "NaN"}
