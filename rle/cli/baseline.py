"""`rle baseline`: what gradient-boosted trees reach on the same task."""

from __future__ import annotations

from typing import Annotated

import typer

from rle.cli.options import DatasetArgument, JsonOption
from rle.cli.terminal import errors_as_lines, progress_on_stderr, stdout_console


def baseline(
    dataset: DatasetArgument,
    as_json: JsonOption = False,
    seed: Annotated[int, typer.Option(help="Of the draws of rows and features.")] = 42,
    text_embedder: Annotated[
        str | None,
        typer.Option(help="As in TrainerConfig. Without it text is read as categories."),
    ] = None,
) -> None:
    """Measure LightGBM on automatic aggregates: is a GNN needed here?"""
    from rle.baseline.run import run_baseline
    from rle.sdk.dataset_file import read_dataset

    with errors_as_lines(), progress_on_stderr() as on_progress:
        report = run_baseline(
            read_dataset(dataset), seed=seed, text_embedder=text_embedder, on_progress=on_progress
        )
    if as_json:
        typer.echo(report.to_json(indent=2))
    else:
        stdout_console().print(report.render(), markup=False)
