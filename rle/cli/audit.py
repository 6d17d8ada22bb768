"""`rle audit`: leaks, before anything is trained."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rle.cli.options import DatasetArgument, JsonOption
from rle.cli.terminal import FOUND, errors_as_lines, progress_on_stderr, stdout_console


class FailOn(StrEnum):
    """From which severity on `rle audit` ends with exit code 1."""

    high = "high"
    medium = "medium"
    low = "low"
    never = "never"


def audit(
    dataset: DatasetArgument,
    as_json: JsonOption = False,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit with code 1 from this severity on.")
    ] = FailOn.high,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Pass over this 'table' or 'table.column'. May be given several times."),
    ] = None,
    max_rows: Annotated[
        int, typer.Option(min=100, help="Task rows per split that are sampled.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
) -> None:
    """Look for leaks before training: what a prediction could see and should not."""
    from rle.audit.findings import Severity
    from rle.audit.run import audit_dataset
    from rle.sdk.dataset_file import read_dataset

    with errors_as_lines(), progress_on_stderr() as on_progress:
        report = audit_dataset(
            read_dataset(dataset),
            ignore=tuple(ignore or ()),
            max_rows=max_rows,
            seed=seed,
            on_progress=on_progress,
        )
    if as_json:
        typer.echo(report.to_json(indent=2))
    else:
        console = stdout_console()
        console.print(report.render() if report.findings else str(report), markup=False)
    if fail_on is not FailOn.never and report.at_least(Severity(fail_on.value)):
        raise typer.Exit(FOUND)
