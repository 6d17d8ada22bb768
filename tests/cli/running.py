"""Runs the command line in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from rle.cli.app import app

if TYPE_CHECKING:
    from click.testing import Result


def run(*arguments: str) -> Result:
    """Return what a command printed, and its exit code."""
    return CliRunner().invoke(app, list(arguments))
