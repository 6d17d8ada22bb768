"""What is asked of a prediction: whose rows, by which model, where to. Conflicts are found here."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from rle.errors import ValidationError
from rle.spec.dataset import DatasetSpec
from rle.spec.metric import EvaluationMetric
from rle.spec.output import OutputConfig
from rle.values import TaskType, Value

VERSION = re.compile(r"[1-9]\d*", re.ASCII)
BEST = "model_selection_strategy='best' (or select_best_model=True)"


def as_version(version: Any) -> str | None:
    """Return a version's number as text: 1 and "1" are "1", None stays None.

    Raises:
        ValidationError: It is anything else, such as "Version 1".
    """
    if isinstance(version, int) and not isinstance(version, bool):
        version = str(version)
    if version is None or (isinstance(version, str) and VERSION.fullmatch(version)):
        return version
    number = re.search(r"\d+", str(version))
    example = str(int(number[0]) or 1) if number else "1"
    raise ValidationError(
        f"version must be the number alone, such as {example!r}, not {version!r}."
    )


class OutputRequest(Value):
    """Where predictions of a test table go, and in which form."""

    output_alias: str
    """End of the tables' names: PREDICTIONS_<ALIAS>."""
    output_config: OutputConfig
    """Where the tables go."""
    test_batch_size: int = Field(default=128, ge=1, strict=True)
    """Rows per step; changes speed and memory only."""
    extract_embeddings: StrictBool = False
    """Whether EMBEDDINGS_<COLUMN>_<ALIAS> is written too, per entity column."""
    flatten_output: StrictBool = False
    """Whether a list of classes or entities becomes one row per item with its score."""
    compute_test_metrics: StrictBool = False
    """Whether the predictions are measured; the test table must have labels."""
    overwrite_results: StrictBool = False
    """Whether older tables of this alias are replaced, all at once."""


class PredictRequest(OutputRequest):
    """A prediction asked for. What contradicts itself is refused before anything is looked up."""

    dataset: DatasetSpec | None = None
    """The tables and the task as they are now; its task's test table is predicted."""
    experiment_name: str | None = None
    """Instead of a dataset: "dataset/task_type/task"; the dataset is the one stored with the model,
    and `test_table` is predicted."""
    test_table: str | None = None
    """Name of a table with the task's entity and time columns."""
    model_run_id: str | None = None
    """The run that trained the model."""
    registered_model_name: str | None = None
    """A registered model; goes with `version`."""
    version: str | None = None
    """A whole number as text, such as "1"."""
    model_selection_strategy: Literal["best"] | None = None
    """ "best": the model with the best validation value of all finished runs of the experiment."""
    select_best_model: StrictBool = False
    """The same as model_selection_strategy="best"."""
    evaluation_metric: EvaluationMetric | None = None
    """What "best" looks at. None: the metric of the dataset's task."""
    align_dtypes: StrictBool = False
    """Whether columns whose dtype is another than in training are read as in training."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, version: Any) -> Any:
        return as_version(version)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_model()
        self._check_data()
        if self.metric is not None:
            self.metric.check(self._task_type)
        return self

    @property
    def is_best(self) -> bool:
        """Whether the best model of the experiment is meant."""
        return self.select_best_model or self.model_selection_strategy is not None

    @property
    def metric(self) -> EvaluationMetric | None:
        """What "best" looks at; None where no best model is meant."""
        if not self.is_best:
            return None
        if self.evaluation_metric is None and self.dataset is not None:
            return self.dataset.task.metric
        return self.evaluation_metric

    @property
    def experiment(self) -> str:
        """Name of the experiment: the one given, or the dataset's."""
        return self.dataset.experiment_name if self.dataset else str(self.experiment_name)

    @property
    def _task_type(self) -> TaskType:
        return TaskType(self.experiment.split("/")[1])

    def _check_model(self) -> None:
        ways = {
            "model_run_id": self.model_run_id is not None,
            "registered_model_name": self.registered_model_name is not None,
            BEST: self.is_best,
        }
        given = [way for way, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValidationError(f"{' and '.join(given)} each name a model; give one of them.")
        if self.version is not None and self.registered_model_name is None:
            raise ValidationError(
                f"version {self.version!r} needs registered_model_name, the model it is one of."
            )
        if self.evaluation_metric is not None and not self.is_best:
            raise ValidationError(
                f"evaluation_metric chooses the best model, so it needs {BEST}; leave it out "
                "otherwise."
            )
        if not given:
            raise ValidationError(
                f"Which model? Give model_run_id, or registered_model_name with version, or {BEST}."
            )
        if self.registered_model_name is not None and self.version is None:
            raise ValidationError(
                f"registered_model_name {self.registered_model_name!r} needs version, such as '1'."
            )

    def _check_data(self) -> None:
        if self.dataset is None and self.experiment_name is None:
            raise ValidationError(
                "Give dataset, or experiment_name with test_table: there is nothing to predict."
            )
        if self.dataset is not None and self.experiment_name is not None:
            raise ValidationError(
                "Give dataset or experiment_name, not both: a dataset names its experiment, "
                f"{self.dataset.experiment_name!r}."
            )
        if self.dataset is not None and self.test_table is not None:
            raise ValidationError(
                "test_table goes with experiment_name; a dataset's own test table is predicted, so "
                "put it into the task's task_data_source as 'test'."
            )
        if self.dataset is not None:
            return
        self._check_experiment_name(str(self.experiment_name))
        if self.test_table is None:
            raise ValidationError(
                f"experiment_name {self.experiment_name!r} needs test_table, the name of the table "
                "to predict."
            )
        if self.is_best and self.evaluation_metric is None:
            raise ValidationError(
                "With experiment_name, the best model needs evaluation_metric, such as "
                f"EvaluationMetric(name={EvaluationMetric.default_for(self._task_type).name!r})."
            )

    def _check_experiment_name(self, name: str) -> None:
        parts = name.split("/")
        types = [task_type.value for task_type in TaskType]
        if len(parts) != 3 or parts[1] not in types:
            raise ValidationError(
                f"experiment_name must be 'dataset/task_type/task' with one of {', '.join(types)} "
                f"in the middle, not {name!r}."
            )
