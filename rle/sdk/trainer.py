"""Trainer: checks on the laptop what can be known there, and hands the work to an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rle.errors import ValidationError
from rle.jobs.request import PredictWork, TrainInferenceWork, TrainWork
from rle.sdk.handler import JobHandler
from rle.sdk.preflight import (
    as_absolute,
    check_config,
    check_prediction,
    check_training,
    check_written,
)
from rle.spec.dataset import spec_of
from rle.spec.predict_request import OutputRequest, PredictRequest
from rle.spec.show import say

if TYPE_CHECKING:
    from pathlib import Path

    from rle.connectors.base import Connector
    from rle.sdk.engine_jobs import EngineJobs
    from rle.sdk.monitor import JobMonitor
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec, HasSpec
    from rle.spec.metric import EvaluationMetric
    from rle.spec.output import OutputConfig


class Trainer:
    """Trains and predicts on an engine. Each call queues a job and returns its monitor at once.

    The job does not depend on this process: it may end, and `JobMonitor.from_id` finds the job
    again from any other.

    Args:
        connector: Where the tables are.
        config: How to train; not needed to predict.
        engine: Name of the engine; None: the connector's, $RLE_ENGINE, or the only engine there is.
        upload_code: Whether this machine's own `rle` package runs, instead of the engine's
            installed one; or the folder of another one.

    Raises:
        ConnectionError: There is no such engine, or it is not READY; says how it stands.
        PermissionError: The tables' place is closed to this user; says what to grant. What cannot
            be verified from here is printed as a warning.
        ValidationError: An argument is not what it should be.
    """

    def __init__(
        self,
        connector: Connector,
        config: TrainerConfig | None = None,
        *,
        engine: str | EngineJobs | None = None,
        upload_code: bool | str | Path = False,
    ) -> None:
        if connector is None:
            raise ValidationError("Trainer needs a connector: it says where the tables are.")
        if config is not None:
            check_config(config, doing="Trainer")
        self._handler = JobHandler(connector, engine, upload_code=upload_code)
        self.connector, self.config = connector, config
        for warning in connector.check_access():
            say(f"warning: {warning}")

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._handler.engine

    def fit(
        self,
        dataset: DatasetSpec | HasSpec,
        *,
        baseline: bool = False,
        stack: bool = False,
    ) -> JobMonitor:
        """Queue a job that trains on the train split and keeps what is best on validation.

        Args:
            dataset: Tables and a task with train and validation tables.
            baseline: Whether LightGBM is measured beside the model; see docs/baseline.md.
            stack: Whether model and baseline are joined too. Implies `baseline`.

        Raises:
            ValidationError: A split is missing, or a setting does not fit the dataset.
            PermissionError: A table is closed to this user; names it.
            ConnectionError: The engine does not answer.
            RLEError: Something else is wrong; nothing was submitted.
        """
        config = check_config(self.config, doing="fit")
        spec = check_training(dataset, config, baseline=baseline, stack=stack, needs_test=False)
        work = TrainWork(dataset=spec, config=config, baseline=baseline, stack=stack)
        return self._handler.submit(work)

    def fit_predict(
        self,
        output_alias: str,
        dataset: DatasetSpec | HasSpec,
        output_config: OutputConfig,
        test_batch_size: int = 128,
        extract_embeddings: bool = False,
        *,
        flatten_output: bool = False,
        compute_test_metrics: bool = False,
        overwrite_results: bool = False,
        baseline: bool = False,
        stack: bool = False,
        materialize_results: bool = True,
    ) -> JobMonitor:
        """Queue one job that trains, then predicts the test split. See `fit` and `predict`."""
        config = check_config(self.config, doing="fit_predict")
        output = OutputRequest(
            output_alias=output_alias,
            output_config=as_absolute(output_config),
            test_batch_size=test_batch_size,
            extract_embeddings=extract_embeddings,
            flatten_output=flatten_output,
            compute_test_metrics=compute_test_metrics,
            overwrite_results=overwrite_results,
        )
        spec = check_training(dataset, config, baseline=baseline, stack=stack, needs_test=True)
        check_written(output, spec, config.connector, self._handler.shares_files)
        work = TrainInferenceWork(
            dataset=spec,
            config=config,
            output=output,
            baseline=baseline,
            stack=stack,
            materialize=materialize_results,
        )
        return self._handler.submit(work)

    def predict(
        self,
        output_alias: str,
        output_config: OutputConfig,
        test_batch_size: int = 128,
        dataset: DatasetSpec | HasSpec | None = None,
        experiment_name: str | None = None,
        test_table: str | None = None,
        model_run_id: str | None = None,
        registered_model_name: str | None = None,
        version: str | int | None = None,
        model_selection_strategy: Literal["best"] | None = None,
        evaluation_metric: EvaluationMetric | None = None,
        extract_embeddings: bool = False,
        *,
        select_best_model: bool = False,
        flatten_output: bool = False,
        compute_test_metrics: bool = False,
        overwrite_results: bool = False,
        align_dtypes: bool = False,
        materialize_results: bool = True,
    ) -> JobMonitor:
        """Queue a job that predicts a test table with a trained model.

        The rows are those of `dataset`'s test table, or, by `experiment_name`, of `test_table`. The
        model is named in one of three ways; docs/models.md shows each.

        Args:
            output_alias: End of the tables' names: PREDICTIONS_<ALIAS>.
            output_config: Where the tables go. A relative folder is one below this process's
                working folder; the engine has to see it under the same path.
            test_batch_size: Rows per step; changes speed and memory only.
            dataset: The tables as they are now, and a task with a test table.
            experiment_name: "dataset/task_type/task", instead of a dataset.
            test_table: With `experiment_name`: table with the task's entity and time columns.
            model_run_id: Of the job that trained the model: `job.model_run_id`.
            registered_model_name: Name in MLflow's model registry.
            version: Its version, "1" for the first.
            model_selection_strategy: "best": the finished run with the best validation value.
            evaluation_metric: What "best" looks at; the task's metric where a dataset is given.
            extract_embeddings: Whether EMBEDDINGS_<COLUMN>_<ALIAS> is written too.
            select_best_model: The same as model_selection_strategy="best".
            flatten_output: Whether a list of classes or entities becomes one row per item.
            compute_test_metrics: Whether predictions are measured against the test labels.
            overwrite_results: Whether older tables of this alias are replaced, all at once.
            align_dtypes: Whether columns of another dtype than in training are read as in training.
            materialize_results: Whether the job makes the tables as its last step. False: it keeps
                its predictions as files on the engine until `job.materialize_results()`.

        Raises:
            ValidationError: Arguments contradict each other, or do not fit the tables.
            OutputExistsError: The alias is taken.
            PermissionError: A table is closed to this user; names it.
            ConnectionError: The engine does not answer.
            RLEError: Something else is wrong; nothing was submitted.
        """
        request = PredictRequest(
            output_alias=output_alias,
            output_config=as_absolute(output_config),
            test_batch_size=test_batch_size,
            dataset=None if dataset is None else spec_of(dataset),
            experiment_name=experiment_name,
            test_table=test_table,
            model_run_id=model_run_id,
            registered_model_name=registered_model_name,
            version=version,
            model_selection_strategy=model_selection_strategy,
            select_best_model=select_best_model,
            evaluation_metric=evaluation_metric,
            extract_embeddings=extract_embeddings,
            flatten_output=flatten_output,
            compute_test_metrics=compute_test_metrics,
            overwrite_results=overwrite_results,
            align_dtypes=align_dtypes,
        )
        check_prediction(request, self.connector, shares_files=self._handler.shares_files)
        return self._handler.submit(PredictWork(request=request, materialize=materialize_results))

    def __repr__(self) -> str:
        return f"<Trainer on engine {self.engine!r}>"
