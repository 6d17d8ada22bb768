"""What every command shares: exit codes, errors as one line, progress, a console for results."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rle.errors import RLEError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

FOUND, FAILED, INTERRUPTED = 1, 2, 130
"""Exit codes beside 0."""
OPTIONS = {
    "model_selection_strategy='best' (or select_best_model=True)": "--best",
    "overwrite_results=True": "--overwrite",
    "model_run_id": "--run",
    "registered_model_name": "--model",
    "with version": "with --version",
    "needs version": "needs --version",
    "evaluation_metric, such as EvaluationMetric(name='roc_auc')": "--metric, such as roc_auc",
    "test_table": "--test-table",
    "experiment_name": "--experiment",
}
"""What arguments of the SDK, as its errors name them, are called on the command line."""
PLAIN_WIDTH = 140
"""Characters per line where standard output is no terminal."""


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """End with exit code 2 and one line on standard error where the block cannot do its work."""
    try:
        yield
    except RLEError as error:
        typer.echo(f"error: {_in_options(' '.join(str(error).split()))}", err=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _in_options(text: str) -> str:
    # A name in quotes, or part of a longer one, is a value: a field of a file, a table.
    for argument, option in OPTIONS.items():
        text = re.sub(rf"(?<!['.\w]){re.escape(argument)}(?!['\w]|\.\w)", option, text)
    return text


@contextmanager
def words_on_stderr() -> Iterator[None]:
    """Send what the SDK says to standard error, so that standard output is the result alone."""
    with redirect_stdout(sys.stderr):
        yield


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


def print_json(value: object) -> None:
    """Print plain values as JSON: times as ISO 8601, what is no number as "NaN" or "Infinity"."""
    typer.echo(to_json(value, indent=2, inf_nan_mode="strings").decode())
