"""The training loop in plain torch: it runs in a debugger and where there is no Ray.

Read `fit`, then `_Run.train_epoch`. Every rank runs the same code on its share of each global
batch; what a step does depends on (seed, epoch, step) alone, so a run that is continued from a
`TrainState` gives the curve it would have given.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from rle.errors import InternalError, TrainingError
from rle.runs.events import (
    LEARNING_RATE,
    TRAINING_LOSS,
    VALIDATION_LOSS,
    AnyEvent,
    MetricEvent,
    ProgressEvent,
    WarningEvent,
    metric_name,
)
from rle.runs.stage import StageProgress
from rle.training.evaluate import autocast
from rle.training.flat import FlatModel
from rle.training.optimiser import Optimiser
from rle.training.prefetch import Prefetcher
from rle.training.ranks import Ranks
from rle.training.readout import Readout, StepResult
from rle.training.schedule import Schedule
from rle.training.state import FitReport, Position, TrainState, Validation
from rle.values import Split

if TYPE_CHECKING:
    from rle.spec.config import TrainerConfig
    from rle.spec.metric import EvaluationMetric
    from rle.training.protocols import DeviceBatch, Parts

OnEvent = Callable[[AnyEvent], None]


def fit(
    parts: Parts,
    config: TrainerConfig,
    metric: EvaluationMetric,
    *,
    on_event: OnEvent,
    state: TrainState | None = None,
    on_state: Callable[[TrainState], object] | None = None,
    ranks: Ranks | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FitReport:
    """Train until the epochs are over or validation has stopped improving.

    Args:
        parts: Model, objective, loader and validator of this rank. The last two are left open.
        config: Epochs, learning rate, patience and the other knobs of the loop.
        metric: Chooses the best weights.
        on_event: Called on rank 0 only, in this thread, for every step and validation,
            and now and then while validating.
        state: Where to continue; None: from the start.
        on_state: Called on rank 0 only with what a restart needs, every `checkpoint_every` epochs.
        ranks: The other processes. None: there are none, and the model's device is used.
        should_stop: Asked on every step; if any rank says yes, all stop after the same step.

    Raises:
        DataError: The metric is undefined for the validation labels; nothing was trained.
        TrainingError: The loss is not finite, memory ran out, or `state` is of another model.
        KeyboardInterrupt: Ctrl-C, or `should_stop`.
    """
    ranks = ranks or Ranks(device=next(parts.model.parameters()).device)
    remarks = parts.validator.remarks()
    remarks = (*parts.remarks, *remarks) if state is None else ()
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    # Every step seeds torch anew; the caller's own stream of random numbers stays as it was.
    with torch.random.fork_rng(devices=devices):
        run = _Run(parts, config, metric, ranks, on_event, on_state, should_stop)
        for remark in remarks:
            run.tell(WarningEvent(message=remark))
        run.start(state)
        try:
            while not run.is_over:
                run.train_epoch()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                "The GPU ran out of memory. Lower TrainerConfig.train_batch_size, val_batch_size, "
                f"fanouts or channels, or use a larger GPU. ({str(error).splitlines()[0]})"
            ) from error
        return run.report()


class _Run:
    """What changes while training: weights, moments, position, the best so far."""

    def __init__(
        self,
        parts: Parts,
        config: TrainerConfig,
        metric: EvaluationMetric,
        ranks: Ranks,
        on_event: OnEvent,
        on_state: Callable[[TrainState], object] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._parts, self._config, self._metric, self._ranks = parts, config, metric, ranks
        self._on_event, self._on_state, self._should_stop = on_event, on_state, should_stop
        num_steps = len(parts.train_loader)
        self._schedule = Schedule.of(config, num_steps)
        self._flat = FlatModel(parts.model, averaged=config.ema_decay is not None)
        self._optimiser = Optimiser(self._flat, ranks, weight_decay=config.weight_decay)
        self._at = Position(num_steps=num_steps, layout=self._flat.layout)
        self._epoch = self._step = self._total_steps = 0
        self._best: dict[str, torch.Tensor] = {}
        self._readout = Readout(ranks.device)
        self._started = time.monotonic()

    @property
    def is_over(self) -> bool:
        return self._at.stopped_early or self._epoch >= self._config.n_epochs

    def tell(self, event: AnyEvent) -> None:
        if self._ranks.rank == 0:
            self._on_event(event)

    def start(self, state: TrainState | None) -> None:
        """Take over `state`, and make every rank hold what rank 0 holds."""
        if state is not None:
            self._load(state)
            self.tell(
                WarningEvent(
                    message=f"continuing in epoch {self._epoch + 1} after step {self._step} "
                    f"of {self._at.num_steps}"
                )
            )
        for tensor in (self._flat.weights.data, *self._flat.buffers().values()):
            self._ranks.broadcast_(tensor)
        if state is None and self._flat.average is not None:
            self._flat.average.copy_(self._flat.weights.data)

    def train_epoch(self) -> None:
        """Train from the position to the end of its epoch, or until validation says stop."""
        epoch, loader = self._epoch, self._parts.train_loader
        if self._step:
            loader.load_state_dict({"epoch": epoch, "step": self._step})
        else:
            loader.set_epoch(epoch)
        self._parts.model.train()
        self._readout.restart_clock()
        source = Prefetcher(iter(loader), self._parts.move, self._ranks.device)
        with contextlib.closing(iter(source)) as batches:
            for batch in batches:
                self._train_step(batch)
                due = self._schedule.due_after(epoch, self._step)
                if self._step == self._at.num_steps:
                    self._epoch, self._step = epoch + 1, 0
                if due.validate:
                    self._validate(epoch)
                if due.save or self._at.stopped_early:
                    self._save()
                if self._at.stopped_early or self._epoch > epoch:
                    return
        raise InternalError(
            f"The training loader ended after {self._step} of {self._at.num_steps} steps."
        )

    def _train_step(self, batch: DeviceBatch) -> None:
        lr = self._schedule.lr_at(self._epoch, self._step)
        torch.manual_seed(_step_seed(self._config.seed, self._epoch, self._step))
        with autocast(self._ranks.device):
            outputs = self._parts.model(batch)
        if batch.labels is None:
            raise InternalError("A training batch has no labels.")
        losses = self._parts.objective.row_losses(outputs.float(), batch.labels)
        wish = self._should_stop is not None and self._should_stop()
        told = self._optimiser.step(losses, batch.weights, lr=lr, wish=wish)
        self._flat.update_average(self._schedule.ema_decay_at(self._total_steps))
        self._step += 1
        self._total_steps += 1
        for result in self._readout.push(self._epoch, self._step, lr, told):
            self._heed(result)

    def _heed(self, result: StepResult) -> None:
        """Look at a finished step: raise if it went wrong, else tell."""
        result.raise_if_not_finite()
        if result.num_wishes:
            raise KeyboardInterrupt
        at, step, loss = self._at, result.step, result.loss
        epoch_loss = loss + (at.epoch_loss if step > 1 else 0.0)
        recent, num_recent = at.recent_loss + loss, at.num_recent + 1
        self.tell(
            ProgressEvent(
                stage="train",
                step=step,
                num_steps=at.num_steps,
                epoch=result.epoch + 1,
                num_epochs=self._config.n_epochs,
                loss=epoch_loss / step,
                detail=f"{result.seeds_per_s:,.0f} seeds/s",
            )
        )
        if self._schedule.tells_loss_after(step):
            total = result.epoch * at.num_steps + step
            self._tell_number(TRAINING_LOSS, recent / num_recent, total)
            self._tell_number(LEARNING_RATE, result.lr, total)
            recent, num_recent = 0.0, 0
        self._at = at.model_copy(
            update={"epoch_loss": epoch_loss, "recent_loss": recent, "num_recent": num_recent}
        )

    def _tell_number(self, name: str, value: float, total_steps: int) -> None:
        epoch = total_steps / self._at.num_steps
        self.tell(MetricEvent(name=name, value=value, step=total_steps, epoch=epoch))

    def _validate(self, epoch: int) -> None:
        for result in self._readout.drain():
            self._heed(result)
        parts = self._parts
        with self._flat.evaluating():
            value, loss = parts.validator(
                parts.model, ranks=self._ranks, on_step=StageProgress("validate", self.tell)
            )
        # The ranks must decide alike, so they decide on the same numbers.
        value, loss = self._ranks.agree([value, loss])
        self._judge(epoch, value, loss)
        parts.model.train()
        self._readout.restart_clock()

    def _judge(self, epoch: int, value: float, loss: float) -> None:
        """Keep the weights if they are the best, and decide whether to stop."""
        at = self._at
        is_best = at.best is None or self._metric.is_better(value, at.best.value)
        found = Validation(
            epoch=epoch + 1,
            step=self._step or at.num_steps,
            total_steps=self._total_steps,
            value=value,
            loss=loss,
        )
        num_bad = 0 if is_best else at.num_bad + 1
        self._at = at.model_copy(
            update={
                "num_bad": num_bad,
                "stopped_early": num_bad >= self._schedule.patience,
                "best": found if is_best else at.best,
                "history": (*at.history, found),
            }
        )
        if is_best:
            buffers = {f"best_buffer.{k}": v.clone() for k, v in self._flat.buffers().items()}
            self._best = {"best": self._flat.kept().detach().clone(), **buffers}
        self._tell_number(VALIDATION_LOSS, loss, self._total_steps)
        self._tell_number(
            metric_name(Split.VALIDATION, self._metric.name), value, self._total_steps
        )

    def _save(self) -> None:
        if self._on_state is None:
            return
        for result in self._readout.drain():
            self._heed(result)
        if self._ranks.rank == 0:
            self._on_state(self.state())

    def state(self) -> TrainState:
        """What a restart needs, as it is now."""
        flat = self._flat
        position = self._at.model_copy(
            update={"epoch": self._epoch, "step": self._step, "total_steps": self._total_steps}
        )
        tensors = {"weights": flat.weights.data, **self._optimiser.moments(), **self._best}
        if flat.average is not None:
            tensors["average"] = flat.average
        tensors |= {f"buffer.{name}": tensor for name, tensor in flat.buffers().items()}
        copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        return TrainState(position=position, tensors=copies)

    def _load(self, state: TrainState) -> None:
        at, tensors = state.position, state.tensors
        if (at.layout, at.num_steps) != (self._flat.layout, self._at.num_steps):
            raise TrainingError(
                "The checkpoint to continue from belongs to another model, other data or another "
                "batch size. Continue with the same dataset and TrainerConfig, or start a new run."
            )
        self._at = at
        self._epoch, self._step, self._total_steps = at.epoch, at.step, at.total_steps
        self._flat.weights.data.copy_(tensors["weights"])
        if self._flat.average is not None:
            self._flat.average.copy_(tensors.get("average", tensors["weights"]))
        self._flat.load_buffers(_under("buffer.", tensors))
        self._optimiser.load_moments(tensors)
        device = self._ranks.device
        self._best = {k: v.to(device) for k, v in tensors.items() if k.startswith("best")}

    def report(self) -> FitReport:
        at = self._at
        if at.best is None:
            raise InternalError("A run ended without a validation.")
        weights = self._flat.state_dict_of(self._best["best"], _under("best_buffer.", self._best))
        return FitReport(
            best=at.best,
            history=at.history,
            weights=weights,
            total_steps=self._total_steps,
            stopped_early=at.stopped_early,
            seconds=time.monotonic() - self._started,
        )


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose name begins with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _step_seed(seed: int, epoch: int, step: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{epoch}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
