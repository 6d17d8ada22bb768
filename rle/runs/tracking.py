"""Keeps runs in MLflow: parameters, metrics, artifacts and the model. The only mlflow import."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import yaml

from rle.runs.events import MetricEvent, RunStatus, StatusEvent
from rle.runs.folders import home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient

    from rle.runs.events import AnyEvent

PARAM_LENGTH = 6000
"""Characters of a parameter that MLflow keeps."""
ENDINGS = {
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELED: "KILLED",
}


def default_uri() -> str:
    """Return the tracking address of this home: a sqlite file."""
    return f"sqlite:///{home() / 'mlflow.db'}"


def ui_command(uri: str | None = None) -> str:
    """Return the command that opens MLflow's pages on this machine only."""
    return f"mlflow ui --host 127.0.0.1 --backend-store-uri {uri or default_uri()}"


def _client(uri: str) -> MlflowClient:
    # MLflow takes seconds to import, and reports its use over the network unless told otherwise
    # before; both matter only to those who track.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    # Making the tables of a new sqlite file is no news for whoever trains a model.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


class Tracker:
    """One MLflow run. Listens to a run's events; always names the server and the run itself.

    Nothing here touches MLflow's global state, so several runs in one process, or a Ray worker
    with a state of its own, never write into each other's run.

    Args:
        experiment: Name of the experiment, such as "lahman/binary_classification/player-out".
        params: Flat settings of the run; values are kept as JSON. Must carry no secret.
        tags: Short texts to find the run by.
        run_name: What the MLflow pages show; MLflow invents one where it is None.
        uri: Tracking address; `default_uri()` where it is None.
    """

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
            home().mkdir(parents=True, exist_ok=True)
        self.uri = uri or default_uri()
        self._client = _client(self.uri)
        experiment_id = self._experiment(experiment, local=uri is None)
        run = self._client.create_run(experiment_id, tags=dict(tags), run_name=run_name)
        self.run_id: str = run.info.run_id
        """32 hexadecimal digits; names the run's folder too."""
        self._log_params(params)

    def _experiment(self, name: str, *, local: bool) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        # Without a place of its own, the sqlite store would put artifacts into the current folder.
        place = (home() / "mlartifacts").as_uri() if local else None
        return str(self._client.create_experiment(name, artifact_location=place))

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in params.items()
        }
        kept = [Param(key, text[:PARAM_LENGTH]) for key, text in texts.items()]
        for first in range(0, len(kept), 100):  # the most that MLflow takes at once
            self._client.log_batch(self.run_id, params=kept[first : first + 100])

    def __call__(self, event: AnyEvent) -> None:
        """Keep a metric; end the run with its last status. Other events are not MLflow's."""
        if isinstance(event, MetricEvent):
            milliseconds = int(event.time.timestamp() * 1000)
            self._client.log_metric(self.run_id, event.name, event.value, milliseconds, event.step)
        elif isinstance(event, StatusEvent) and event.status.is_terminal:
            self._client.set_terminated(self.run_id, ENDINGS[event.status])

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self._client.set_tag(self.run_id, name, value)

    def log_text(self, name: str, text: str) -> None:
        """Keep `text` as the artifact file `name`."""
        self._client.log_text(self.run_id, text, name)

    def log_file(self, path: Path) -> None:
        """Keep a file as an artifact under its own name."""
        self._client.log_artifact(self.run_id, str(path))

    def log_model(self, folder: Path, *, spec_version: str) -> None:
        """Keep a model folder (JSON and safetensors, no pickle) as the artifact "model".

        A file MLmodel is put beside, so that MLflow's pages can register it as a version.
        """
        description = {
            "artifact_path": "model",
            "flavors": {"rle": {"version": spec_version, "data": "."}},
            "run_id": self.run_id,
            "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        }
        self._client.log_artifacts(self.run_id, str(folder), "model")
        self.log_text("model/MLmodel", yaml.safe_dump(description, sort_keys=False))
