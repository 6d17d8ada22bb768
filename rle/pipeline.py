"""The spine: from tables to a trained model to a prediction table. Every stage, once, in order."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

from rle.errors import ValidationError
from rle.graph.build import build_snapshot
from rle.graph.task import read_split
from rle.inference.export import plan_outputs
from rle.inference.model_folder import ModelManifest, load_model, save_model
from rle.inference.write import PredictionResult, write_predictions
from rle.model.spec import ModelSpec
from rle.runs.curve import draw_curve
from rle.runs.events import (
    ArtifactEvent,
    EventLog,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    WarningEvent,
    metric_name,
    read_events,
)
from rle.runs.folders import model_folder, run_folder, snapshots_folder
from rle.runs.machine import describe_machine
from rle.runs.progress import as_text, say_warning
from rle.runs.run import recorded
from rle.runs.tracking import Tracker
from rle.spec.config import TrainerConfig
from rle.spec.dataset import DatasetSpec
from rle.spec.trained import as_trained
from rle.training.checkpoint import read_weights
from rle.training.device import check_device
from rle.training.node_job import NodeTrainingJob, known_rows
from rle.training.preflight import check_before_prediction, check_before_training
from rle.training.state import Measured
from rle.training.threads import torch_threads
from rle.training.workers import run_training
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rle.graph.snapshot import Snapshot
    from rle.inference.export import OutputPlan
    from rle.ingest.labels import LabelCodec
    from rle.runs.events import AnyEvent
    from rle.spec.output import OutputConfig

    OnEvent = Callable[[AnyEvent], None]


class HasSpec(Protocol):
    """A dataset as users hold it: `rle.Dataset`."""

    @property
    def spec(self) -> DatasetSpec:
        """What crosses processes and files."""


class FitResult(Measured):
    """What a training run left behind."""

    model_run_id: str
    """Names the run in MLflow and its folder."""
    model_folder: Path
    """model.json and weights.safetensors: all that prediction needs beside the tables."""
    metric: str
    validation: float
    """The evaluation metric of the kept weights on the validation split."""
    validation_loss: float
    best_epoch: int
    num_validations: int
    stopped_early: bool
    training_seconds: float
    training_curve: Path
    """PNG of losses and metric over epochs."""
    snapshot: Path
    """Folder of the graph it was trained on."""


class FitPredictResult(Measured):
    """What training and predicting in one run left behind."""

    fit: FitResult
    prediction: PredictionResult


@dataclass(frozen=True, slots=True)
class _Run:
    """One run under way."""

    id: str
    folder: Path
    tell: EventLog
    tracker: Tracker


def fit(
    dataset: DatasetSpec | HasSpec, config: TrainerConfig, *, on_event: OnEvent | None = None
) -> FitResult:
    """Train on the train split, keep the weights that are best on the validation split.

    Args:
        dataset: Tables and a node task with train and validation tables.
        config: How.
        on_event: Told of everything that happens, in this thread. None: warnings are printed.

    Raises:
        RLEError: Something is wrong; most of it is found before any long work.
        KeyboardInterrupt: Ctrl-C. Nothing is half-written.
    """
    spec = _spec_of(dataset)
    _check_config(config)
    codec, warnings = check_before_training(spec, config, needs_test=False)
    with _run(spec, config, on_event, job="train") as run:
        return _train(spec, config, codec, warnings, run)


def fit_predict(
    dataset: DatasetSpec | HasSpec,
    config: TrainerConfig,
    *,
    output_alias: str,
    output_config: OutputConfig,
    test_batch_size: int = 128,
    extract_embeddings: bool = False,
    on_event: OnEvent | None = None,
) -> FitPredictResult:
    """Train, then predict the test split into tables, in one run. See `fit` and `predict`."""
    spec = _spec_of(dataset)
    _check_config(config)
    _check_batch_size(test_batch_size)
    plan = _plan(spec, config, output_alias, output_config, embed=extract_embeddings)
    codec, warnings = check_before_training(spec, config, needs_test=True)
    with _run(spec, config, on_event, job="train_inference") as run:
        trained = _train(spec, config, codec, warnings, run)
        predicted = _predict(trained.model_folder, spec, plan, test_batch_size, run.tell)
        for name, value in predicted.test_metrics.items():
            run.tell(MetricEvent(name=metric_name(Split.TEST, name), value=value, step=0))
        run.tracker.tag("rle.predictions", plan.predictions)
    return FitPredictResult(fit=trained, prediction=predicted)


def predict(
    dataset: DatasetSpec | HasSpec,
    *,
    model_run_id: str,
    output_alias: str,
    output_config: OutputConfig,
    test_batch_size: int = 128,
    extract_embeddings: bool = False,
    on_event: OnEvent | None = None,
) -> PredictionResult:
    """Predict the test split with a trained model.

    Args:
        dataset: The tables as they are now, and a task with a test table.
        model_run_id: Of the run that trained the model; its folder is in this home.
        output_alias: End of the tables' names: PREDICTIONS_<ALIAS>.
        output_config: Where the tables go. Nothing there is ever overwritten.
        test_batch_size: Rows per step; changes speed and memory only.
        extract_embeddings: Whether EMBEDDINGS_<COLUMN>_<ALIAS> is written too.
        on_event: Told of everything that happens, in this thread. None: warnings are printed.

    Raises:
        OutputExistsError: The alias is taken; nothing was read.
        RLEError: Something else is wrong; no table is left behind.
    """
    spec = _spec_of(dataset)
    _check_batch_size(test_batch_size)
    folder = model_folder(model_run_id)
    manifest, _ = load_model(folder)
    plan = _plan(spec, manifest.config, output_alias, output_config, embed=extract_embeddings)
    codec = manifest.model.labels
    spec, _ = as_trained(spec, manifest.dataset)
    check_before_prediction(spec, manifest.config, codec=codec)
    place = run_folder(model_run_id) / f"predict_{output_alias.upper()}"
    listeners = (on_event or say_warning,)
    with recorded(place, listeners=listeners, message=f"predicting with {model_run_id}") as tell:
        return _predict(folder, spec, plan, test_batch_size, tell)


def _spec_of(dataset: DatasetSpec | HasSpec) -> DatasetSpec:
    spec = dataset if isinstance(dataset, DatasetSpec) else getattr(dataset, "spec", None)
    if not isinstance(spec, DatasetSpec):
        raise ValidationError(f"dataset must be an rle.Dataset, not {type(dataset).__name__}.")
    return spec


def _check_config(config: TrainerConfig) -> None:
    if not isinstance(config, TrainerConfig):
        raise ValidationError(f"config must be a TrainerConfig, not {type(config).__name__}.")


def _check_batch_size(test_batch_size: int) -> None:
    if not isinstance(test_batch_size, int) or test_batch_size < 1:
        raise ValidationError(f"test_batch_size must be 1 or more, not {test_batch_size!r}.")


def _train(
    spec: DatasetSpec,
    config: TrainerConfig,
    codec: LabelCodec,
    warnings: Sequence[str],
    run: _Run,
) -> FitResult:
    for warning in warnings:
        run.tell(WarningEvent(message=warning))
    snapshot = _build(spec, config, run.tell)
    model = _model_spec(spec, config, codec, snapshot, run.tell)
    metric = spec.task.metric
    assert snapshot.path is not None
    job = NodeTrainingJob(
        folder=run.folder / "training",
        config=config,
        metric=metric,
        dataset=spec,
        snapshot=snapshot.path,
        model=model,
    )
    with torch_threads(config):
        trained = run_training(job, on_event=run.tell)
    manifest = ModelManifest(model_run_id=run.id, model=model, dataset=spec, config=config)
    folder = save_model(model_folder(run.id), manifest, read_weights(trained.weights))
    curve = draw_curve(
        read_events(run.tell.path),
        run.folder / "training_curve.png",
        metric=metric,
        title=spec.experiment_name,
    )
    run.tracker.log_file(curve)
    run.tracker.log_model(folder, spec_version=str(manifest.format))
    run.tell(ArtifactEvent(name="model", location=str(folder)))
    run.tell(ArtifactEvent(name="training_curve", location=str(curve)))
    return FitResult(
        model_run_id=run.id,
        model_folder=folder,
        metric=metric.name,
        validation=trained.best.value,
        validation_loss=trained.best.loss,
        best_epoch=trained.best.epoch,
        num_validations=len(trained.history),
        stopped_early=trained.stopped_early,
        training_seconds=trained.seconds,
        training_curve=curve,
        snapshot=snapshot.path,
    )


def _predict(
    folder: Path, spec: DatasetSpec, plan: OutputPlan, batch_size: int, tell: OnEvent
) -> PredictionResult:
    manifest, model = load_model(folder)
    config = manifest.config
    snapshot = _build(spec, config, tell)
    with torch_threads(config):
        return write_predictions(
            model,
            snapshot,
            spec,
            config,
            plan=plan,
            batch_size=batch_size,
            device=check_device(config),
            on_event=tell,
        )


def _build(spec: DatasetSpec, config: TrainerConfig, tell: OnEvent) -> Snapshot:
    """Return the graph of the tables as they are now; milliseconds where nothing has changed."""
    return build_snapshot(
        spec,
        folder=snapshots_folder(),
        text_embedder=config.text_embedder,
        num_workers=config.num_workers,
        on_progress=lambda stage, n, of: tell(ProgressEvent(stage=stage, step=n, num_steps=of)),
        inherit_links=config.inherit_links,
    )


def _model_spec(
    spec: DatasetSpec,
    config: TrainerConfig,
    codec: LabelCodec,
    snapshot: Snapshot,
    tell: OnEvent,
) -> ModelSpec:
    """Describe the model, its statistics taken from the rows that training may see."""
    tell(ReportEvent(name="snapshot", text=as_text(snapshot.report.render())))
    for warning in snapshot.report.warnings():
        tell(WarningEvent(message=warning))
    train = known_rows(read_split(spec.connector, spec, Split.TRAIN, snapshot, None))
    return ModelSpec.from_config(
        config,
        graph=snapshot.schema,
        stats=snapshot.stats(until=int(train.times.max())),
        entity_table=spec.entities[0][0],
        labels=codec,
        metric=spec.task.metric.name,
    )


def _plan(
    spec: DatasetSpec, config: TrainerConfig, alias: str, output: OutputConfig, *, embed: bool
) -> OutputPlan:
    return plan_outputs(
        output,
        config.connector,
        alias=alias,
        entity_columns=[column for _, _, column, _ in spec.entities],
        extract_embeddings=embed,
    )


@contextmanager
def _run(
    spec: DatasetSpec, config: TrainerConfig, on_event: OnEvent | None, *, job: str
) -> Iterator[_Run]:
    """Open a run in MLflow and its folder, and end both as the block ends."""
    tracker = Tracker(
        spec.experiment_name,
        params=config.model_dump(mode="json"),
        tags={"rle.job": job, "rle.dataset": spec.name, "rle.task": spec.task.name},
    )
    folder = run_folder(tracker.run_id)
    listeners = (tracker, on_event or say_warning)
    message = f"{spec.experiment_name}, run {tracker.run_id}"
    with recorded(folder, listeners=listeners, message=message) as log:
        tracker.log_text(
            "dataset_config.yaml",
            yaml.safe_dump(
                {"experiment_name": spec.experiment_name} | spec.model_dump(mode="json"),
                sort_keys=False,
            ),
        )
        tracker.log_text("system_config.yaml", yaml.safe_dump(describe_machine(), sort_keys=False))
        yield _Run(tracker.run_id, folder, log, tracker)
