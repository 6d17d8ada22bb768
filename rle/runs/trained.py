"""What one trained model and one registered version are, and what they may be called."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from rle.errors import ModelManagerError, ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN_ID = re.compile(r"[\w-]+", re.ASCII)
_MODEL_NAME = re.compile(r"[^/:'\"\s](?:[^/:'\"]*[^/:'\"\s])?")
_ALIAS = re.compile(r"(?!latest$|v?\d+$)[\w-]+", re.ASCII)


class TrainedModel(Value):
    """A training run, as MLflow has it."""

    model_run_id: str
    """Names the run, its folder and its model."""
    experiment_name: str
    """ "dataset/task_type/task"."""
    status: str
    """In MLflow's words: RUNNING, FINISHED, FAILED or KILLED."""
    metric: str | None
    """What chose the kept weights."""
    eval_at_k: int | None = None
    """How long the lists were that it measured; None where it measures no lists."""
    validation: float | None
    """Its value on the validation split, of the kept weights."""
    started_at: datetime
    has_model: bool
    """False where the run ended early, or its model was deleted."""

    @property
    def measured(self) -> str | None:
        """The metric in one text: "roc_auc", "link_prediction_map@12"."""
        at_k = "" if self.eval_at_k is None else f"@{self.eval_at_k}"
        return self.metric and f"{self.metric}{at_k}"


class RegisteredVersion(Value):
    """One version of a registered model: a name for a trained model."""

    name: str
    version: str
    """A whole number as text, "1" for the first."""
    model_run_id: str | None
    """The run that trained it; None where MLflow was not told."""
    source: str
    """Where MLflow keeps the model's files."""
    aliases: tuple[str, ...] = ()
    """Other names for this version."""
    comment: str = ""
    created_at: datetime

    @property
    def registered_model_key(self) -> str:
        """Name and version in one text: "churn.1"."""
        return f"{self.name}.{self.version}"


def check_run_id(run_id: str) -> None:
    """Raise ValidationError where a run cannot have this id, which becomes a folder's name too."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise ValidationError(f"model_run_id must be the id of a run in MLflow, not {run_id!r}.")


def check_names(name: str, alias: str | None) -> None:
    """Raise ValidationError where a registered model or an alias cannot be called so."""
    if not isinstance(name, str) or not _MODEL_NAME.fullmatch(name):
        raise ValidationError(
            f"model_name {name!r} must be a text without '/', ':' and quotes, and not begin or end "
            "with a space."
        )
    if alias is not None and not (isinstance(alias, str) and _ALIAS.fullmatch(alias)):
        raise ValidationError(
            f"version_name {alias!r} must be letters, digits, '-' and '_', and not look like a "
            "number: the number of a version is MLflow's to give."
        )


def check_new(
    known: Sequence[RegisteredVersion], run_id: str, name: str, alias: str | None
) -> None:
    """Raise ModelManagerError where a run or an alias has a version among those of `name`."""
    for version in known:
        if version.model_run_id == run_id:
            raise ModelManagerError(
                f"Run {run_id!r} is registered as {name!r} already, with version "
                f"{version.version!r}. Use that version, or register under another name."
            )
        if alias is not None and alias in version.aliases:
            raise ModelManagerError(
                f"Version {version.version!r} of {name!r} is called {alias!r} already. Choose "
                "another version_name, or delete that version with delete_registered_model."
            )
