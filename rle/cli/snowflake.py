"""`rle snowflake`: what an administrator of Snowflake has to allow."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from rle.cli.options import JsonOption, OutputOption
from rle.cli.output import output_config
from rle.cli.terminal import errors_as_lines, print_json
from rle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.spec.dataset import DatasetSpec

app = typer.Typer(name="snowflake", help="Prepare a Snowflake account.", no_args_is_help=True)

_NAMES = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')


@app.command()
def grants(
    role: Annotated[str, typer.Option(metavar="ROLE", help="Role that the statements are for.")],
    database: Annotated[
        str | None,
        typer.Option(
            metavar="DB",
            help="Database of tables that are named short. With no tables: all of it is read.",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA",
            help="Schema of tables that are named short. With no tables: all of it alone.",
        ),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Tables, with commas between. Repeatable."),
    ] = None,
    views: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Views, with commas between. Repeatable."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="A dataset file, in place of --tables.")
    ] = None,
    output: OutputOption = None,
    warehouse: Annotated[
        str | None, typer.Option(metavar="NAME", help="Warehouse that the role shall use.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the GRANT statements that a role needs to read tables and write results."""
    with errors_as_lines():
        from rle.connectors.snowflake.grants import grants_for

        named = [_full_name(name, database, schema) for name in _split(tables)]
        seen = [_full_name(name, database, schema) for name in _split(views)]
        if dataset is not None:
            from rle.sdk.dataset_file import read_dataset

            named += [table for table in _read_by(read_dataset(dataset)) if table not in seen]
        if not (named or seen or output or database or schema):
            raise ValidationError(
                "Grants on what? Give --database, with --schema for one schema alone, --tables, or "
                "--dataset."
            )
        whole = {} if named or seen else _whole(database, schema)
        place = output_config(output, None, "parquet").full_schema if output is not None else None
        statements = grants_for(named, place, role, views=seen, warehouse=warehouse, **whole)
    if as_json:
        print_json({"statements": statements})
    else:
        for statement in statements:
            typer.echo(f"{statement};")


def _split(given: Sequence[str] | None) -> list[str]:
    """Return names that stand with commas between; a comma in double quotes is part of a name."""
    return [name.strip() for text in given or () for name in _NAMES.findall(text) if name.strip()]


def _full_name(name: str, database: str | None, schema: str | None) -> str:
    """Complete the name of a table by the parts that it lacks."""
    from rle.connectors.names import split, split_schema

    with suppress(ValidationError):
        split(name, example="")
        return name
    with suppress(ValidationError):
        split_schema(name)
        if database is not None:
            return f"{database}.{name}"
    if database is None or schema is None:
        raise ValidationError(
            f"Table {name!r} is not named in full: write DB.SCHEMA.TABLE, or give --database and "
            "--schema."
        )
    return f"{database}.{schema}.{name}"


def _whole(database: str | None, schema: str | None) -> dict[str, str]:
    """Return what is read as a whole, as `grants_for` takes it."""
    if schema is None:
        return {"database": database} if database is not None else {}
    if database is None:
        raise ValidationError(f"Schema {schema!r} of which database? Give --database.")
    return {"schema": f"{database}.{schema}"}


def _read_by(spec: DatasetSpec) -> list[str]:
    """Return the tables that a dataset reads, each once."""
    if spec.connector.kind != "snowflake":
        raise ValidationError(
            f"The dataset reads through a connector of kind {spec.connector.kind!r}, not from "
            "Snowflake."
        )
    sources = [table.source for table in spec.tables]
    return list(dict.fromkeys([*sources, *spec.task.sources.values()]))
