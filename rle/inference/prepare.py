"""Everything about a prediction that can be known to fail is found here, before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.inference.export import plan_outputs
from rle.inference.find_model import find_model
from rle.inference.items import check_flatten_output
from rle.inference.model_folder import ModelManifest, load_model
from rle.model.spec import ModelSpec
from rle.spec.infer import key_dtype
from rle.spec.task import NodeTaskSpec, target_column
from rle.spec.trained import as_trained
from rle.training.preflight import check_before_prediction
from rle.values import Split

if TYPE_CHECKING:
    from pathlib import Path

    from rle.connectors.base import Connector
    from rle.inference.export import OutputPlan
    from rle.spec.dataset import DatasetSpec
    from rle.spec.predict_request import OutputRequest, PredictRequest


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


def plan_request(request: OutputRequest, dataset: DatasetSpec, connector: Connector) -> OutputPlan:
    """Name the output tables of a request and check that they can be created."""
    return plan_outputs(
        request.output_config,
        connector,
        alias=request.output_alias,
        entity_columns=[column for _, _, column, _ in dataset.entities],
        extract_embeddings=request.extract_embeddings,
        overwrite_results=request.overwrite_results,
        sources=[*(table.source for table in dataset.tables), *dataset.task.sources.values()],
    )


def check_output(request: OutputRequest, dataset: DatasetSpec) -> None:
    """Raise ValidationError where an output cannot be had in the form that is asked for.

    Only lists can be flat, and only a test table with labels can be measured.
    """
    task = dataset.task
    if request.flatten_output:
        check_flatten_output(task.task_type)
    if not request.compute_test_metrics:
        return
    column = target_column(task)
    source, connector = task.sources[Split.TEST], dataset.connector
    if column in connector.arrow_schema(source).names:
        for chunk in connector.chunks(source, columns=[column]):
            if any(batch.column(0).null_count < batch.num_rows for batch in connector.read(chunk)):
                return
    raise ValidationError(
        f"compute_test_metrics=True needs labels, but column {column!r} of test table {source} is "
        "not there or holds NULL only."
    )


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
