"""Everything about a prediction that can be known to fail is found here, before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.inference.find_model import find_model
from rle.inference.model_folder import ModelManifest, load_model
from rle.inference.plan import check_output, plan_request
from rle.model.spec import ModelSpec
from rle.spec.infer import key_dtype
from rle.spec.task import NodeTaskSpec
from rle.spec.trained import as_trained
from rle.training.preflight import check_before_prediction
from rle.values import Split

if TYPE_CHECKING:
    from pathlib import Path

    from rle.inference.export import OutputPlan
    from rle.spec.dataset import DatasetSpec
    from rle.spec.predict_request import PredictRequest


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prediction that may begin."""

    folder: Path
    """Of the model."""
    manifest: ModelManifest
    dataset: DatasetSpec
    """What is predicted on, its tables as the model knows them."""
    plan: OutputPlan
    """Where to; every name is free, or to be replaced."""
    chosen: str
    """Which model it is and why, in a few words."""
    warnings: tuple[str, ...]
    """What the user should know before it begins."""


def prepare(request: PredictRequest) -> Prepared:
    """Find model and dataset, and check that they, the output and this machine fit together.

    Raises:
        RLEError: They do not; nothing was written.
    """
    folder, chosen = find_model(request)
    manifest, _ = load_model(folder)
    if request.dataset is not None:
        plan = plan_request(request, request.dataset, request.dataset.connector)
        aligned = as_trained(request.dataset, manifest.dataset, align_dtypes=request.align_dtypes)
        dataset, warnings = aligned
    else:
        _check_experiment(request, manifest, chosen)
        dataset = with_test_table(manifest.dataset, str(request.test_table))
        plan, warnings = plan_request(request, dataset, dataset.connector), ()
    codec = manifest.model.labels if isinstance(manifest.model, ModelSpec) else None
    check_before_prediction(dataset, manifest.config, codec=codec)
    check_output(request, dataset)
    return Prepared(folder, manifest, dataset, plan, chosen, warnings)


def _check_experiment(request: PredictRequest, manifest: ModelManifest, chosen: str) -> None:
    trained = manifest.dataset.experiment_name
    if request.experiment_name != trained:
        raise ValidationError(
            f"The {chosen} belongs to experiment {trained!r}, not to {request.experiment_name!r}."
        )


def with_test_table(dataset: DatasetSpec, test_table: str) -> DatasetSpec:
    """Return a dataset whose task has `test_table` alone, which must fit the task.

    Raises:
        UnknownNameError: There is no such table.
        ValidationError: It lacks the entity or the time column, or its keys are of another dtype.
    """
    task = dataset.task
    types = {f.name: f.type for f in dataset.connector.arrow_schema(test_table)}
    entity = dataset.entities[0][2]
    needed = {"entity column": entity, "time column": task.time_column}
    missing = [f"{what} {c!r}" for what, c in needed.items() if c is not None and c not in types]
    if missing:
        raise ValidationError(
            f"Test table {test_table!r} has no {' and no '.join(missing)}; it has "
            f"{', '.join(map(repr, types))}."
        )
    dtype = key_dtype(types[entity])
    if dtype is None:
        raise ValidationError(
            f"Entity column {entity!r} of test table {test_table!r} holds {types[entity]}, which "
            "cannot be a key."
        )
    which = "entity_dtype" if isinstance(task, NodeTaskSpec) else "source_entity_dtype"
    task = task.replace(sources={Split.TEST: test_table}, **{which: dtype})
    return dataset.replace(task=task)
