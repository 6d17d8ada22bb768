"""`rle train` and `rle predict`: work for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rle.cli.options import (
    BatchSizeOption,
    DatasetArgument,
    EmbeddingsOption,
    EngineOption,
    ExtensionOption,
    FlattenOption,
    FollowOption,
    JsonOption,
    OutputDirOption,
    OutputOption,
    OverwriteOption,
    TestMetricsOption,
    UploadCodeOption,
    WaitOption,
)
from rle.cli.terminal import errors_as_lines, words_on_stderr
from rle.errors import ValidationError

if TYPE_CHECKING:
    from rle.connectors.base import Connector
    from rle.spec.dataset import DatasetSpec
    from rle.spec.metric import EvaluationMetric


def train(
    dataset: DatasetArgument,
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON file with fields of TrainerConfig.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A field of TrainerConfig, such as lr=0.01; wins over --config. Repeatable.",
        ),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Measure LightGBM beside the model.")
    ] = False,
    stack: Annotated[
        bool, typer.Option("--stack", help="Rescore with trees where validation gains by it.")
    ] = False,
    predict: Annotated[
        str | None,
        typer.Option(metavar="ALIAS", help="Then predict the test table: PREDICTIONS_<ALIAS>."),
    ] = None,
    output: OutputOption = None,
    output_dir: OutputDirOption = None,
    extension: ExtensionOption = "parquet",
    test_batch_size: BatchSizeOption = 128,
    extract_embeddings: EmbeddingsOption = False,
    flatten_output: FlattenOption = False,
    test_metrics: TestMetricsOption = False,
    overwrite: OverwriteOption = False,
    engine: EngineOption = None,
    upload_code: UploadCodeOption = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a training job and print its id, nothing else: id=$(rle train shop.yaml)."""
    from rle.cli.outcome import report
    from rle.cli.output import no_output, output_config
    from rle.sdk.config_file import read_config
    from rle.sdk.dataset_file import read_dataset
    from rle.sdk.trainer import Trainer

    with errors_as_lines(), words_on_stderr():
        spec = read_dataset(dataset)
        trainer = Trainer(
            spec.connector,
            read_config(config, settings=settings or (), connector=spec.connector),
            engine=engine,
            upload_code=upload_code,
        )
        if predict is None:
            no_output(
                output=output,
                output_dir=output_dir,
                extract_embeddings=extract_embeddings,
                flatten_output=flatten_output,
                test_metrics=test_metrics,
                overwrite=overwrite,
            )
            job = trainer.fit(spec, baseline=baseline, stack=stack)
        else:
            job = trainer.fit_predict(
                dataset=spec,
                output_alias=predict,
                output_config=output_config(output, output_dir, extension),
                test_batch_size=test_batch_size,
                extract_embeddings=extract_embeddings,
                flatten_output=flatten_output,
                compute_test_metrics=test_metrics,
                overwrite_results=overwrite,
                baseline=baseline,
                stack=stack,
            )
    with errors_as_lines():
        report(job, wait=wait, follow=follow, as_json=as_json)


def predict(
    alias: Annotated[
        str, typer.Option(help="End of the tables' names: PREDICTIONS_<ALIAS>.", show_default=False)
    ],
    dataset: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A dataset file or the id of a run: its test table."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="dataset/task_type/task, with --test-table."),
    ] = None,
    test_table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Table to predict, with --experiment.")
    ] = None,
    connector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --experiment: a connector, or a dataset file with one, to read the table.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="The run that trained the model.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A registered model, with --version.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Of the registered model.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The best model of the experiment.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What --best looks at; the task's where not given."),
    ] = None,
    eval_at_k: Annotated[
        int | None, typer.Option(min=1, help="Of --metric, for link prediction.")
    ] = None,
    align_dtypes: Annotated[
        bool, typer.Option("--align-dtypes", help="Read columns as in training.")
    ] = False,
    output: OutputOption = None,
    output_dir: OutputDirOption = None,
    extension: ExtensionOption = "parquet",
    test_batch_size: BatchSizeOption = 128,
    extract_embeddings: EmbeddingsOption = False,
    flatten_output: FlattenOption = False,
    test_metrics: TestMetricsOption = False,
    overwrite: OverwriteOption = False,
    engine: EngineOption = None,
    upload_code: UploadCodeOption = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a prediction job and print its id, nothing else."""
    from rle.cli.outcome import report
    from rle.cli.output import output_config
    from rle.sdk.dataset_file import read_dataset
    from rle.sdk.trainer import Trainer

    with errors_as_lines(), words_on_stderr():
        spec = None if dataset is None else read_dataset(dataset)
        tables = _connector(spec, connector, run)
        job = Trainer(tables, engine=engine, upload_code=upload_code).predict(
            output_alias=alias,
            output_config=output_config(output, output_dir, extension),
            test_batch_size=test_batch_size,
            dataset=spec,
            experiment_name=experiment,
            test_table=test_table,
            model_run_id=run,
            registered_model_name=model,
            version=version,
            select_best_model=best,
            evaluation_metric=_metric(metric, eval_at_k),
            extract_embeddings=extract_embeddings,
            flatten_output=flatten_output,
            compute_test_metrics=test_metrics,
            overwrite_results=overwrite,
            align_dtypes=align_dtypes,
        )
    with errors_as_lines():
        report(job, wait=wait, follow=follow, as_json=as_json)


def _connector(spec: DatasetSpec | None, file: Path | None, run: str | None) -> Connector:
    """Return what reads the table to predict: the dataset's, the file's, or that of the run."""
    from rle.sdk.connector_file import read_connector
    from rle.sdk.dataset_file import read_dataset

    if spec is not None and file is not None:
        raise ValidationError("--dataset has a connector of its own; leave out --connector.")
    if spec is not None:
        return spec.connector
    if file is not None:
        return read_connector(file)
    if run is not None:
        return read_dataset(run).connector
    raise ValidationError(
        "What is to be predicted? Give --dataset FILE, or --experiment NAME and --test-table TABLE "
        "with --connector FILE, a file that holds a connector, such as a dataset's."
    )


def _metric(name: str | None, eval_at_k: int | None) -> EvaluationMetric | None:
    from rle.spec.metric import EvaluationMetric

    if name is None:
        if eval_at_k is not None:
            raise ValidationError("--eval-at-k belongs to --metric; give both, or neither.")
        return None
    return EvaluationMetric(name=name, eval_at_k=eval_at_k)
