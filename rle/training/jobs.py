"""From a dataset and its graph to the training job of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rle.errors import InternalError
from rle.graph.link_task import read_link_split
from rle.graph.task import read_split
from rle.model.link_spec import LinkModelSpec
from rle.model.row_vectors import count_rows
from rle.model.spec import ModelSpec
from rle.sampling.history import history_paths
from rle.spec.task import LinkTaskSpec
from rle.training.link_job import LinkTrainingJob
from rle.training.node_job import NodeTrainingJob
from rle.values import Split

if TYPE_CHECKING:
    from pathlib import Path

    from rle.graph.snapshot import Snapshot
    from rle.ingest.labels import LabelCodec
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


def make_job(
    dataset: DatasetSpec,
    config: TrainerConfig,
    snapshot: Snapshot,
    *,
    labels: LabelCodec | None,
    folder: Path,
) -> NodeTrainingJob | LinkTrainingJob:
    """Describe the model, its statistics taken from the rows that training may see, and the job.

    Args:
        dataset: What is trained on.
        config: How.
        snapshot: The graph of `dataset`, opened from a folder.
        labels: How labels become targets, as `check_before_training` returns it; None for links.
        folder: The run's own, on storage that every worker sees.

    Raises:
        DataError: A training table cannot be read, or none of its rows is in the graph.
        ValidationError: Met targets are to be ranked, but no links lead to any.
    """
    if snapshot.path is None:
        raise InternalError("A training job needs a snapshot on disk.")
    task = dataset.task
    until = _newest_training_time(dataset, snapshot)
    stats = snapshot.stats(until=until)
    shallow_rows = count_rows(config, snapshot, until=until)
    if isinstance(task, LinkTaskSpec):
        source, target = dataset.entities[0][0], dataset.entities[1][0]
        link_model = LinkModelSpec.from_config(
            config,
            graph=snapshot.schema,
            stats=stats,
            source_table=source,
            target_table=target,
            task_type=task.task_type,
            paths=history_paths(snapshot.schema, source=source, target=target),
            metric=task.metric,
            shallow_rows=shallow_rows,
        )
        return LinkTrainingJob(
            folder=folder,
            config=config,
            metric=task.metric,
            dataset=dataset,
            snapshot=snapshot.path,
            model=link_model,
        )
    if labels is None:
        raise InternalError(f"Task {task.name!r} is a node task; its job needs a label codec.")
    model = ModelSpec.from_config(
        config,
        graph=snapshot.schema,
        stats=stats,
        entity_table=dataset.entities[0][0],
        labels=labels,
        metric=task.metric.name,
        shallow_rows=shallow_rows,
    )
    return NodeTrainingJob(
        folder=folder,
        config=config,
        metric=task.metric,
        dataset=dataset,
        snapshot=snapshot.path,
        model=model,
    )


def _newest_training_time(dataset: DatasetSpec, snapshot: Snapshot) -> int:
    """Time of the newest training row whose entity is in the graph, nanoseconds."""
    connector = dataset.connector
    if isinstance(dataset.task, LinkTaskSpec):
        links = read_link_split(connector, dataset, Split.TRAIN, snapshot, with_targets=False)
        rows, times = links.rows, links.times
    else:
        nodes = read_split(connector, dataset, Split.TRAIN, snapshot, None)
        rows, times = nodes.rows, nodes.times
    known = np.flatnonzero(rows >= 0)
    return int(times[known].max() if known.size else times.max())
