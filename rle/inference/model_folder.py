"""A trained model as a folder: model.json says what it is, weights.safetensors what it learnt.

Neither can run code when it is read. The folder needs no snapshot, no run and no MLflow: it is all
that prediction takes beside the tables.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from rle.errors import DataError, ValidationError
from rle.model.link import LinkModel
from rle.model.link_spec import LinkModelSpec
from rle.model.relational import RelationalModel
from rle.model.spec import ModelSpec
from rle.spec.config import TrainerConfig
from rle.spec.dataset import DatasetSpec
from rle.training.checkpoint import read_weights, write_weights
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT = 1
MANIFEST = "model.json"
WEIGHTS = "weights.safetensors"


class ModelManifest(Value):
    """What model.json holds."""

    format: int = FORMAT
    """Version of this layout."""
    model_run_id: str
    """The run that trained it."""
    model: ModelSpec | LinkModelSpec
    """What the network is made of, and the statistics it was made with."""
    dataset: DatasetSpec
    """Tables and task it was trained on; names of secrets at most, never secrets."""
    config: TrainerConfig
    """How it was trained; prediction samples neighbours the same way."""


def save_model(folder: Path, manifest: ModelManifest, weights: Mapping[str, Tensor]) -> Path:
    """Write a model folder, whole or not at all. An older one at the same place is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        (temporary / MANIFEST).write_text(manifest.to_json(indent=1), encoding="utf-8")
        write_weights(temporary / WEIGHTS, weights)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_manifest(folder: Path) -> ModelManifest:
    """Read what a model folder says about itself.

    Raises:
        ValidationError: There is no model folder, or it was written by another version.
    """
    try:
        manifest = ModelManifest.from_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ValidationError(f"There is no model in {folder}: {MANIFEST} is missing.") from None
    if manifest.format != FORMAT:
        raise ValidationError(
            f"The model in {folder} has format {manifest.format}; this version reads {FORMAT}. "
            "Train it again, or use the version that trained it."
        )
    return manifest


def load_model(folder: Path) -> tuple[ModelManifest, RelationalModel | LinkModel]:
    """Read a model folder; the model is on the CPU and not yet bound to a snapshot.

    Raises:
        ValidationError: There is no model folder, or it was written by another version.
        TrainingError: The weights are missing or damaged.
        DataError: The weights do not fit the description.
    """
    manifest = load_manifest(folder)
    spec = manifest.model
    model = LinkModel(spec) if isinstance(spec, LinkModelSpec) else RelationalModel(spec)
    try:
        model.load_state_dict(read_weights(folder / WEIGHTS))
    except RuntimeError as error:
        raise DataError(f"{WEIGHTS} in {folder} does not fit {MANIFEST}: {error}") from error
    return manifest, model
