"""Will an active baseball player be out of the game next season? From a database to predictions.

`make demo` runs this file. It reads 150 years of real baseball, starts an engine on this machine,
and submits a job to it that trains a graph neural network on the 21 linked tables and writes a
prediction per player and season back into the database. Then it suspends the engine.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import rle
from examples.datasets import lahman
from rle.runs.folders import home
from rle.runs.tracking import ui_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENGINE = "demo"

# Test AUROC of what one would try first; LightGBM 4.7 with early stopping.
BASELINES = {
    "guessing the base rate": 0.5,
    "LightGBM on the player's own columns": 0.609,
    "LightGBM on hand-made history": 0.828,
}


def main() -> None:
    """Build the database, declare it, train, predict and show what came out."""
    started = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    database = lahman.build(home() / "examples" / "lahman.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    console.print(f"Database: {database} ({lahman.ABOUT})", markup=False, soft_wrap=True)

    dataset = declare(connector)
    show_schema(console, dataset)
    diagram = draw_schema(console, dataset, home() / "examples" / "lahman.svg")

    config = rle.TrainerConfig(
        connector=connector,
        device="cpu",
        n_epochs=4,
        train_batch_size=512,
        val_batch_size=512,
        evals_per_epoch=1,
        lr=0.003,
        channels=64,
        fanouts=[32, 8],
        temporal_strategy="last",  # seasons come once a year: the newest say most
        num_workers=0,  # in the job's own process; 2 would be two processes under Ray Train
    )
    output = rle.OutputConfig.warehouse(database_name=connector.stem, schema_name="main")
    with running_engine(console):
        trainer = rle.Trainer(connector=connector, config=config, engine=ENGINE)
        job = trainer.fit_predict(
            dataset=dataset,
            output_alias=f"player_out_{datetime.now(UTC):%Y%m%d_%H%M%S}",
            output_config=output,
            test_batch_size=512,
            compute_test_metrics=True,
        )
        job.stream_logs()
        result = job.result
    show_result(console, connector, result)
    console.print(f"Schema diagram: {diagram or 'not drawn'}", markup=False, soft_wrap=True)
    console.print(f"All runs, in a browser: {ui_command()}", markup=False, soft_wrap=True)
    console.print(f"All jobs: rle jobs list --engine {ENGINE}", markup=False, soft_wrap=True)
    summary = {
        "task": dataset.experiment_name,
        "metric": result["metric"],
        "validation": round(result["validation"], 4),
        "test": round(result["test_metrics"][result["metric"]], 4),
        "predictions_table": result["export_paths"]["predictions"],
        "rows": result["num_rows"],
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary))


@contextmanager
def running_engine(console: Console) -> Iterator[None]:
    """Make or resume the demo's engine, and leave it suspended, whatever happens."""
    provider = rle.Provider()
    if provider.get_gnn(ENGINE) is None:
        provider.create_gnn(ENGINE, settings={"num_cpus": 2})
    try:
        provider.resume_gnn(ENGINE)  # leaves one alone that runs
        engine = provider.wait_until_ready(ENGINE)
        console.print(f"Engine {ENGINE!r}: {engine['address']}", markup=False, soft_wrap=True)
        yield
    finally:
        provider.suspend_gnn(ENGINE)
        console.print(f"Engine {ENGINE!r} is suspended.", markup=False, soft_wrap=True)


def declare(connector: rle.DuckDBConnector) -> rle.Dataset:
    """Say which tables there are, how they hang together and what to predict."""
    task = rle.NodeTask(
        connector,
        name="player-out",
        task_data_source={
            "train": f"{connector.stem}.tasks.player_out_train",
            "validation": f"{connector.stem}.tasks.player_out_validation",
            "test": f"{connector.stem}.tasks.player_out_test",
        },
        source_entity_column="playerID",
        source_entity_table="people",
        target_column="label",
        task_type=rle.TaskType.BINARY_CLASSIFICATION,
        time_column="timestamp",
        evaluation_metric=rle.EvaluationMetric(name="roc_auc"),
        current_time=False,
    )
    return rle.Dataset(connector, "lahman", tables=lahman.tables(connector), task_description=task)


def show_schema(console: Console, dataset: rle.Dataset) -> None:
    """Print each table with its key, links and time."""
    out = Table("table", "columns", "key", "links to", "known from", title="Schema")
    for table in dataset.tables:
        links = [key.link_to for key in table.foreign_keys]
        out.add_row(
            table.name,
            str(len(table.columns)),
            table.primary_key or "",
            "\n".join(links),
            table.time_column or "always",
        )
    console.print(out)
    console.print(f"Task: {dataset.experiment_name}", markup=False, soft_wrap=True)


def draw_schema(console: Console, dataset: rle.Dataset, path: Path) -> Path | None:
    """Draw the schema as SVG, if Graphviz is there."""
    try:
        return dataset.visualize_dataset().save(path)
    except rle.ValidationError as error:
        console.print(f"No schema diagram: {error}", markup=False, soft_wrap=True)
        return None


def show_result(console: Console, connector: rle.DuckDBConnector, result: dict[str, Any]) -> None:
    """Print the test metric beside its baselines, and some predictions."""
    test = result["test_metrics"][result["metric"]]
    scores = Table("on the test seasons (2016 to 2023)", "AUROC", title="Result")
    for name, value in BASELINES.items():
        scores.add_row(name, f"{value:.3f}")
    scores.add_row(f"GNN-RLE (validation {result['validation']:.3f})", f"{test:.3f}")
    console.print(scores)
    predictions = result["export_paths"]["predictions"]
    rows = connector.sample(predictions, max_rows=5)
    shown = Table(*rows.schema.names, title=f"Five of {result['num_rows']:,} predictions")
    for row in rows.to_pylist():
        shown.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(shown)
    console.print(f"Prediction table: {predictions}", markup=False, soft_wrap=True)
    console.print(f"Training curve: {result['training_curve']}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
