"""The command line: `rle <command>`. Each command is one call of the SDK.

Exit codes: 0 all is well; 1 the command found what it was asked to fail on; 2 it could not run,
and one line on standard error says why; 130 Ctrl-C. Results go to standard output, everything
else to standard error, so that output can be piped.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import rle
from rle.errors import RLEError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

FOUND, FAILED, INTERRUPTED = 1, 2, 130
"""Exit codes beside 0."""
PLAIN_WIDTH = 140
"""Characters per line where standard output is no terminal."""

app = typer.Typer(
    name="rle",
    help="Graph neural networks on relational databases.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class FailOn(StrEnum):
    """From which severity on `rle audit` ends with exit code 1."""

    high = "high"
    medium = "medium"
    low = "low"
    never = "never"


DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A dataset file (.yaml, .json; Dataset.save writes one), or the id of a run.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rle {rle.__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Graph neural networks on relational databases."""


@app.command()
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


@app.command()
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


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """End with exit code 2 and one line on standard error where the block cannot do its work."""
    try:
        yield
    except RLEError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress_on_stderr() -> Iterator[Callable[[str, int, int], None]]:
    """Yield an on_progress(stage, done, of) that draws a bar per stage, in a terminal only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        known: dict[str, TaskID] = {}

        def show(stage: str, done: int, of: int) -> None:
            if stage not in known:
                known[stage] = bars.add_task(stage, total=of)
            bars.update(known[stage], completed=done, total=of)

        yield show


def stdout_console() -> Console:
    """Return a console on standard output, wide where that is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def main() -> None:
    """Run the command line; the console script `rle`."""
    app()


if __name__ == "__main__":
    main()
