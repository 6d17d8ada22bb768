"""A training run as data: what a worker needs to rebuild everything by itself."""

from __future__ import annotations

import contextlib
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from rle.errors import InternalError
from rle.spec.config import TrainerConfig
from rle.spec.metric import EvaluationMetric
from rle.training.checkpoint import CheckpointStore, write_weights
from rle.training.loop import OnEvent, fit
from rle.training.state import Measured, Validation
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.training.protocols import Parts
    from rle.training.ranks import Ranks

CHECKPOINTS = "checkpoints"
WEIGHTS_FILE = "model.safetensors"
RESULT_FILE = "result.json"


class TrainingResult(Measured):
    """What a finished run left in its folder."""

    weights: Path
    """State dict of the best model, a safetensors file."""
    best: Validation
    history: tuple[Validation, ...]
    total_steps: int
    stopped_early: bool
    seconds: float
    """Wall time of training in the process of rank 0, since its last (re)start."""


class TrainingJob(Value, ABC):
    """A run that any process can carry out from this value and the files it names.

    Subclasses add paths and specs, never data, and live at the top level of a module.
    """

    folder: Annotated[Path, AfterValidator(Path.absolute)]
    """The run's own folder, on storage that every worker sees. A run with the same folder
    continues from the checkpoint it finds there."""
    config: TrainerConfig
    metric: EvaluationMetric

    def prepare(self) -> tuple[str, ...]:
        """Write what workers would otherwise each have to read; called once, by the driver.

        Returns:
            What the user should know about it.
        """
        return ()

    @abstractmethod
    def build(self, ranks: Ranks) -> Parts:
        """Open the data and make the model on `ranks.device`, alike on every rank."""

    @property
    def import_path(self) -> str:
        """Where a worker finds this class: "package.module:Class"."""
        return f"{type(self).__module__}:{type(self).__qualname__}"


def job_from(import_path: str, text: str) -> TrainingJob:
    """The job that `text` (JSON) describes, of the class at `import_path`."""
    cls = pkgutil.resolve_name(import_path)
    if not (isinstance(cls, type) and issubclass(cls, TrainingJob)):
        raise InternalError(f"{import_path} is not a TrainingJob.")
    return cls.from_json(text)


def carry_out(
    job: TrainingJob,
    ranks: Ranks,
    *,
    on_event: OnEvent,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Build, continue from the newest checkpoint if there is one, train, and write the result.

    Every rank calls this; rank 0 writes `WEIGHTS_FILE` and `RESULT_FILE` into the job's folder.
    """
    store = CheckpointStore(job.folder / CHECKPOINTS)
    parts = job.build(ranks)
    with contextlib.ExitStack() as stack:
        stack.callback(parts.train_loader.close)
        stack.callback(parts.validator.close)
        # All ranks continue from what rank 0 sees, even if a write is just becoming visible.
        (step,) = ranks.agree([float((store.steps() or [-1])[-1])])
        report = fit(
            parts,
            job.config,
            job.metric,
            on_event=on_event,
            state=None if step < 0 else store.load(int(step)),
            on_state=store.save,
            ranks=ranks,
            should_stop=should_stop,
        )
    if ranks.rank == 0:
        weights = job.folder / WEIGHTS_FILE
        write_weights(weights, report.weights)
        result = TrainingResult(
            weights=weights,
            best=report.best,
            history=report.history,
            total_steps=report.total_steps,
            stopped_early=report.stopped_early,
            seconds=report.seconds,
        )
        (job.folder / RESULT_FILE).write_text(result.to_json(indent=2), encoding="utf-8")
