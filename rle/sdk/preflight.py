"""What a laptop knows of a job before it is submitted. Loads no torch; writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.baseline.wanted import check_wanted
from rle.errors import ValidationError
from rle.inference.export import plan_outputs
from rle.inference.items import check_flatten_output
from rle.inference.plan import check_output, plan_request
from rle.spec.config import TrainerConfig
from rle.spec.dataset import require_splits, spec_of
from rle.spec.output import OutputConfig
from rle.spec.receptive_field import check_receptive_field
from rle.values import Split, TaskType

if TYPE_CHECKING:
    from rle.connectors.base import Connector
    from rle.spec.dataset import DatasetSpec, HasSpec
    from rle.spec.predict_request import OutputRequest, PredictRequest

FITTED = (Split.TRAIN, Split.VALIDATION)
"""The splits that training reads."""


def check_config(config: TrainerConfig | None, *, doing: str) -> TrainerConfig:
    """Return the config that training needs; ValidationError where there is none."""
    if config is None:
        raise ValidationError(
            f"{doing} needs a TrainerConfig: Trainer(connector=..., config=TrainerConfig(...))."
        )
    if not isinstance(config, TrainerConfig):
        raise ValidationError(f"config must be a TrainerConfig, not {type(config).__name__}.")
    return config


def check_training(
    dataset: DatasetSpec | HasSpec,
    config: TrainerConfig,
    *,
    baseline: bool,
    stack: bool,
    needs_test: bool,
) -> DatasetSpec:
    """Return the spec of a dataset that can be trained on, as far as its tables' heads tell.

    Raises:
        ValidationError: A split is missing, or a setting does not fit the dataset.
        UnknownNameError: A table is not there.
        PermissionError: A table is closed to this user; names it.
    """
    spec = spec_of(dataset)
    config.check_against(spec)
    needed = (*FITTED, Split.TEST) if needs_test else FITTED
    require_splits(spec, needed=needed)
    check_wanted(spec, baseline=baseline, stack=stack)
    # Its warnings are said by the job, which looks again.
    check_receptive_field(spec, config)
    probe(spec, needed)
    return spec


def check_prediction(request: PredictRequest, connector: Connector, *, shares_files: bool) -> None:
    """Check what a prediction reads and where it writes.

    Args:
        request: What is asked for; its dataset, where it has one, says more than its experiment.
        connector: Where `test_table` is, where the request names an experiment.
        shares_files: Whether the engine's files are this machine's.

    Raises:
        ValidationError: Something does not fit; no test table, an impossible alias.
        UnknownNameError: A table is not there.
        OutputExistsError: The alias is taken.
        PermissionError: A table is closed, or the place of the output is.
    """
    if request.dataset is not None:
        require_splits(request.dataset, needed=(Split.TEST,))
        probe(request.dataset, (Split.TEST,))
        check_written(request, request.dataset, request.dataset.connector, shares_files)
        return
    connector.probe_tables([str(request.test_table)])
    if request.flatten_output:
        check_flatten_output(TaskType(request.experiment.split("/")[1]))
    if _can_look(request.output_config, shares_files):
        plan_outputs(
            request.output_config,
            connector,
            alias=request.output_alias,
            overwrite_results=request.overwrite_results,
            sources=[str(request.test_table)],
        )


def check_written(
    output: OutputRequest, spec: DatasetSpec, connector: Connector, shares_files: bool
) -> None:
    """Check the names of the output tables, that they are free, and that its form can be had.

    Raises:
        RLEError: As `check_prediction`.
    """
    if _can_look(output.output_config, shares_files):
        plan_request(output, spec, connector)
    check_output(output, spec)


def probe(spec: DatasetSpec, splits: tuple[Split, ...]) -> None:
    """Check that each table is there and readable, each once; reads no row."""
    tables = [table.source for table in spec.tables]
    spec.connector.probe_tables([*tables, *(spec.task.sources[split] for split in splits)])


def as_absolute(output: OutputConfig) -> OutputConfig:
    """Return an output whose folder means the same in the engine's working folder."""
    if not isinstance(output, OutputConfig) or output.artifacts_dir is None:
        return output
    folder = Path(output.artifacts_dir).expanduser().absolute()
    return output.replace(artifacts_dir=str(folder))


def _can_look(output: OutputConfig, shares_files: bool) -> bool:
    """Whether this machine sees the place: a folder of another one says nothing here."""
    return shares_files or not isinstance(output, OutputConfig) or output.artifacts_dir is None
