"""`rle snowflake`: what an administrator of Snowflake has to allow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from rle.cli.options import JsonOption, OutputOption
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
        str | None, typer.Option(metavar="DB", help="Database of tables that are named short.")
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA",
            help="Schema of tables that are named short. With no tables: all of it is read.",
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
        from rle.connectors.snowflake_grants import grants_for

        named = [_full_name(name, database, schema) for name in _split(tables)]
        seen = [_full_name(name, database, schema) for name in _split(views)]
        if dataset is not None:
            from rle.sdk.dataset_file import read_dataset

            named += [table for table in _read_by(read_dataset(dataset)) if table not in seen]
        if database is None and not (named or seen or output):
            raise ValidationError(
                "Grants on what? Give --database with --schema, --tables, or --dataset."
            )
        whole = _whole_schema(database, schema, output) if not (named or seen) else None
        statements = grants_for(named, output, role, views=seen, warehouse=warehouse, schema=whole)
    if as_json:
        print_json({"statements": statements})
    else:
        for statement in statements:
            typer.echo(f"{statement};")


def _split(given: Sequence[str] | None) -> list[str]:
    """Return names that stand with commas between; a comma in double quotes is part of a name."""
    return [name.strip() for text in given or () for name in _NAMES.findall(text) if name.strip()]


def _full_name(name: str, database: str | None, schema: str | None) -> str:
    from rle.connectors.names import split

    try:
        split(name, example="")
    except ValidationError:
        if database is None or schema is None:
            raise ValidationError(
                f"Table {name!r} is not named in full: write DB.SCHEMA.TABLE, or give --database "
                "and --schema."
            ) from None
        return f"{database}.{schema}.{name}"
    return name


def _whole_schema(database: str | None, schema: str | None, output: str | None) -> str | None:
    if database is not None and schema is not None:
        return f"{database}.{schema}"
    if output is None or database is not None or schema is not None:
        raise ValidationError(
            "All tables of which schema? Give --database and --schema, or name --tables."
        )
    return None


def _read_by(spec: DatasetSpec) -> list[str]:
    """Return the tables that a dataset reads, each once."""
    if spec.connector.kind != "snowflake":
        raise ValidationError(
            f"The dataset reads through a connector of kind {spec.connector.kind!r}, not from "
            "Snowflake."
        )
    sources = [table.source for table in spec.tables]
    return list(dict.fromkeys([*sources, *spec.task.sources.values()]))
