"""Finds what runs left in MLflow: trained models, the best of an experiment, registered versions.

Nothing here loads a model, and nothing that is fetched can run code: see `DATA_FILES`.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rle.errors import ModelManagerError, UnknownNameError, ValidationError
from rle.runs.events import best_metric_name, metric_name
from rle.runs.folders import make_home, one_at_a_time
from rle.runs.redact import redact
from rle.runs.tracking import (
    EVAL_AT_K_TAG,
    JOB_TAG,
    METRIC_TAG,
    MODEL_ARTIFACT,
    connect,
    default_uri,
    in_our_words,
)
from rle.runs.trained import (
    RegisteredVersion,
    TrainedModel,
    check_names,
    check_new,
    check_run_id,
)
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from rle.spec.metric import EvaluationMetric

DELETED_TAG = "rle.model_deleted"
"""Set on a run whose model was deleted while the run stayed."""
ABSENT = "RESOURCE_DOES_NOT_EXIST"
FINISHED = "FINISHED"
PAGE = 1000
DATA_FILES = (".json", ".safetensors", ".txt")
"""Ends of the names of files that hold data alone: none of them is ever executed when read."""
_DATA_PATH = re.compile(r"\w[\w-]*(\.\w+)?(/\w[\w-]*(\.\w+)?){0,4}", re.ASCII)
_RUN_SOURCE = re.compile(r"runs:/([^/]+)/.+")


class Registry:
    """Runs, models and registered versions behind one tracking address.

    Args:
        uri: Tracking address; `default_uri()` where it is None.

    Raises:
        ConnectionError: MLflow cannot be reached. So do all methods.
    """

    @in_our_words
    def __init__(self, uri: str | None = None) -> None:
        if uri is None:
            make_home()
        self.uri = uri or default_uri()
        self._client = connect(self.uri)

    @property
    def place(self) -> str:
        """The tracking address, for messages: without a password."""
        return redact(self.uri)

    @in_our_words
    def models(self, experiment_name: str | None = None) -> tuple[TrainedModel, ...]:
        """Return all training runs, or those of one experiment; the newest first.

        Raises:
            UnknownNameError: There is no such experiment.
        """
        experiments = self._experiments()
        if experiment_name is not None:
            if experiment_name not in experiments.values():
                raise UnknownNameError(
                    f"experiment in {self.place}", experiment_name, experiments.values()
                )
            experiments = {i: name for i, name in experiments.items() if name == experiment_name}
        runs = self._runs(list(experiments))
        found = [_model_of(run, experiments[run.info.experiment_id]) for run in runs]
        return tuple(sorted(found, key=lambda m: (m.started_at, m.model_run_id), reverse=True))

    @in_our_words
    def model(self, run_id: str) -> TrainedModel:
        """Return one training run.

        Raises:
            UnknownNameError: MLflow has no run of this id, or it was deleted.
        """
        run = self._run(run_id)
        return _model_of(run, self._client.get_experiment(run.info.experiment_id).name)

    @in_our_words
    def best(self, experiment_name: str, metric: EvaluationMetric) -> tuple[TrainedModel, float]:
        """Return the finished training run with the best validation value; of equals the oldest.

        Raises:
            UnknownNameError: There is no such experiment.
            ValidationError: None of its training runs is finished, or none measured `metric`.
        """
        models = self.models(experiment_name)
        finished = [m for m in models if m.has_model and m.status == FINISHED]
        if not finished:
            states = Counter("without model" if m.status == FINISHED else m.status for m in models)
            told = ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none at all"
            raise ValidationError(
                f"Experiment {experiment_name!r} in {self.place} has no finished training run "
                f"with a model (runs: {told}). Train one with fit."
            )
        best: tuple[TrainedModel, float] | None = None
        for model in reversed(finished):
            value = self._validation(model.model_run_id, metric)
            if value is not None and (best is None or metric.is_better(value, best[1])):
                best = model, value
        if best is None:
            measured = sorted({m.measured for m in finished if m.measured})
            at_k = f"@{metric.eval_at_k}" if metric.eval_at_k is not None else ""
            raise ValidationError(
                f"None of the {len(finished)} finished runs of experiment {experiment_name!r} "
                f"measured {metric.name}{at_k} on the validation split; they measured "
                f"{', '.join(measured) or 'nothing'}. Give that as evaluation_metric."
            )
        return best

    @in_our_words
    def version(self, name: str, version: str) -> RegisteredVersion:
        """Return one registered version.

        Raises:
            UnknownNameError: There is no such model, or it has no such version.
        """
        versions = {found.version: found for found in self.versions(name)}
        if version not in versions:
            raise UnknownNameError(f"version of registered model {name!r}", version, versions)
        return versions[version]

    @in_our_words
    def versions(self, name: str | None = None) -> tuple[RegisteredVersion, ...]:
        """Return all registered versions, or those of one model; by name, then by number.

        Raises:
            UnknownNameError: There is no such model.
        """
        models = {m.name: m for m in self._pages(self._client.search_registered_models)}
        if name is not None and name not in models:
            raise UnknownNameError(f"registered model in {self.place}", name, models)
        wanted = None if name is None else f"name={_quoted(name)}"
        found = self._pages(self._client.search_model_versions, filter_string=wanted)
        versions = [_version_of(v, models[v.name].aliases) for v in found if v.name in models]
        return tuple(sorted(versions, key=lambda v: (v.name, int(v.version))))

    def versions_of(self, run_id: str) -> tuple[RegisteredVersion, ...]:
        """Return the registered versions of a run's model."""
        return tuple(v for v in self.versions() if v.model_run_id == run_id)

    @in_our_words
    def register(
        self, run_id: str, name: str, *, alias: str | None = None, comment: str | None = None
    ) -> RegisteredVersion:
        """Register a run's model as the next version of `name`. One process at a time does.

        Raises:
            ValidationError: `name` or `alias` is impossible.
            UnknownNameError: There is no such run.
            ModelManagerError: The run holds no model, is registered under this name already, or
                another version has the alias.
        """
        check_names(name, alias)
        with one_at_a_time("registry"):
            uri = self.model_uri(run_id)
            known = [v for v in self.versions() if v.name == name]
            check_new(known, run_id, name, alias)
            if not known:
                self._create(name)
            made = self._client.create_model_version(
                name, source=uri, run_id=run_id, description=comment
            )
            if alias is not None:
                self._client.set_registered_model_alias(name, alias, str(made.version))
        return _version_of(made, {alias: made.version} if alias else {})

    @in_our_words
    def model_uri(self, run_id: str) -> str:
        """Return where MLflow keeps the files of a run's model.

        Raises:
            UnknownNameError: There is no such run.
            ModelManagerError: The run holds no model.
        """
        run = self._run(run_id)
        if not self._client.list_artifacts(run_id, MODEL_ARTIFACT):
            raise ModelManagerError(
                f"Run {run_id!r} holds no model: it is {run.info.status} in MLflow. Only a run "
                "that has trained a model can be used or registered."
            )
        return f"{run.info.artifact_uri}/{MODEL_ARTIFACT}"

    @in_our_words
    def version_uri(self, version: RegisteredVersion) -> str:
        """Return where MLflow keeps the files of a registered version, copies followed."""
        return str(self._client.get_model_version_download_uri(version.name, version.version))

    def fetch(self, uri: str, folder: Path, *, required: Sequence[str]) -> None:
        """Copy a model's files into `folder`: those that hold data alone, whatever else lies there.

        Args:
            uri: Where MLflow keeps the model.
            folder: Empty.
            required: Files without which it is no model.

        Raises:
            ValidationError: One of `required` is not there, or a file cannot be read.
        """
        try:
            names = self._files(uri)
            missing = sorted(set(required) - set(names))
            problem = f"{missing[0]} is missing" if missing else ""
            for name in names if not missing else ():
                self._download(f"{uri}/{name}", (folder / name).parent)
        except (ValidationError, OSError) as error:
            problem = f"{redact(str(error)):.300}"
        if problem:
            raise ValidationError(f"There is no model of GNN-RLE at {redact(uri)}: {problem}.")

    @in_our_words
    def _files(self, uri: str) -> list[str]:
        """Return the data files below `uri`, by their path from there."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = get_artifact_repository(uri, tracking_uri=self.uri)
        found, folders = [], [""]
        while folders:
            for entry in place.list_artifacts(folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                elif entry.path.endswith(DATA_FILES) and _DATA_PATH.fullmatch(entry.path):
                    found.append(entry.path)
        return sorted(found)

    @in_our_words
    def _download(self, uri: str, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts

        folder.mkdir(parents=True, exist_ok=True)
        download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self.uri)

    @in_our_words
    def delete_model(self, run_id: str, *, with_run: bool) -> None:
        """Delete a run's model files in MLflow, and the run itself where `with_run` says so.

        Raises:
            UnknownNameError: There is no such run.
            ModelManagerError: A registered version points to the model.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        run = self._run(run_id)
        pointing = [v.registered_model_key for v in self.versions_of(run_id)]
        if pointing:
            raise ModelManagerError(
                f"The model of run {run_id!r} is registered as {', '.join(pointing)}; delete that "
                "first with delete_registered_model."
            )
        if self._client.list_artifacts(run_id, MODEL_ARTIFACT):
            get_artifact_repository(run.info.artifact_uri).delete_artifacts(MODEL_ARTIFACT)  # type: ignore[no-untyped-call]
        self._client.set_tag(run_id, DELETED_TAG, "true")
        if with_run:
            self._client.delete_run(run_id)

    @in_our_words
    def delete_versions(self, name: str, version: str | None) -> None:
        """Delete one version of a registered model, or the whole; the trained models stay.

        Raises:
            UnknownNameError: There is no such model or version.
        """
        if version is None:
            self.versions(name)
            self._client.delete_registered_model(name)
        else:
            self._client.delete_model_version(name, self.version(name, version).version)

    def _experiments(self) -> dict[str, str]:
        return {e.experiment_id: e.name for e in self._pages(self._client.search_experiments)}

    def _runs(self, experiment_ids: list[str]) -> list[Run]:
        if not experiment_ids:
            return []
        jobs = f"tags.`{JOB_TAG}` LIKE 'train%'"
        return self._pages(
            self._client.search_runs, experiment_ids=experiment_ids, filter_string=jobs
        )

    def _pages(self, search: Callable[..., Any], **given: Any) -> list[Any]:
        """Return the items of all pages."""
        found: list[Any] = []
        token = None
        while True:
            page = search(**given, max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _run(self, run_id: str) -> Run:
        from mlflow.exceptions import MlflowException

        check_run_id(run_id)
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in (ABSENT, "INVALID_PARAMETER_VALUE"):
                raise
            run = None
        if run is None or run.info.lifecycle_stage == "deleted":
            known = [model.model_run_id for model in self.models()]
            raise UnknownNameError(f"run in {self.place}", run_id, known)
        return run

    def _validation(self, run_id: str, metric: EvaluationMetric) -> float | None:
        """Return the best value a run has measured on its validation split; None where none."""
        run = self._client.get_run(run_id)
        if metric.eval_at_k is not None:
            at_k = run.data.tags.get(EVAL_AT_K_TAG, str(metric.eval_at_k))
            if at_k != str(metric.eval_at_k):
                return None
        best = run.data.metrics.get(best_metric_name(metric.name))
        if best is not None:
            return float(best)
        name = metric_name(Split.VALIDATION, metric.name)
        values = [m.value for m in self._client.get_metric_history(run_id, name)]
        if not values:
            return None
        return float(min(values) if metric.direction == "min" else max(values))

    def _create(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made meanwhile, elsewhere
                raise


def _model_of(run: Run, experiment_name: str) -> TrainedModel:
    """Return what MLflow's run says about the model it trained."""
    metric = run.data.tags.get(METRIC_TAG)
    best = None if metric is None else run.data.metrics.get(best_metric_name(metric))
    at_k = run.data.tags.get(EVAL_AT_K_TAG)
    return TrainedModel(
        model_run_id=run.info.run_id,
        experiment_name=experiment_name,
        status=run.info.status,
        metric=metric,
        eval_at_k=None if at_k is None else int(at_k),
        validation=best,
        started_at=_moment(run.info.start_time),
        has_model=METRIC_TAG in run.data.tags and DELETED_TAG not in run.data.tags,
    )


def _version_of(version: ModelVersion, aliases: dict[str, Any]) -> RegisteredVersion:
    """Return a registered version; `aliases`: versions by alias, of its model."""
    told = _RUN_SOURCE.fullmatch(version.source or "")
    return RegisteredVersion(
        name=version.name,
        version=str(version.version),
        model_run_id=version.run_id or (told[1] if told else None),
        source=redact(version.source or ""),
        aliases=tuple(sorted(a for a, v in aliases.items() if str(v) == str(version.version))),
        comment=version.description or "",
        created_at=_moment(version.creation_timestamp),
    )


def _moment(milliseconds: int | None) -> datetime:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"
