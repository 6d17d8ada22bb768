"""The command line: `rle <command>`. Each command is one call of the SDK.

Results go to standard output, everything else to standard error, so that output can be piped. What
the exit codes mean is told by `rle --help`; docs/cli.md tells the rest.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

import rle
from rle.cli import engine, jobs, snowflake
from rle.cli.audit import audit
from rle.cli.baseline import baseline
from rle.cli.train import predict, train

EXIT_CODES = (
    "Exit codes: 0 done; 1 it failed or was found, which is a job that FAILED, a finding of audit "
    "or an engine that is not READY; 2 it could not be done, and one line on standard error says "
    "why; 3 a job that was CANCELED; 130 Ctrl-C, which ends the command and never a job."
)
"""The end of `rle --help`."""

app = typer.Typer(
    name="rle",
    help="Graph neural networks on relational databases.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)


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


for command in (train, predict, audit, baseline):
    app.command()(command)
for group in (engine.app, jobs.app, snowflake.app):
    app.add_typer(group)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning as the command line says everything: without the line of code it is from."""
    return f"warning: {' '.join(str(message).split())}\n"


def main() -> None:
    """Run the command line; the console script `rle`."""
    warnings.formatwarning = _one_line
    app()


if __name__ == "__main__":
    main()
