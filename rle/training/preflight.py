"""What can be known to fail is found before any long work: in seconds, reading labels at most."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from rle.errors import DataError, UnknownNameError
from rle.graph.task import check_test_labels, read_labels
from rle.graph.task_table import check_times
from rle.ingest.labels import LabelCodec
from rle.ingest.plan import check_columns, plan_table
from rle.ingest.ray_runtime import joins_cluster
from rle.ingest.text import find_embedder
from rle.spec.dataset import require_splits
from rle.spec.receptive_field import check_receptive_field
from rle.spec.task import LinkTaskSpec, NodeTaskSpec, target_column
from rle.training.balance import balance_warnings, check_class_weights
from rle.training.device import check_device
from rle.training.link_preflight import check_links, check_test_links
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


FITTED = (Split.TRAIN, Split.VALIDATION)
"""The splits that training reads."""


def check_before_training(
    dataset: DatasetSpec, config: TrainerConfig, *, needs_test: bool
) -> tuple[LabelCodec | None, tuple[str, ...]]:
    """Check device, tables, columns, text embedder, splits and labels.

    Args:
        dataset: What is trained on.
        config: How.
        needs_test: Whether there must be a test split too.

    Returns:
        How labels become targets, None for links; and what the user should be warned of.

    Raises:
        DeviceError: The device is not there.
        ValidationError: Splits are missing, or a setting does not fit.
        UnknownNameError: A table, a column or a class is not there.
        MissingModelError: There is text and the embedder cannot be had.
        DataError: A split is empty, or its labels do not fit the task.
    """
    if config.num_workers == 0 or not joins_cluster():
        check_device(config)  # a cluster's GPUs are counted once it is joined
    config.check_against(dataset)
    splits = (*FITTED, Split.TEST) if needs_test else FITTED
    task = require_splits(dataset, needed=splits)
    check_sources(dataset, text_embedder=config.text_embedder)
    narrow = check_receptive_field(dataset, config)
    spans = check_task_columns(dataset, splits)
    codec: LabelCodec | None = None
    said: tuple[str, ...] = ()
    if isinstance(task, NodeTaskSpec):
        codec, said = _check_labels(dataset, task, config)
        if needs_test:
            check_test_labels(dataset.connector, task, codec)
    else:
        said = check_links(dataset, task, config, splits)
    return codec, (*narrow, *order_warnings(spans), *said)


def _check_labels(
    dataset: DatasetSpec, task: NodeTaskSpec, config: TrainerConfig
) -> tuple[LabelCodec, tuple[str, ...]]:
    """Fit the label codec of a node task; check that its labels can be learnt and measured."""
    labels = {split: read_labels(dataset.connector, task, split) for split in FITTED}
    where = f"{task.name}.{task.target_column}"
    codec = LabelCodec.fit(task.task_type, labels[Split.TRAIN], where=f"{where} (train)")
    check_validation_labels(codec, labels[Split.VALIDATION], where=where)
    check_class_weights(config, codec)
    targets = codec.encode(labels[Split.TRAIN], where=f"{where} (train)")
    warnings = (
        *clamp_warnings(config, codec, labels[Split.TRAIN]),
        *balance_warnings(config, codec, targets, metric=task.metric.name),
    )
    return codec, warnings


def check_validation_labels(codec: LabelCodec, labels: pa.ChunkedArray, *, where: str) -> None:
    """Raise DataError where validation labels do not fit the training labels, or are all alike."""
    encoded = codec.encode(labels, where=f"{where} (validation)")
    if codec.task_type is TaskType.BINARY_CLASSIFICATION and encoded.min() == encoded.max():
        raise DataError(
            f"Column {where!r} of the validation table has one class only, "
            f"{codec.classes[int(encoded[0])]!r}; nothing can be measured on it."
        )


def check_before_prediction(
    dataset: DatasetSpec, config: TrainerConfig, *, codec: LabelCodec | None
) -> None:
    """Check device, tables, columns, text embedder, and the test split with its labels if any.

    Args:
        dataset: What is predicted on, as `rle.spec.trained.as_trained` returns it.
        config: The model's.
        codec: Of the model; None where it predicts links.

    Raises:
        RLEError: As `check_before_training`.
    """
    check_device(config)
    task = require_splits(dataset, needed=(Split.TEST,))
    check_sources(dataset, text_embedder=config.text_embedder)
    check_task_columns(dataset, (Split.TEST,))
    if isinstance(task, LinkTaskSpec):
        check_test_links(dataset, task)
    elif codec is not None:
        check_test_labels(dataset.connector, task, codec)


def check_sources(dataset: DatasetSpec, *, text_embedder: str) -> None:
    """Raise where a table or column has gone, or text has no embedder."""
    plans = [plan_table(table) for table in dataset.tables]
    for plan in plans:
        check_columns(plan, dataset.connector)
    if any(plan.texts for plan in plans):
        find_embedder(text_embedder)


def check_task_columns(
    dataset: DatasetSpec, splits: Sequence[Split]
) -> dict[Split, tuple[int, int]]:
    """Raise where a task table lacks a column, a row or a time; a test table needs no labels.

    Returns:
        First and last time per split, nanoseconds; nothing for a task without time.
    """
    task, spans = dataset.task, {}
    entity, target = dataset.entities[0][2], target_column(task)
    for split in splits:
        source = task.sources[split]
        known = dataset.connector.arrow_schema(source).names
        needed = [entity]
        needed += [task.time_column] if task.time_column is not None else []
        needed += [target] if split is not Split.TEST else []
        for column in needed:
            if column not in known:
                raise UnknownNameError(f"column of {split.value} table {source}", column, known)
        if dataset.connector.num_rows(source) == 0:
            raise DataError(f"The {split.value} table {source} of task {task.name!r} has no rows.")
        span = check_times(dataset.connector, task, split)
        if span is not None:
            spans[split] = span
    return spans


def order_warnings(spans: dict[Split, tuple[int, int]]) -> tuple[str, ...]:
    """Warn where a split begins before the one it is meant to follow has ended.

    A model that has seen the labels of later times is measured on times it knows the outcome of.
    """
    given = [split for split in Split if split in spans]
    warnings = []
    for earlier, later in itertools.pairwise(given):
        begin, end = spans[later][0], spans[earlier][1]
        if begin <= end:
            warnings.append(
                f"the {later.value} table begins at {np.datetime64(begin, 'ns')}, before the last "
                f"time of the {earlier.value} table, {np.datetime64(end, 'ns')}; its metric may be "
                "better than the future will be"
            )
    return tuple(warnings)


def clamp_warnings(
    config: TrainerConfig, codec: LabelCodec, labels: pa.ChunkedArray
) -> tuple[str, ...]:
    """Say what predictions are clamped to where it cuts training labels off, or was found out."""
    if codec.task_type is not TaskType.REGRESSION:
        unused = f"TrainerConfig.clamp has no effect on a {codec.task_type.value} task"
        return (unused,) if config.clamp is not None else ()
    if config.clamp == "auto" and codec.percentiles is not None:
        bounds = "{:g} .. {:g}".format(*codec.percentiles)
        said = f"predictions are clamped to {bounds}, the 2nd and 98th percentile of the training "
        return (f"{said}labels",)
    found = pc.min_max(labels).as_py()
    low, high = config.clamp_min, config.clamp_max
    below = low is not None and found["min"] < low
    above = high is not None and found["max"] > high
    if not below and not above:
        return ()
    warning = (
        f"training labels lie between {found['min']:g} and {found['max']:g}, but predictions are "
        f"clamped to {low} .. {high}; set TrainerConfig.clamp_min and clamp_max (None: no bound), "
        "or clamp='auto'"
    )
    return (warning,)
