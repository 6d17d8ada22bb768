"""Finds the model that is meant: by run, by registered version, or the best of an experiment."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rle.errors import UnknownNameError, ValidationError
from rle.inference.model_folder import MANIFEST, WEIGHTS, load_manifest
from rle.runs.folders import home, make_home, model_folder
from rle.runs.registry import Registry
from rle.runs.tracking import MODEL_ARTIFACT
from rle.runs.trained import check_run_id

if TYPE_CHECKING:
    from rle.spec.predict_request import PredictRequest


def find_model(request: PredictRequest) -> tuple[Path, str]:
    """Return the folder of the model that a request means, and why it is this one.

    A model of this home is taken from its run's folder, any other is fetched from MLflow: the files
    that hold data, and none that could run code when it is read.

    Raises:
        UnknownNameError: There is no such run, experiment, registered model or version.
        ModelManagerError: The run holds no model.
        ValidationError: No run of the experiment is finished or has measured the metric, or what
            MLflow keeps is no model of ours.
        ConnectionError: MLflow cannot be reached.
    """
    if request.model_run_id is not None:
        return model_of_run(request.model_run_id), f"model of run {request.model_run_id}"
    registry = Registry()
    if request.registered_model_name is not None:
        name, number = request.registered_model_name, str(request.version)
        return _model_of_version(registry, name, number), f"version {number} of model {name!r}"
    assert request.metric is not None
    best, value = registry.best(request.experiment, request.metric)
    reason = (
        f"model of run {best.model_run_id}, the best of experiment {request.experiment!r} with "
        f"validation {request.metric.name} {value:.4f}"
    )
    return model_of_run(best.model_run_id, registry), reason


def model_of_run(run_id: str, registry: Registry | None = None) -> Path:
    """Return the folder of a run's model, fetched from MLflow where this home does not have it.

    Raises:
        UnknownNameError: There is no such run.
        ModelManagerError: The run holds no model.
    """
    check_run_id(run_id)
    folder = model_folder(run_id)
    if not (folder / MANIFEST).exists():
        registry = registry or Registry()
        _fetch(registry, registry.model_uri(run_id), folder)
    found = load_manifest(folder).model_run_id
    if found != run_id:
        raise ValidationError(
            f"The model in {folder} says that run {found!r} trained it, not {run_id!r}. Delete "
            "that folder to have it fetched from MLflow again."
        )
    return folder


def _model_of_version(registry: Registry, name: str, number: str) -> Path:
    version = registry.version(name, number)
    uri = registry.version_uri(version)
    run_id = version.model_run_id
    if run_id is not None and uri in _own_uris(registry, run_id):
        return model_of_run(run_id, registry)
    # Registered in MLflow's pages from some other place: kept by content, since nobody promises
    # that the place stays as it is.
    return _fetch(registry, uri, None)


def _own_uris(registry: Registry, run_id: str) -> tuple[str, ...]:
    with contextlib.suppress(UnknownNameError):  # a deleted run may have left a model behind
        return f"runs:/{run_id}/{MODEL_ARTIFACT}", registry.model_uri(run_id)
    return ()


def _fetch(registry: Registry, uri: str, folder: Path | None) -> Path:
    """Copy a model's files to `folder`, whole or not at all. None: where its content says."""
    scratch = Path(tempfile.mkdtemp(prefix=".fetch.", dir=make_home()))
    try:
        registry.fetch(uri, scratch, required=(MANIFEST, WEIGHTS))
        load_manifest(scratch)
        place = folder or home() / "models" / _digest(scratch)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            with contextlib.suppress(OSError):  # another process was faster; its copy is the same
                scratch.rename(place)
        load_manifest(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder)} {len(content)} ".encode())
        found.update(content)
    return found.hexdigest()[:32]
