"""Keeps runs in MLflow: parameters, metrics, artifacts and the model.

MLflow is imported here and in `rle.runs.registry`, nowhere else.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import yaml

from rle.errors import ConnectionError, ValidationError
from rle.runs.events import (
    LEARNING_RATE,
    TRAINING_LOSS,
    VALIDATION_LOSS,
    ErrorEvent,
    MetricEvent,
    RunStatus,
    StatusEvent,
)
from rle.runs.folders import home, make_home
from rle.runs.redact import redact, redacted_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlflow import MlflowClient as MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Run

    from rle.runs.events import AnyEvent

PARAM_LENGTH = 6000
"""Characters of a parameter that MLflow keeps."""
MAX_PARAMS = 100
"""Parameters that MLflow takes at once."""
MAX_METRICS = 1000
"""Metrics that MLflow takes at once."""
FLUSH_EVERY_S = 2.0
"""How long metrics that come with every step wait to be sent together."""
PATIENT = (TRAINING_LOSS, LEARNING_RATE, VALIDATION_LOSS)
"""Metrics that wait. A validation's loss does too: its metric is the next event, and does not."""
ENDINGS = {
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELED: "KILLED",
}
JOB_TAG = "rle.job"
"""Tag of a run: "train" or "train_inference"; what makes no model is called otherwise."""
ERROR_TAG = "rle.error"
"""Tag of a run that failed: why, in short."""
ERROR_LENGTH = 1000
"""Characters of it that are kept."""
METRIC_TAG = "rle.metric"
"""Tag of a run that has trained a model: the metric that chose its weights."""
EVAL_AT_K_TAG = "rle.eval_at_k"
"""Tag of a run: how long the ranked list is that its metric looks at; link tasks only."""
MODEL_ARTIFACT = "model"
"""Folder of the model among a run's artifacts."""
TRACKING_URI = "MLFLOW_TRACKING_URI"
"""MLflow's own variable: a server, or a database, that all homes share."""
WRONG = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
"""MLflow's codes for what is the asker's mistake; all others are a server that does not answer."""

P = ParamSpec("P")
R = TypeVar("R")


def default_uri() -> str:
    """Return the tracking address: $MLFLOW_TRACKING_URI, or a sqlite file in this home.

    It may hold a password; show people `redact` of it.
    """
    return os.environ.get(TRACKING_URI) or f"sqlite:///{home() / 'mlflow.db'}"


def ui_command(uri: str | None = None) -> str:
    """Return the command that opens MLflow's pages on this machine only, or a server's address."""
    uri = redact(uri or default_uri())
    if uri.startswith("http"):
        return uri
    return f"mlflow ui --host 127.0.0.1 --backend-store-uri {uri}"


def in_our_words(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that MLflow's errors become ours, without any password."""

    @functools.wraps(method)
    def ask(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            # Its class is not imported: whoever tracks nothing never loads MLflow.
            if not type(error).__module__.startswith("mlflow."):
                raise
            is_wrong = getattr(error, "error_code", "") in WRONG
            ours = ValidationError if is_wrong else ConnectionError
            raise ours(f"MLflow could not do it: {redact(str(error))}") from None

    return ask


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking address; nothing global is touched."""
    # MLflow takes seconds to import, and reports its use over the network unless told otherwise
    # before; both matter only to those who track.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow prints a run's address as it ends, password and all.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Two small files need no bar.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    # Making the tables of a new sqlite file is no news for whoever trains a model, and neither is
    # that a version may take a while.
    for name in ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _as_mlflow(event: MetricEvent) -> Metric:
    from mlflow.entities import Metric

    milliseconds = int(event.time.timestamp() * 1000)
    return Metric(event.name, event.value, milliseconds, event.step)


class Tracker:
    """One MLflow run. Listens to a run's events; always names the server and the run itself.

    Nothing here touches MLflow's global state, so several runs in one process, or a Ray worker
    with a state of its own, never write into each other's run.

    Args:
        experiment: Name of the experiment, such as "lahman/binary_classification/player-out".
        params: Flat settings of the run; values are kept as JSON, without secrets.
        tags: Short texts to find the run by.
        run_name: What the MLflow pages show; MLflow invents one where it is None.
        uri: Tracking address; `default_uri()` where it is None.

    Raises:
        ConnectionError: MLflow cannot be reached, or refuses. So do all methods.
        ValidationError: The experiment was deleted.
    """

    @in_our_words
    def __init__(
        self,
        experiment: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_name: str | None = None,
        uri: str | None = None,
    ) -> None:
        if uri is None:
            make_home()
        self.uri = uri or default_uri()
        self._client = connect(self.uri)
        experiment_id = self._experiment(experiment)
        clean: dict[str, Any] = redacted_json(dict(tags))
        run = self._client.create_run(experiment_id, tags=clean, run_name=run_name)
        self.run_id: str = run.info.run_id
        """32 hexadecimal digits; names the run's folder too."""
        self._waiting: list[Metric] = []
        self._flushed_at = time.monotonic()
        self._log_params(params)

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is None:
            place = artifact_place(self.uri)
            return str(self._client.create_experiment(name, artifact_location=place))
        if known.lifecycle_stage == "deleted":
            raise ValidationError(
                f"Experiment {name!r} was deleted in MLflow, which keeps its name. Restore it "
                "there, delete it for good (mlflow gc), or give dataset or task another name."
            )
        return str(known.experiment_id)

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in params.items()
        }
        kept = [Param(key, text[:PARAM_LENGTH]) for key, text in redacted_json(texts).items()]
        for first in range(0, len(kept), MAX_PARAMS):
            self._client.log_batch(self.run_id, params=kept[first : first + MAX_PARAMS])

    @in_our_words
    def __call__(self, event: AnyEvent) -> None:
        """Keep a metric and why the run failed; end it with its last status. Others are skipped.

        A request costs milliseconds to a file and more to a server, so the metrics of steps are
        sent together: every `FLUSH_EVERY_S` while events come, at a validation, and at the end.
        """
        if isinstance(event, MetricEvent):
            self._waiting.append(_as_mlflow(event))
        elif isinstance(event, ErrorEvent):
            why = redact(f"{event.error}: {event.message}")
            self._client.set_tag(self.run_id, ERROR_TAG, why[:ERROR_LENGTH])
        is_over = isinstance(event, StatusEvent) and event.status.is_terminal
        is_result = isinstance(event, MetricEvent) and event.name not in PATIENT
        if is_over or is_result or time.monotonic() - self._flushed_at >= FLUSH_EVERY_S:
            self._flush()
        if isinstance(event, StatusEvent) and is_over:
            self._client.set_terminated(self.run_id, ENDINGS[event.status])

    def _flush(self) -> None:
        """Send what waits, in order. What was not sent yet, should this fail, goes on waiting."""
        while self._waiting:
            batch = self._waiting[:MAX_METRICS]
            self._client.log_batch(self.run_id, metrics=batch, synchronous=True)
            # Only now: after a Ctrl-C in between, MLflow gets them twice and keeps them once.
            del self._waiting[: len(batch)]
        self._flushed_at = time.monotonic()

    @in_our_words
    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self._client.set_tag(self.run_id, name, redact(value))

    @in_our_words
    def log_text(self, name: str, text: str) -> None:
        """Keep `text` as the artifact file `name`."""
        self._client.log_text(self.run_id, redact(text), name)

    @in_our_words
    def log_file(self, path: Path) -> None:
        """Keep a file as an artifact under its own name."""
        self._client.log_artifact(self.run_id, str(path))

    @in_our_words
    def log_model(self, folder: Path, *, spec_version: str) -> None:
        """Keep a model folder (JSON and safetensors, no pickle) as the artifact "model".

        A file MLmodel is put beside, so that MLflow's pages can register it as a version.
        """
        description = {
            "artifact_path": MODEL_ARTIFACT,
            "flavors": {"rle": {"version": spec_version, "data": "."}},
            "run_id": self.run_id,
            "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        }
        self._client.log_artifacts(self.run_id, str(folder), MODEL_ARTIFACT)
        self.log_text(f"{MODEL_ARTIFACT}/MLmodel", yaml.safe_dump(description, sort_keys=False))


@in_our_words
def end_run(run_id: str, status: RunStatus, *, uri: str | None = None) -> bool:
    """End a run whose process died before it could; whether it had not ended yet.

    Raises:
        ConnectionError: MLflow cannot be reached.
        ValidationError: There is no such run.
    """
    if uri is None:
        make_home()
    return terminate(connect(uri or default_uri()), run_id, status)


def terminate(client: MlflowClient, run_id: str, status: RunStatus) -> bool:
    """End a run unless it has ended; whether it had not."""
    if client.get_run(run_id).info.status not in ("RUNNING", "SCHEDULED"):
        return False
    client.set_terminated(run_id, ENDINGS[status])
    return True


def artifact_place(uri: str) -> str | None:
    """Return where a new experiment's artifacts go: beside a sqlite file; else MLflow's choice.

    Without a place of its own, a sqlite store would put artifacts into the current folder.
    """
    parts = urlsplit(uri)
    if parts.scheme != "sqlite":
        return None
    return (Path(parts.path.removeprefix("/")).resolve().parent / "mlartifacts").as_uri()
