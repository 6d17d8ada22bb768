"""Predictions of a split from start to end: read rows, score them, write tables, measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydantic

from rle.errors import DataError
from rle.inference.answer import Question
from rle.inference.export import export
from rle.inference.items import check_flatten_output
from rle.inference.links import answer_links
from rle.inference.nodes import answer_nodes
from rle.model.link import LinkModel
from rle.runs.events import ArtifactEvent, WarningEvent
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from rle.graph.snapshot import Snapshot
    from rle.inference.answer import Answer, Rescorer
    from rle.inference.export import OutputPlan
    from rle.model.relational import RelationalModel
    from rle.runs.events import AnyEvent
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


class PredictionResult(Value):
    """What a prediction left behind."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    num_rows: int
    """Rows of the prediction table: one per row of the test table, or flat one per item."""
    num_unknown: int
    """Test rows whose entity is not in the graph; their prediction is NULL."""
    export_paths: dict[str, str | dict[str, str]]
    """"predictions": table name, and "embeddings": {entity column: table name}. Where the
    predictions were kept as files, the names that the tables will have."""
    test_metrics: dict[str, float]
    """Every metric of the task type that is defined for the test labels, where they were asked for;
    empty otherwise."""
    model_run_id: str | None = None
    """The run whose model predicted."""


def write_predictions(
    model: RelationalModel | LinkModel,
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    *,
    plan: OutputPlan,
    batch_size: int,
    device: torch.device,
    on_event: Callable[[AnyEvent], None],
    compute_test_metrics: bool = False,
    flatten_output: bool = False,
    rescorer: Rescorer | None = None,
) -> PredictionResult:
    """Predict the test split and write the tables of `plan`, all whole or none at all.

    Args:
        model: Trained; bound to `snapshot` here.
        snapshot: Of the tables as they are now.
        dataset: Its task's test table is predicted.
        config: The model's own: neighbours are sampled as in training.
        plan: Where to.
        batch_size: Rows per step; changes speed and memory, never a prediction.
        device: Where the model runs.
        on_event: Told of progress and of the tables.
        compute_test_metrics: Whether the predictions are measured against the test labels.
        flatten_output: Whether the prediction table has one row per item of a list.
        rescorer: What a node model's scores go through; None: they stay as they are.

    Raises:
        ValidationError: The predictions of the task are no lists, so cannot be flat.
        OutputExistsError: A table came into being since the plan was made.
        DataError: The test table is empty, or its rows contradict the task.
    """
    if flatten_output:
        check_flatten_output(dataset.task.task_type)
    model.bind(snapshot)
    question = Question(
        batch_size=batch_size,
        device=device,
        with_embeddings=bool(plan.embeddings),
        flatten_output=flatten_output,
        with_labels=compute_test_metrics,
        on_event=on_event,
        rescorer=rescorer,
    )
    placed = model.to(device)
    if isinstance(placed, LinkModel):
        answer = answer_links(placed, snapshot, dataset, config, question)
    else:
        answer = answer_nodes(placed, snapshot, dataset, config, question)
    written = export(plan, answer.schemas, answer.rows)
    for name, location in plan.artifacts:
        on_event(ArtifactEvent(name=name, location=location))
    return PredictionResult(
        num_rows=written[-1],
        num_unknown=answer.num_unknown,
        export_paths={"predictions": plan.predictions, "embeddings": dict(plan.embeddings)},
        test_metrics=_measure(answer, dataset, on_event) if compute_test_metrics else {},
    )


def _measure(
    answer: Answer, dataset: DatasetSpec, on_event: Callable[[AnyEvent], None]
) -> dict[str, float]:
    try:
        return answer.measure()
    except DataError as error:  # the tables are written; a metric that is undefined is no loss
        message = f"{dataset.task.metric.name} of the test split: {error}"
        on_event(WarningEvent(message=message))
        return {}
