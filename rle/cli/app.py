"""The command line: `rle <command>`. Each command is one call of the SDK.

Exit codes: 0 all is well; 1 the command found what it was asked to fail on; 2 it could not run,
and one line on standard error says why; 130 Ctrl-C. Results go to standard output, everything
else to standard error, so that output can be piped.
"""

from __future__ import annotations

from typing import Annotated

import typer

import rle
from rle.cli.audit import audit
from rle.cli.baseline import baseline

app = typer.Typer(
    name="rle",
    help="Graph neural networks on relational databases.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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


for command in (audit, baseline):
    app.command()(command)


def main() -> None:
    """Run the command line; the console script `rle`."""
    app()


if __name__ == "__main__":
    main()
