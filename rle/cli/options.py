"""Arguments and options that several commands take, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A dataset file (.yaml, .json; Dataset.save writes one), or the id of a run.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
