"""What an engine does for each kind of request: the spine, its result as JSON, a copy in MLflow.

A handler is `handler(request, folder, tell) -> result`: `folder` is the job's own, `tell` hears
every event, and the result holds plain JSON, in which NaN and infinities are texts that `float`
reads. It runs in the driver's main thread; KeyboardInterrupt and SystemExit cancel it.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from rle.errors import JobHandlerError, RLEError
from rle.jobs.layout import ENGINE_FOLDER, RESULTS, engine_folder
from rle.jobs.request import PredictWork, TrainInferenceWork, TrainWork, Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pydantic import BaseModel, JsonValue

    from rle.inference.write import PredictionResult
    from rle.jobs.request import JobRequest
    from rle.pipeline import FitResult
    from rle.runs.events import AnyEvent
    from rle.runs.job_records import JobMark
    from rle.runs.tracking import Tracker
    from rle.spec.config import TrainerConfig
    from rle.spec.predict_request import OutputRequest

    OnEvent = Callable[[AnyEvent], None]
    Result = dict[str, JsonValue]

HANDLERS = {
    "train": "rle.jobs.work:train",
    "predict": "rle.jobs.work:predict",
    "train_inference": "rle.jobs.work:train_inference",
    "materialize": "rle.jobs.materialize:materialize",
}
"""Where the handler of each kind of work is found, so that none is imported in vain."""
SUMMARY = (
    "metric",
    "validation",
    "test",
    "methods",
    "num_rows",
    "num_features",
    "features",
    "model",
    "baseline",
    "blend",
    "weight",
    "last_blend",
    "last_corrected",
)
"""What a result tells of the reports of baseline and stack."""

Work = TypeVar("Work")


def train(request: JobRequest, folder: Path, tell: OnEvent) -> Result:
    """Train; see `rle.pipeline.fit`."""
    from rle.pipeline import fit

    work = _work(request, TrainWork)
    _check_nodes(work.config, tell)
    with _marked(request, tell) as (mark, heard):
        fitted = fit(
            work.dataset,
            work.config,
            baseline=work.baseline,
            stack=work.stack,
            on_event=heard,
            job=mark,
        )
    return as_result(_of_fit(fitted, work.experiment_name))


def train_inference(request: JobRequest, folder: Path, tell: OnEvent) -> Result:
    """Train and predict; see `rle.pipeline.fit_predict`."""
    from rle.pipeline import fit_predict

    work = _work(request, TrainInferenceWork)
    _check_nodes(work.config, tell)
    with _marked(request, tell) as (mark, heard):
        both = fit_predict(
            work.dataset,
            work.config,
            **_fields(work.output),
            baseline=work.baseline,
            stack=work.stack,
            keep_in=None if work.materialize else folder / RESULTS,
            on_event=heard,
            job=mark,
        )
    trained = _of_fit(both.fit, work.experiment_name)
    predicted = _of_prediction(both.prediction, work.output, is_made=work.materialize)
    metrics = {**_dict(trained["metrics"]), **_dict(predicted["metrics"])}
    return as_result(trained | predicted | {"metrics": metrics})


def predict(request: JobRequest, folder: Path, tell: OnEvent) -> Result:
    """Predict; see `rle.pipeline.predict`."""
    from rle.pipeline import predict as run
    from rle.runs.events import MetricEvent
    from rle.runs.job_records import EXPORTS_TAG, MODEL_TAG

    work = _work(request, PredictWork)
    with record_of(request, folder) as tracker:
        predicted = run(
            **_fields(work.request),
            keep_in=None if work.materialize else folder / RESULTS,
            on_event=tell,
        )
        result = _of_prediction(predicted, work.request, is_made=work.materialize)
        tracker.tag(MODEL_TAG, str(predicted.model_run_id))
        for name, value in _test_metrics(predicted).items():
            metric = MetricEvent(name=name, value=value, step=0)
            tracker(metric)
            tell(metric)
        if work.materialize:
            tracker.tag(EXPORTS_TAG, json.dumps(predicted.export_paths))
    named = {"experiment_name": work.experiment_name, "model_run_id": predicted.model_run_id}
    return as_result(named | result)


@contextmanager
def record_of(request: JobRequest, folder: Path) -> Iterator[Tracker]:
    """Keep a job that trains no model in MLflow, to be ended there also if this process is killed.

    Args:
        request: Of the job.
        folder: The job's own.
    """
    from rle.jobs.open_runs import OpenRuns
    from rle.runs.tracked import job_record

    runs, run_id = OpenRuns(folder.parent), None
    try:
        with job_record(request.work.experiment_name, mark_of(request)) as tracker:
            run_id = tracker.run_id
            runs.note(run_id, request.job_id)
            yield tracker
    finally:
        if run_id is not None:
            runs.forget(run_id)


def mark_of(request: JobRequest) -> JobMark:
    """Return what the job's run in MLflow is marked with."""
    from rle.runs.job_records import JobMark

    return JobMark(
        job_id=request.job_id,
        kind=request.kind,
        engine=engine_name(),
        created_by=request.created_by,
        request=request.to_json(indent=1),
    )


def engine_name() -> str:
    """Return the name of the engine this process runs on; its host's where nobody named it."""
    return engine_folder().name if os.environ.get(ENGINE_FOLDER) else socket.gethostname()


def plain(value: Any) -> Any:
    """Return a value's JSON as Python values; NaN and infinities are texts."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def as_result(found: Mapping[str, Any]) -> Result:
    """Return what was found, and where: the engine, its run files and MLflow. No password."""
    from rle.runs.folders import home
    from rle.runs.redact import redact
    from rle.runs.tracking import default_uri

    engine = {
        "name": engine_name(),
        "host": socket.gethostname(),
        "rle_home": str(home()),
        "versions": Versions.here().model_dump(mode="json"),
    }
    result: Result = plain({**found, "engine": engine, "tracking": {"uri": redact(default_uri())}})
    return result


def _work(request: JobRequest, cls: type[Work]) -> Work:
    if not isinstance(request.work, cls):
        raise JobHandlerError(f"A job of kind {request.kind!r} is no {cls.__name__}.", "kind")
    return request.work


def _fields(output: OutputRequest) -> dict[str, Any]:
    """Return a request as the keyword arguments of `rle.pipeline`."""
    return {name: getattr(output, name) for name in type(output).model_fields}


def _check_nodes(config: TrainerConfig, tell: OnEvent) -> None:
    """Find, before any work, that the workers would run other code than this process."""
    if config.num_workers == 0:
        return
    from rle.ingest.ray_runtime import ensure_ray
    from rle.jobs.versions import check_nodes
    from rle.runs.events import WarningEvent

    ensure_ray()
    for warning in check_nodes():
        tell(WarningEvent(message=warning))


@contextmanager
def _marked(request: JobRequest, tell: OnEvent) -> Iterator[tuple[JobMark, OnEvent]]:
    """Keep the job in MLflow also where it ends before it has a run there.

    Yields:
        What the run is to be marked with, and a listener that passes everything on.
    """
    from rle.runs.events import RunEvent
    from rle.runs.tracked import record_failure

    mark, has_run = mark_of(request), False

    def heard(event: AnyEvent) -> None:
        nonlocal has_run
        has_run = has_run or isinstance(event, RunEvent)
        tell(event)

    try:
        yield mark, heard
    except BaseException as error:
        if not has_run:
            with suppress(RLEError):  # why the job failed matters more than where that is kept
                record_failure(request.work.experiment_name, mark, error)
        raise


def _of_fit(fitted: FitResult, experiment_name: str) -> Result:
    from rle.runs.events import VALIDATION_LOSS, best_metric_name

    result = _json(fitted)
    for name in ("baseline", "stack"):
        report = result[name]
        if isinstance(report, dict):
            result[name] = {key: report[key] for key in SUMMARY if key in report}
    metrics = {
        best_metric_name(fitted.metric): fitted.validation,
        VALIDATION_LOSS: fitted.validation_loss,
    }
    return result | {"experiment_name": experiment_name, "metrics": plain(metrics)}


def _of_prediction(predicted: PredictionResult, output: OutputRequest, *, is_made: bool) -> Result:
    result = _json(predicted)
    del result["model_run_id"]
    paths = result.pop("export_paths")
    return result | {
        "metrics": plain(_test_metrics(predicted)),
        "materialized": is_made,
        "export_paths": paths if is_made else None,
        "planned_paths": paths,
        "output": _json(output.output_config),
        "output_alias": output.output_alias,
    }


def _test_metrics(predicted: PredictionResult) -> dict[str, float]:
    from rle.runs.events import metric_name
    from rle.values import Split

    return {metric_name(Split.TEST, n): value for n, value in predicted.test_metrics.items()}


def _json(value: BaseModel) -> Result:
    """Return a value as the JSON it equals."""
    found: Result = json.loads(value.model_dump_json())
    return found


def _dict(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}
