"""Training through Ray Train on this machine, against training in this process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from rle.errors import DataError, DeviceError, InternalError, TrainingError, ValidationError
from rle.runs.events import MetricEvent, ProgressEvent, WarningEvent
from rle.spec.config import TrainerConfig
from rle.spec.metric import EvaluationMetric
from rle.testing.training import Fault, TinyJob
from rle.training.checkpoint import read_weights
from rle.training.relay import Relay
from rle.training.workers import run_training, train_worker

# Ray Data, which Ray Train imports, sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")


def tiny_job(folder: Path, *, config: dict | None = None, **changes) -> TinyJob:
    base = {
        "connector": {"kind": "duckdb", "database": "unused.duckdb"},
        "device": "cpu",
        "n_epochs": 3,
        "train_batch_size": 32,
        "val_batch_size": 32,
        "lr": 0.02,
        "num_workers": 0,
    }
    return TinyJob(
        folder=folder,
        config=TrainerConfig(**base | (config or {})),
        metric=EvaluationMetric("roc_auc"),
        **changes,
    )


def train(job: TinyJob):
    events = []
    return run_training(job, on_event=events.append), events


def losses(events) -> list[float]:
    return [e.loss for e in events if isinstance(e, ProgressEvent) and e.stage == "train"]


def kinds(events) -> list[type]:
    """Of all events but a validation's progress, which is told by the clock."""
    return [type(e) for e in events if getattr(e, "stage", "") != "validate"]


def listeners() -> list[str]:
    """Where training workers of this process' Ray listen."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found += [
                    connection.laddr.ip
                    for connection in process.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN
                ]
    return found


def test_in_process_a_run_leaves_weights_result_and_checkpoint(tmp_path):
    result, events = train(tiny_job(tmp_path))
    assert result.best.value == max(v.value for v in result.history)
    assert set(read_weights(result.weights)) >= {"head.weight", "tables.0.weight"}
    assert {p.name for p in tmp_path.iterdir()} == {
        "checkpoints",
        "model.safetensors",
        "result.json",
    }
    assert len(losses(events)) == 21


def test_a_run_that_was_interrupted_continues_in_its_folder(tmp_path):
    whole, events = train(tiny_job(tmp_path / "whole", batch_norm=True))
    fault = Fault(kind="data_error", rank=0, epoch=1, step=4, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "broken", batch_norm=True, fault=fault)
    with pytest.raises(DataError, match="row 7"):
        train(job)
    result, rest = train(job)
    assert losses(rest) == losses(events)[7:]
    assert result.history == whole.history
    first, second = read_weights(whole.weights), read_weights(result.weights)
    assert all((first[name] == second[name]).all() for name in first)


def test_ctrl_c_leaves_nothing_half_written_and_a_run_to_continue(tmp_path):
    expected, _ = train(tiny_job(tmp_path / "whole"))
    job = tiny_job(tmp_path / "job")

    def interrupt(event) -> None:
        if isinstance(event, ProgressEvent) and (event.epoch, event.step) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(job, on_event=interrupt)
    assert {p.name for p in job.folder.iterdir()} == {"checkpoints"}
    assert [p.name for p in (job.folder / "checkpoints").iterdir()] == ["step-000000007"]
    result, _ = train(job)
    assert result.history == expected.history


def test_a_gpu_that_is_not_there_is_known_before_anything_is_read(tmp_path):
    class Unread(TinyJob):
        def build(self, ranks):
            raise AssertionError("data was read")

    base = tiny_job(tmp_path, config={"device": "cuda"})
    job = Unread(**{name: getattr(base, name) for name in TinyJob.model_fields})
    for num_workers in (0, 1):
        config = base.config.replace(num_workers=num_workers)
        with pytest.raises(DeviceError, match='Set device="cpu"'):
            train(job.replace(config=config))


@pytest.mark.ray
def test_two_workers_give_the_curve_of_none_and_tell_it_while_they_run(ray_local, tmp_path):
    alone, events = train(tiny_job(tmp_path / "0", batch_norm=True))
    told: list = []
    threads = set()
    seen: list[str] = []

    def on_event(event) -> None:
        told.append(event)
        threads.add(threading.current_thread())
        if not seen:
            seen.extend(listeners())

    job = tiny_job(tmp_path / "2", batch_norm=True, config={"num_workers": 2})
    result = run_training(job, on_event=on_event)
    assert losses(told) == pytest.approx(losses(events), rel=1e-4)
    assert [v.value for v in result.history] == pytest.approx(
        [v.value for v in alone.history], rel=1e-4
    )
    assert kinds(told) == kinds(events)
    assert any(getattr(e, "stage", "") == "validate" for e in told)
    assert threads == {threading.current_thread()}
    assert len(seen) >= 4  # Ray's and gloo's, of each
    assert set(seen) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert not (job.folder / "ray").exists()
    expected, found = read_weights(alone.weights), read_weights(result.weights)
    for name, weights in expected.items():
        assert found[name] == pytest.approx(weights, rel=1e-3, abs=1e-5)


@pytest.mark.ray
@pytest.mark.cluster
def test_what_a_worker_raises_is_raised_here_as_it_was(ray_local, tmp_path):
    fault = Fault(kind="data_error", rank=1, epoch=1, step=2, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "job", fault=fault, config={"num_workers": 2})
    with pytest.raises(DataError) as caught:
        train(job)
    assert str(caught.value) == "row 7 of the tiny split is not a row"


@pytest.mark.ray
def test_no_secret_that_a_worker_prints_logs_or_raises_is_in_rays_logs(ray_local, tmp_path):
    fault = Fault(kind="leak", rank=1, epoch=0, step=2, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "job", fault=fault, config={"num_workers": 2})
    with pytest.raises(DataError, match=r"raised password=\*\*\*"):
        train(job)
    logs = Path(ray_local.address_info["session_dir"]) / "logs"

    def told(text: str) -> list[Path]:
        return [path for path in logs.rglob("*") if path.is_file() and text in path.read_text()]

    for way in ("printed", "logged", "raised"):
        assert told(f"{way} password=***")
    assert not told("hunter2-canary")


@pytest.mark.ray
def test_more_workers_than_cpus_is_known_at_once(ray_local, tmp_path):
    with pytest.raises(ValidationError, match="need 64 CPUs, but the Ray cluster has 2"):
        train(tiny_job(tmp_path, config={"num_workers": 16, "cpus_per_worker": 4}))


@pytest.mark.ray
@pytest.mark.cluster
def test_a_killed_worker_costs_no_loss_of_the_curve(ray_local, tmp_path):
    alone, events = train(tiny_job(tmp_path / "0"))
    fault = Fault(kind="kill", rank=1, epoch=1, step=5, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "2", fault=fault, config={"num_workers": 2, "max_failures": 1})
    result, told = train(job)
    assert [v.value for v in result.history] == pytest.approx(
        [v.value for v in alone.history], rel=1e-4
    )
    restart = next(i for i, e in enumerate(told) if isinstance(e, WarningEvent))
    assert losses(told[restart:]) == pytest.approx(losses(events)[7:], rel=1e-4)


@pytest.mark.ray
@pytest.mark.cluster
def test_a_killed_worker_without_max_failures_is_an_error_that_names_the_knob(ray_local, tmp_path):
    fault = Fault(kind="kill", rank=0, epoch=0, step=2, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "2", fault=fault, config={"num_workers": 2})
    with pytest.raises(TrainingError, match="max_failures"):
        train(job)


@pytest.mark.ray
@pytest.mark.cluster
def test_a_bug_in_a_worker_is_an_internal_error_with_its_place_and_is_not_tried_again(
    ray_local, tmp_path
):
    fault = Fault(kind="bug", rank=0, epoch=0, step=1, mark=tmp_path / "mark")
    job = tiny_job(tmp_path / "2", fault=fault, config={"num_workers": 2, "max_failures": 3})
    with pytest.raises(InternalError, match="ZeroDivisionError: a bug in the tiny") as caught:
        train(job)
    assert "strike" in str(caught.value)


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_worker_that_does_not_heed_the_wish_to_stop_ends(tmp_path, is_asked):
    code = f"""
import sys, time
from pathlib import Path
from rle.training import workers
from rle.training.relay import Relay
workers.GRACE_S = 0.1
relay = Relay(Path({str(tmp_path)!r}))
relay.clear()
with workers._ends_when_asked(relay):
    if {is_asked}:
        relay.ask_to_stop()
        time.sleep(600)
sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == (0 if is_asked else 7)


def test_a_worker_that_is_started_again_while_the_driver_leaves_does_nothing(tmp_path):
    job = tiny_job(tmp_path)
    relay = Relay(job.folder)
    relay.clear()
    relay.ask_to_stop()
    train_worker({"job_class": job.import_path, "job": job.to_json()})
    assert not relay.has_events


@pytest.mark.ray
@pytest.mark.cluster
def test_ctrl_c_stops_the_workers_and_leaves_a_checkpoint_to_continue_from(ray_local, tmp_path):
    job = tiny_job(tmp_path / "1", config={"num_workers": 1, "n_epochs": 5_000, "patience": 9_999})

    def interrupt(event) -> None:
        if isinstance(event, MetricEvent) and event.epoch and event.epoch > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(job, on_event=interrupt)
    (checkpoint,) = (job.folder / "checkpoints").iterdir()
    assert checkpoint.name.startswith("step-")
    assert not (job.folder / "result.json").exists()
    assert not [t for t in threading.enumerate() if t.name == "ray_train_fit"]
