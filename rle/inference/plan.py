"""What is known of an output before any model is looked at; loads no torch, so laptops check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.inference.export import plan_outputs
from rle.inference.items import check_flatten_output
from rle.spec.task import target_column
from rle.values import Split

if TYPE_CHECKING:
    from rle.connectors.base import Connector
    from rle.inference.export import OutputPlan
    from rle.spec.dataset import DatasetSpec
    from rle.spec.predict_request import OutputRequest


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
