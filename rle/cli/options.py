"""Arguments and options that several commands take, each declared once."""

from __future__ import annotations

from pathlib import Path
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
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job id; `rle jobs list` shows them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Which engine; $RLE_ENGINE, or the only one there is, where it is not given.",
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Return when the job has ended, with its exit code.")
]
FollowOption = Annotated[
    bool,
    typer.Option("--follow", help="As --wait, and show on standard error what the job does."),
]

# Where predictions go, and in which form.
OutputOption = Annotated[
    str | None,
    typer.Option(metavar="DB.SCHEMA", help="Schema of the warehouse that gets the tables."),
]
OutputDirOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder that gets files instead of tables.")
]
ExtensionOption = Annotated[
    str, typer.Option(help="Of the files in --output-dir: parquet, csv or pkl.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--test-batch-size", help="Rows per step; changes speed and memory only.")
]
EmbeddingsOption = Annotated[
    bool, typer.Option("--extract-embeddings", help="Write the embeddings of entities too.")
]
FlattenOption = Annotated[
    bool, typer.Option("--flatten-output", help="One row per class or entity, with its score.")
]
TestMetricsOption = Annotated[
    bool, typer.Option("--test-metrics", help="Measure the predictions; test needs labels.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace older tables of this alias, all at once.")
]
UploadCodeOption = Annotated[
    bool,
    typer.Option("--upload-code", help="Run this machine's rle package, not the engine's own."),
]
