"""The loop on a tiny model: the curve, validation, early stopping, restarts and failures."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rle.errors import DataError, InternalError, TrainingError
from rle.runs import stage
from rle.runs.events import MetricEvent, ProgressEvent, WarningEvent
from rle.spec.config import TrainerConfig
from rle.spec.metric import EvaluationMetric
from rle.testing.training import TinyJob
from rle.training.evaluate import evaluate
from rle.training.loop import fit
from rle.training.metrics import compute
from rle.training.ranks import Ranks
from rle.values import TaskType

CPU = Ranks(device=torch.device("cpu"))
AUROC = EvaluationMetric("roc_auc")


def tiny_config(**changes) -> TrainerConfig:
    base = {
        "connector": {"kind": "duckdb", "database": "unused.duckdb"},
        "device": "cpu",
        "n_epochs": 4,
        "train_batch_size": 32,
        "val_batch_size": 32,
        "lr": 0.02,
        "num_workers": 0,
    }
    return TrainerConfig(**base | changes)


def tiny_job(folder, *, config=None, **changes) -> TinyJob:
    return TinyJob(folder=folder, config=config or tiny_config(), metric=AUROC, **changes)


def run(job, **kwargs):
    """The report, the events and the states of a run."""
    events, states = [], []
    report = fit(
        job.build(CPU),
        job.config,
        job.metric,
        on_event=events.append,
        on_state=states.append,
        **kwargs,
    )
    return report, events, states


def losses(events) -> list[float]:
    return [e.loss for e in events if isinstance(e, ProgressEvent) and e.stage == "train"]


def numbers(events, name) -> list[float]:
    return [e.value for e in events if isinstance(e, MetricEvent) and e.name == name]


def test_training_learns_and_tells_every_step_and_validation(tmp_path):
    report, events, _ = run(tiny_job(tmp_path, config=tiny_config(n_epochs=8)))
    steps = [e for e in events if isinstance(e, ProgressEvent) and e.stage == "train"]
    assert [(e.epoch, e.step) for e in steps] == [(e, s) for e in range(1, 9) for s in range(1, 8)]
    assert {(e.num_epochs, e.num_steps) for e in steps} == {(8, 7)}
    assert steps[-1].loss < steps[6].loss
    assert report.best.value > 0.7
    assert numbers(events, "validation_roc_auc") == [v.value for v in report.history]
    assert len(numbers(events, "validation_loss")) == 8
    assert report.total_steps == 56


def test_a_validation_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "TELL_EVERY_S", 0.0)
    job = tiny_job(tmp_path, config=tiny_config(n_epochs=1))
    _, events, _ = run(job)
    steps = [e for e in events if isinstance(e, ProgressEvent) and e.stage == "validate"]
    num_steps = len(job.build(CPU).validator.loader)
    assert num_steps > 1
    assert [(e.step, e.num_steps) for e in steps] == [
        (step, num_steps) for step in range(1, num_steps + 1)
    ]
    assert events.index(steps[-1]) == len(events) - 3  # its loss and its metric follow


def test_the_told_training_loss_is_the_mean_of_the_steps_since(tmp_path):
    config = tiny_config(n_epochs=2, train_batch_size=5)  # 41 steps, told every 4
    _, events, _ = run(tiny_job(tmp_path, config=config))
    told = [e for e in events if isinstance(e, MetricEvent) and e.name == "training_loss"]
    sums = [e.loss * e.step for e in events if isinstance(e, ProgressEvent) and e.epoch == 1]
    assert [e.step for e in told[:11]] == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 41]
    assert told[0].value == pytest.approx(sums[3] / 4)
    assert told[1].value == pytest.approx((sums[7] - sums[3]) / 4)
    assert told[10].value == pytest.approx(sums[40] - sums[39])


def test_the_learning_rate_follows_a_cosine_in_fractions_of_an_epoch(tmp_path):
    _, events, _ = run(tiny_job(tmp_path, config=tiny_config(n_epochs=2, eta_min=0.001)))
    expected = [
        0.001 + (0.02 - 0.001) * (1 + math.cos(math.pi * step / 14)) / 2 for step in range(14)
    ]
    assert numbers(events, "learning_rate") == pytest.approx(expected)


def test_the_same_seed_gives_the_same_run_and_leaves_torch_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, events, _ = run(tiny_job(tmp_path))
    assert torch.equal(torch.rand(3), expected)
    second, again, _ = run(tiny_job(tmp_path))
    assert losses(events) == losses(again)
    assert all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights)


def test_batch_norm_statistics_belong_to_the_kept_weights(tmp_path):
    report, _, _ = run(tiny_job(tmp_path, batch_norm=True))
    assert {"norm.running_mean", "norm.running_var"} <= report.weights.keys()
    assert float(report.weights["norm.running_mean"].abs().sum()) > 0


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_kept_weights_give_the_best_validation_again(tmp_path, ema_decay):
    job = tiny_job(tmp_path, config=tiny_config(ema_decay=ema_decay), batch_norm=True)
    report, _, _ = run(job)
    parts = job.build(CPU)
    parts.model.load_state_dict(report.weights)
    found = evaluate(
        parts.model.eval(),
        parts.validator.loader,
        objective=parts.objective,
        num_rows=len(parts.validator.labels),
        move=parts.move,
        ranks=CPU,
    )
    value = compute(AUROC, parts.validator.task_type, found.scores, parts.validator.labels)
    assert value == report.best.value == max(v.value for v in report.history)
    assert found.loss == pytest.approx(report.best.loss)


def test_training_stops_when_validation_has_not_improved_for_patience(tmp_path):
    config = tiny_config(n_epochs=60, lr=0.2, patience=3)
    report, _, states = run(tiny_job(tmp_path, config=config))
    assert report.stopped_early
    assert len(report.history) < 60
    best = max(range(len(report.history)), key=lambda i: report.history[i].value)
    assert len(report.history) == best + 1 + 3
    over, events, _ = run(tiny_job(tmp_path, config=config), state=states[-1])
    assert not losses(events), "a run that stopped early does not go on"
    assert over.best == report.best


def test_a_metric_that_is_to_fall_keeps_its_smallest_value(tmp_path):
    job = tiny_job(tmp_path)
    parts, metric = job.build(CPU), EvaluationMetric("mae")
    validator = dataclasses.replace(parts.validator, metric=metric, task_type=TaskType.REGRESSION)
    parts = dataclasses.replace(parts, validator=validator)
    report = fit(parts, job.config, metric, on_event=lambda event: None)
    assert report.best.value == min(v.value for v in report.history)


@pytest.mark.parametrize("stop_at", range(6))
def test_a_restart_within_or_after_an_epoch_gives_the_same_curve(tmp_path, stop_at):
    config = tiny_config(n_epochs=3, evals_per_epoch=2)
    job = tiny_job(tmp_path, config=config, batch_norm=True)
    whole, events, states = run(job)
    assert [(s.position.epoch, s.position.step) for s in states] == [
        (0, 4),
        (1, 0),
        (1, 4),
        (2, 0),
        (2, 4),
        (3, 0),
    ]
    rest, later, _ = run(job, state=states[stop_at])
    done = states[stop_at].position.total_steps
    assert losses(later) == losses(events)[done:]
    assert rest.history == whole.history
    assert rest.total_steps == whole.total_steps
    assert all(torch.equal(rest.weights[k], whole.weights[k]) for k in whole.weights)
    assert any(isinstance(e, WarningEvent) and "continuing" in e.message for e in later)


def test_a_state_of_other_data_is_refused(tmp_path):
    _, _, states = run(tiny_job(tmp_path))
    with pytest.raises(TrainingError, match="another model, other data or another batch size"):
        run(tiny_job(tmp_path, num_train_rows=300), state=states[0])


def test_eval_every_and_checkpoint_every_count_epochs_and_the_last_is_never_left_out(tmp_path):
    config = tiny_config(n_epochs=5, eval_every=2, checkpoint_every=3)
    report, _, states = run(tiny_job(tmp_path, config=config))
    assert [v.epoch for v in report.history] == [2, 4, 5]
    assert [s.position.epoch for s in states] == [3, 5]


def test_a_loss_that_is_not_finite_is_an_error_that_names_epoch_and_step(tmp_path):
    job = tiny_job(tmp_path)
    parts = job.build(CPU)

    objective, calls = parts.objective, []

    class Diverging:
        def row_losses(self, outputs, labels):
            calls.append(1)  # 7 steps, then the second epoch
            return objective.row_losses(outputs, labels) / (0 if len(calls) == 9 else 1)

    parts = dataclasses.replace(parts, objective=Diverging())
    config = tiny_config(n_epochs=9, patience=9)
    with pytest.raises(
        TrainingError, match=r"loss became inf in epoch 2, step 2.*TrainerConfig.lr"
    ):
        fit(parts, config, AUROC, on_event=lambda event: None)


def test_an_undefined_metric_is_known_before_the_first_step(tmp_path):
    parts = tiny_job(tmp_path).build(CPU)
    validator = dataclasses.replace(parts.validator, labels=torch.zeros(101))
    parts = dataclasses.replace(parts, validator=validator)
    events = []
    with pytest.raises(DataError, match="roc_auc is undefined"):
        fit(parts, tiny_config(), AUROC, on_event=events.append)
    assert not events


def test_a_wish_to_stop_ends_the_run_like_ctrl_c(tmp_path):
    asked = []

    def third_time() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(KeyboardInterrupt):
        run(tiny_job(tmp_path), should_stop=third_time)
    assert len(asked) == 3


def test_a_loader_that_ends_early_is_our_bug(tmp_path):
    job = tiny_job(tmp_path)
    parts = job.build(CPU)

    class Short(type(parts.train_loader)):
        def __iter__(self):
            for step, batch in enumerate(super().__iter__()):
                if step == 3:
                    return
                yield batch

    parts.train_loader.__class__ = Short
    with pytest.raises(InternalError, match="ended after 3 of 7 steps"):
        fit(parts, job.config, AUROC, on_event=lambda event: None)


def test_the_number_of_threads_is_left_to_the_caller(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(tiny_job(tmp_path, config=tiny_config(n_epochs=1)))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(
                not torch.cuda.is_available(), reason="no GPU on this machine"
            ),
        ),
    ],
)
def test_a_gpu_gives_the_curve_of_the_cpu_to_bfloat16(tmp_path, device):
    config = tiny_config(evals_per_epoch=2)
    alone, events, states = run(tiny_job(tmp_path, config=config, batch_norm=True))
    job, told = tiny_job(tmp_path, config=config, batch_norm=True), []
    ranks = Ranks(device=torch.device(device))
    report = fit(job.build(ranks), config, AUROC, on_event=told.append, ranks=ranks)
    assert losses(told) == pytest.approx(losses(events), rel=2e-2)
    assert report.best.loss == pytest.approx(alone.best.loss, rel=5e-2)
    assert all(tensor.device.type == "cpu" for tensor in report.weights.values())
    rest = fit(job.build(ranks), config, AUROC, on_event=told.append, ranks=ranks, state=states[2])
    assert len(rest.history) == len(report.history)
