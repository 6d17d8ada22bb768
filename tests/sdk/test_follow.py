"""Streaming a job's log: nothing twice, nothing lost, nothing that takes over the terminal."""

from __future__ import annotations

import io
import sys
import types

import pytest
from rich.console import Console

from rle.engines.record import EngineState
from rle.errors import ConnectionError, JobMonitorError, ValidationError
from rle.runs.events import ErrorEvent, JobEvent, MetricEvent, ResultEvent, RunEvent, WarningEvent
from rle.runs.job_status import JobStatus
from rle.runs.progress import ProgressDisplay
from rle.sdk import follow
from rle.sdk.follow import TerminalView, show_block
from rle.sdk.monitor import JobMonitor
from tests.sdk.fake_jobs import (
    EXPERIMENT,
    RUN_ID,
    FakeJobs,
    completed,
    failed,
    lost_connection,
    progress,
    running,
    state_of,
)


@pytest.fixture
def jobs():
    return FakeJobs()


def line(event):
    return event.to_json().encode() + b"\n"


def streamed(jobs, *states, capsys, **options):
    job = JobMonitor(jobs.add(*states), jobs.engine)
    job.stream_logs(**{"retry_delay": 0.001} | options)
    return job, capsys.readouterr().out


def test_a_stream_has_a_header_the_lines_and_the_end(jobs, capsys):
    events = [
        JobEvent(job_id="any", status=JobStatus.QUEUED, ahead=2),
        JobEvent(job_id="any", status=JobStatus.QUEUED, ahead=0),
        JobEvent(job_id="any", status=JobStatus.RUNNING),
        RunEvent(model_run_id=RUN_ID, experiment_name=EXPERIMENT),
        progress(1, 1, seconds=1),
        progress(1, 100, seconds=2),
        MetricEvent(name="validation_roc_auc", value=0.75, step=100, epoch=1),
        WarningEvent(message="few rows"),
        ResultEvent(result={"metrics": {"best_validation_roc_auc": 0.81}, "model_folder": "/m"}),
    ]
    jobs.log_parts = [b"plain [text]\n" + b"".join(map(line, events)) + b"the end\n"]
    job, out = streamed(jobs, running(), completed(), capsys=capsys)
    assert out.splitlines() == [
        f"job {job.job_id}: train {EXPERIMENT}, engine lab",
        "plain [text]",
        "job queued: 2 jobs before this one",
        "job queued",
        "job running",
        f"model_run_id {RUN_ID}",
        "train epoch 1/10: 100 steps",
        "train epoch 1/10: training loss 0.5123",
        "validation roc auc 0.7500 after epoch 1",
        "warning: few rows",
        "result: best validation roc auc 0.8100",
        "the end",
        f"job {job.job_id} COMPLETED: best validation roc auc 0.8100, ran for 1 min 00 s",
    ]


def test_a_failure_ends_the_stream_with_advice_said_once(jobs, capsys):
    error = ErrorEvent(error="MemoryError", message="The GPU is full.", advice="Halve the batch.")
    jobs.log_parts = [b"before\n", line(error), b"Traceback (most recent call last):\n"]
    _, out = streamed(jobs, running(), failed(), capsys=capsys)
    assert out.splitlines()[-2:] == [
        "MemoryError: The GPU is full.",
        "What to do: Halve the batch.",
    ]
    assert out.count("The GPU is full") == 1


def test_what_native_code_wrote_of_secrets_is_not_shown(jobs, capsys):
    jobs.log_parts = [b"password=hunter2\n", line(WarningEvent(message="w")) + b"token=hunter2\n"]
    _, out = streamed(jobs, running(), completed(), capsys=capsys)
    assert "hunter2" not in out
    assert "password=***" in out
    assert "token=***" in out


def test_a_lost_connection_is_taken_up_where_it_broke(jobs, capsys):
    jobs.log_parts = [
        b"one\n",
        b"two\n",
        lost_connection(),
        b"three\n",
        lost_connection(),
        b"four\n",
    ]
    _, out = streamed(jobs, running(), completed(), capsys=capsys, num_retries=1)
    assert jobs.asked_offsets == [0, 8, 14]
    printed = [text for text in out.splitlines() if text in ("one", "two", "three", "four")]
    assert printed == ["one", "two", "three", "four"]


def test_a_connection_that_stays_lost_is_an_error_that_says_how_to_go_on(jobs, capsys):
    jobs.log_parts = [b"one\n", *[lost_connection()] * 3]
    job = JobMonitor(jobs.add(running()), jobs.engine)
    with pytest.raises(ConnectionError, match=r"broke off.*is READY.*stream_logs\(\) again"):
        job.stream_logs(num_retries=2, retry_delay=0.001)
    jobs.log_parts = [b"two\n"]
    jobs.history[job.job_id] = [completed()]
    job.stream_logs()
    assert jobs.asked_offsets[-1] == 4
    assert capsys.readouterr().out.count("one\n") == 1


def test_an_engine_that_starts_again_is_waited_for(jobs, capsys):
    jobs.engine_state = EngineState.PENDING
    jobs.log_parts = [b"one\n", *[lost_connection()] * 8, b"two\n"]
    _, out = streamed(jobs, running(), completed(), capsys=capsys, num_retries=1)
    assert out.index("one") < out.index("two")


def test_a_long_silence_before_a_loss_is_no_outage(jobs, capsys, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
    monkeypatch.setattr(follow, "time", clock)
    monkeypatch.setattr(follow, "check_runs", lambda *_: now.append(now.pop() + 10_000.0))
    jobs.engine_state = EngineState.PENDING
    lost = lost_connection()
    jobs.log_parts = [b"", lost, lost, lost, b"two\n"]
    _, out = streamed(jobs, running(), completed(), capsys=capsys, num_retries=1)
    assert "two" in out


def test_without_retries_the_first_loss_is_the_last(jobs):
    jobs.engine_state = EngineState.PENDING
    jobs.log_parts = [lost_connection()]
    with pytest.raises(ConnectionError, match="is PENDING"):
        JobMonitor(jobs.add(running()), jobs.engine).stream_logs(num_retries=0)


def test_an_engine_that_never_comes_back_is_an_error(jobs, monkeypatch):
    monkeypatch.setattr(follow, "RESTART_S", 0.02)
    jobs.engine_state = EngineState.PENDING
    jobs.log_parts = [lost_connection()] * 1000
    with pytest.raises(ConnectionError, match="broke off"):
        JobMonitor(jobs.add(running()), jobs.engine).stream_logs(1, 0.001)


def test_a_queued_job_of_a_suspended_engine_is_not_followed_for_ever(jobs, capsys):
    jobs.log_parts = [b"one\n", b"", b"two\n"]
    job = JobMonitor(jobs.add(state_of()), jobs.engine)
    jobs.engine_state = EngineState.SUSPENDED
    with pytest.raises(JobMonitorError, match=r"suspended while job .* was QUEUED"):
        job.stream_logs()
    assert capsys.readouterr().out.splitlines()[1:] == ["one"]


@pytest.mark.parametrize("options", [{"num_retries": -1}, {"retry_delay": "1"}])
def test_senseless_options_are_refused(jobs, options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        JobMonitor(jobs.add(running()), jobs.engine).stream_logs(**options)


def test_ctrl_c_stops_the_stream_and_not_the_job(jobs, capsys):
    jobs.log_parts = [b"one\n", KeyboardInterrupt()]
    job, out = streamed(jobs, running(), capsys=capsys)
    assert out.splitlines()[-1].startswith(f"stopped watching; job {job.job_id} goes on")
    assert not jobs.canceled
    jobs.log_parts = [b"two\n"]
    jobs.history[job.job_id] = [completed()]
    job.stream_logs()
    assert jobs.asked_offsets == [0, 4]


def test_a_log_that_was_read_to_its_end_is_shown_anew(jobs, capsys):
    jobs.log_parts = [b"one\n"]
    job, _ = streamed(jobs, completed(), capsys=capsys)
    jobs.log_parts = [b"one\n"]
    job.stream_logs()
    assert jobs.asked_offsets == [0, 0]


def terminal_text(block):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, highlight=False, soft_wrap=True)
    with ProgressDisplay(console) as display:
        show_block(block, TerminalView(console, display))
    return out.getvalue()


def test_in_a_terminal_lines_come_above_the_bar():
    text = terminal_text(line(progress(1, 1, seconds=1)) + b"\x1b[31mred\x1b[0m [not] markup\n")
    assert "\x1b[31mred\x1b[0m [not] markup" in text
    assert "train epoch 1/10" in text
    assert "1/100 loss 0.5123" in text


def test_a_log_cannot_take_over_the_terminal():
    evil = b"\x1b]0;owned\x07a\x1b[2Jb\x1b[3;1Hc\x07\x08d\xc2\x9b2Je\xe2\x80\xaef\n"
    text = terminal_text(evil)
    assert "abcdef" in text.replace("\x1b[0m", "")
    assert "owned" not in text
    assert "\x1b[2J" not in text
    hidden = WarningEvent(message="\x1b[2J\x1b]0;owned\x07gone")
    assert "\x1b[2J" not in terminal_text(line(hidden))
    stage = progress(1, 1, seconds=1).replace(stage="\x1b[2Jtrain [red]")
    assert "\x1b[2J" not in terminal_text(line(stage))


def test_json_of_a_program_is_a_line_like_others(jobs, capsys):
    mine = b'{"type":"progress","of":"mine"}\n{"type": 1}\n'
    jobs.log_parts = [mine]
    _, out = streamed(jobs, running(), completed(), capsys=capsys)
    assert mine.decode() in out


@pytest.mark.parametrize(
    "lookalike",
    [
        b'"time":"2026-03-02T09:30:00","stage":"train","step":1,"num_steps":9',
        b'"time":"2026-03-02T09:30:00Z","stage":"train","step":1' + b"0" * 400 + b',"num_steps":9',
        b'"time":"0001-01-01T00:00:00Z","stage":"train","step":1,"num_steps":9007199254740992',
    ],
)
@pytest.mark.parametrize("in_terminal", [True, False])
def test_what_looks_like_progress_does_not_stop_the_stream(lookalike, in_terminal):
    console = Console(file=io.StringIO(), force_terminal=in_terminal)
    block = line(progress(1, 3, seconds=1)) + b'{"type":"progress",' + lookalike + b"}\n"
    with ProgressDisplay(console) as display:
        show_block(block * 2 + b"after it\n", TerminalView(console, display))
    assert "after it" in console.file.getvalue()


def test_bytes_that_are_no_text_are_shown_as_such(jobs, capsys):
    jobs.log_parts = [b"caf\xe9 \xf0\x9f\xa6\x86\n", b"no end"]
    _, out = streamed(jobs, completed(), capsys=capsys)
    assert "caf\ufffd \N{DUCK}\nno end\n" in out


class Display:
    """What IPython.display does, as far as it is used."""

    def __init__(self):
        self.shown, self.updates = [], []

    def display(self, html, *, display_id):
        assert display_id
        self.shown.append(html)
        return self

    def update(self, html):
        self.updates.append(html)

    @staticmethod
    def HTML(text):  # noqa: N802 - IPython's name
        return text


@pytest.fixture
def notebook(monkeypatch):
    display = Display()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(follow, "in_notebook", lambda: True)
    monkeypatch.setattr(follow, "REDRAW_S", 0.0)
    return display


def test_a_notebook_has_one_bar_that_changes_and_lines(jobs, capsys, notebook):
    parts = [line(progress(1, 1, seconds=1)), b"a line\n", line(progress(3, 40, seconds=61))]
    jobs.log_parts = [b"".join(parts), line(WarningEvent(message="few rows"))]
    _, out = streamed(jobs, running(), completed(), capsys=capsys)
    assert "a line\n" in out
    assert "warning: few rows\n" in out
    assert len(notebook.shown) == 1
    assert "train epoch 3/10, step 40/100, loss 0.5123" in notebook.updates[-1]
