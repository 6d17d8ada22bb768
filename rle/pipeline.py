"""The spine: from tables to a trained model to a prediction table. Every stage, once, in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rle.baseline.beside import Beside
from rle.baseline.kept import load_trees
from rle.baseline.report import BaselineReport
from rle.baseline.stack import StackReport
from rle.errors import ValidationError
from rle.graph.build import build_snapshot
from rle.inference.keep import kept_plan
from rle.inference.model_folder import ModelManifest, load_model, save_model
from rle.inference.plan import check_output, plan_request
from rle.inference.prepare import prepare
from rle.inference.write import PredictionResult, write_predictions
from rle.runs.curve import draw_curve
from rle.runs.events import (
    ArtifactEvent,
    MetricEvent,
    ProgressEvent,
    ReportEvent,
    WarningEvent,
    best_metric_name,
    metric_name,
    read_events,
)
from rle.runs.folders import model_folder, run_folder, snapshots_folder
from rle.runs.job_records import EXPORTS_TAG
from rle.runs.progress import as_text, say_warning
from rle.runs.run import recorded
from rle.runs.tracked import TrackedRun, tracked
from rle.runs.tracking import EVAL_AT_K_TAG, METRIC_TAG
from rle.spec.config import TrainerConfig
from rle.spec.dataset import spec_of
from rle.spec.predict_request import OutputRequest, PredictRequest
from rle.training.checkpoint import read_weights
from rle.training.device import check_device
from rle.training.jobs import make_job
from rle.training.preflight import check_before_training
from rle.training.state import Measured
from rle.training.threads import torch_threads
from rle.training.workers import run_training
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rle.graph.snapshot import Snapshot
    from rle.inference.export import OutputPlan
    from rle.ingest.labels import LabelCodec
    from rle.runs.events import AnyEvent
    from rle.runs.job_records import JobMark
    from rle.spec.dataset import DatasetSpec, HasSpec
    from rle.spec.metric import EvaluationMetric
    from rle.spec.output import OutputConfig
    from rle.training.state import Validation

    OnEvent = Callable[[AnyEvent], None]


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
    baseline: BaselineReport | None = None
    """What LightGBM reaches on the same rows; None where it was not asked for."""
    stack: StackReport | None = None
    """What model and baseline reach together, and which of them the saved model predicts with; None
    where it was not asked for, or could not be measured."""


class FitPredictResult(Measured):
    """What training and predicting in one run left behind."""

    fit: FitResult
    prediction: PredictionResult


def fit(
    dataset: DatasetSpec | HasSpec,
    config: TrainerConfig,
    *,
    baseline: bool = False,
    stack: bool = False,
    on_event: OnEvent | None = None,
    job: JobMark | None = None,
) -> FitResult:
    """Train on the train split, keep the weights that are best on the validation split.

    Args:
        dataset: Tables and a task with train and validation tables.
        config: How.
        baseline: Whether LightGBM on automatic aggregates is measured beside the model, and which
            of the two is better is said; see docs/baseline.md.
        stack: Whether model and baseline are joined too: blended, and corrected by trees that read
            the model's vectors, all learnt from validation rows. What is best there is what the
            saved model predicts with. Implies `baseline`.
        on_event: Told of everything that happens, in this thread. None: warnings are printed.
        job: What the run in MLflow is marked with where this is the work of a job.

    Raises:
        RLEError: Something is wrong; most of it is found before any long work.
        KeyboardInterrupt: Ctrl-C. Nothing is half-written.
    """
    spec = spec_of(dataset)
    _check_config(config)
    beside = Beside(spec, baseline=baseline, stack=stack)
    beside.check()
    codec, warnings = check_before_training(spec, config, needs_test=False)
    params = config.model_dump(mode="json")
    with tracked(spec, params=params, kind="train", on_event=on_event, job=job) as run:
        return _train(spec, config, codec, warnings, run, beside)


def fit_predict(
    dataset: DatasetSpec | HasSpec,
    config: TrainerConfig,
    *,
    output_alias: str,
    output_config: OutputConfig,
    test_batch_size: int = 128,
    extract_embeddings: bool = False,
    flatten_output: bool = False,
    compute_test_metrics: bool = False,
    overwrite_results: bool = False,
    baseline: bool = False,
    stack: bool = False,
    keep_in: Path | None = None,
    on_event: OnEvent | None = None,
    job: JobMark | None = None,
) -> FitPredictResult:
    """Train, then predict the test split into tables, in one run. See `fit` and `predict`."""
    spec = spec_of(dataset)
    _check_config(config)
    request = OutputRequest(
        output_alias=output_alias,
        output_config=output_config,
        test_batch_size=test_batch_size,
        extract_embeddings=extract_embeddings,
        flatten_output=flatten_output,
        compute_test_metrics=compute_test_metrics,
        overwrite_results=overwrite_results,
    )
    plan = plan_request(request, spec, config.connector)
    beside = Beside(spec, baseline=baseline, stack=stack)
    beside.check()
    codec, warnings = check_before_training(spec, config, needs_test=True)
    check_output(request, spec)
    if keep_in is not None:
        plan = kept_plan(plan, output_config, config.connector, keep_in)
    params = config.model_dump(mode="json")
    with tracked(spec, params=params, kind="train_inference", on_event=on_event, job=job) as run:
        trained = _train(spec, config, codec, warnings, run, beside)
        predicted = _predict(trained.model_folder, spec, plan, request, run.tell)
        for name, value in predicted.test_metrics.items():
            run.tell(MetricEvent(name=metric_name(Split.TEST, name), value=value, step=0))
        if keep_in is None:
            run.tracker.tag("rle.predictions", plan.predictions)
            run.tracker.tag(EXPORTS_TAG, json.dumps(predicted.export_paths))
    return FitPredictResult(fit=trained, prediction=predicted)


def predict(
    dataset: DatasetSpec | HasSpec | None = None,
    *,
    output_alias: str,
    output_config: OutputConfig,
    test_batch_size: int = 128,
    experiment_name: str | None = None,
    test_table: str | None = None,
    model_run_id: str | None = None,
    registered_model_name: str | None = None,
    version: str | int | None = None,
    model_selection_strategy: Literal["best"] | None = None,
    select_best_model: bool = False,
    evaluation_metric: EvaluationMetric | None = None,
    extract_embeddings: bool = False,
    flatten_output: bool = False,
    compute_test_metrics: bool = False,
    overwrite_results: bool = False,
    align_dtypes: bool = False,
    keep_in: Path | None = None,
    on_event: OnEvent | None = None,
) -> PredictionResult:
    """Predict a test table with a trained model.

    The rows are those of `dataset`'s test table, or, by `experiment_name`, of `test_table` with
    the tables of the dataset that the model was trained on. The model is named in one of three
    ways: `model_run_id`; `registered_model_name` with `version`; or as the best of the experiment.
    docs/models.md shows each.

    Args:
        dataset: The tables as they are now, and a task with a test table.
        output_alias: End of the tables' names: PREDICTIONS_<ALIAS>.
        output_config: Where the tables go. Nothing there is overwritten unless asked for.
        test_batch_size: Rows per step; changes speed and memory only.
        experiment_name: "dataset/task_type/task", instead of a dataset.
        test_table: With `experiment_name`: table with the task's entity and time columns.
        model_run_id: Of the run that trained the model.
        registered_model_name: Name in MLflow's model registry.
        version: Its version, "1" for the first.
        model_selection_strategy: "best": the finished run with the best validation value.
        select_best_model: The same as model_selection_strategy="best".
        evaluation_metric: What "best" looks at; the task's metric where a dataset is given.
        extract_embeddings: Whether EMBEDDINGS_<COLUMN>_<ALIAS> is written too, per entity column.
        flatten_output: Whether a list of classes or entities becomes one row per item with its
            score.
        compute_test_metrics: Whether predictions are measured against the test table's labels.
        overwrite_results: Whether older tables of this alias are replaced, all at once.
        align_dtypes: Whether columns of another dtype than in training are read as in training.
        keep_in: Folder where the predictions are kept as files, so that `rle.inference.keep` can
            make the tables later. None: the tables are made now.
        on_event: Told of everything that happens, in this thread. None: warnings are printed.

    Raises:
        ValidationError: Arguments contradict each other, or there is no model, experiment, table or
            column of that name (UnknownNameError); nothing was read.
        DatasetMismatchError: The dataset is not the one the model was trained on; carries JSON.
        OutputExistsError: The alias is taken.
        RLEError: Something else is wrong; no table is left behind.
    """
    request = PredictRequest(
        output_alias=output_alias,
        output_config=output_config,
        test_batch_size=test_batch_size,
        dataset=None if dataset is None else spec_of(dataset),
        experiment_name=experiment_name,
        test_table=test_table,
        model_run_id=model_run_id,
        registered_model_name=registered_model_name,
        version=version,
        model_selection_strategy=model_selection_strategy,
        select_best_model=select_best_model,
        evaluation_metric=evaluation_metric,
        extract_embeddings=extract_embeddings,
        flatten_output=flatten_output,
        compute_test_metrics=compute_test_metrics,
        overwrite_results=overwrite_results,
        align_dtypes=align_dtypes,
    )
    ready = prepare(request)
    plan = ready.plan
    if keep_in is not None:
        plan = kept_plan(plan, output_config, ready.dataset.connector, keep_in)
    place = run_folder(ready.manifest.model_run_id) / f"predict_{output_alias.upper()}"
    listeners = (on_event or say_warning,)
    with recorded(place, listeners=listeners, message=f"predicting with {ready.chosen}") as tell:
        for warning in ready.warnings:
            tell(WarningEvent(message=warning))
        return _predict(ready.folder, ready.dataset, plan, request, tell)


def _check_config(config: TrainerConfig) -> None:
    if not isinstance(config, TrainerConfig):
        raise ValidationError(f"config must be a TrainerConfig, not {type(config).__name__}.")


def _train(
    spec: DatasetSpec,
    config: TrainerConfig,
    codec: LabelCodec | None,
    warnings: Sequence[str],
    run: TrackedRun,
    beside: Beside,
) -> FitResult:
    for warning in warnings:
        run.tell(WarningEvent(message=warning))
    snapshot = _build(spec, config, run.tell)
    _report(snapshot, run.tell)
    rival = beside.measure(snapshot, codec, config, run.tell)
    job = make_job(spec, config, snapshot, labels=codec, folder=run.folder / "training")
    metric = spec.task.metric
    with torch_threads(config):
        trained = run_training(job, on_event=run.tell)
    manifest = ModelManifest(model_run_id=run.id, model=job.model, dataset=spec, config=config)
    folder = save_model(model_folder(run.id), manifest, read_weights(trained.weights))
    stacked = beside.conclude(rival, folder, snapshot, validation=trained.best.value, tell=run.tell)
    curve = draw_curve(
        read_events(run.tell.path),
        run.folder / "training_curve.png",
        metric=metric,
        title=spec.experiment_name,
    )
    run.tracker.log_file(curve)
    run.tracker.log_model(folder, spec_version=str(manifest.format))
    _tell_best(metric, trained.best, run)
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
        baseline=rival and rival.report,
        stack=stacked,
    )


def _tell_best(metric: EvaluationMetric, best: Validation, run: TrackedRun) -> None:
    """Let the run be found by what its kept weights reach."""
    name = best_metric_name(metric.name)
    run.tell(MetricEvent(name=name, value=best.value, step=best.total_steps, epoch=best.epoch))
    run.tracker.tag(METRIC_TAG, metric.name)
    if metric.eval_at_k is not None:
        run.tracker.tag(EVAL_AT_K_TAG, str(metric.eval_at_k))


def _predict(
    folder: Path, spec: DatasetSpec, plan: OutputPlan, request: OutputRequest, tell: OnEvent
) -> PredictionResult:
    manifest, model = load_model(folder)
    config = manifest.config
    trees = load_trees(folder)
    snapshot = _build(spec, config, tell)
    with torch_threads(config):
        result = write_predictions(
            model,
            snapshot,
            spec,
            config,
            plan=plan,
            batch_size=request.test_batch_size,
            device=check_device(config),
            on_event=tell,
            compute_test_metrics=request.compute_test_metrics,
            flatten_output=request.flatten_output,
            rescorer=None if trees is None else trees.bind(snapshot),
        )
    return result.replace(model_run_id=manifest.model_run_id)


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


def _report(snapshot: Snapshot, tell: OnEvent) -> None:
    tell(ReportEvent(name="snapshot", text=as_text(snapshot.report.render())))
    for warning in snapshot.report.warnings():
        tell(WarningEvent(message=warning))
