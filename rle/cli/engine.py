"""`rle engine`: where jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rle.cli.options import JsonOption
from rle.cli.terminal import FOUND, errors_as_lines, print_json, words_on_stderr
from rle.errors import UnknownNameError, ValidationError

if TYPE_CHECKING:
    from rle.sdk.provider import Provider

app = typer.Typer(name="engine", help="Make, resume and suspend engines.", no_args_is_help=True)

COLUMNS = ("name", "state", "size", "backend", "address", "message")
"""Of `rle engine list`, by their names in JSON."""

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Of the engine.", show_default=False)
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Return when it is READY, or at once.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1.0, help="Seconds to wait until it is READY.")
]


@app.command()
def create(
    name: NameArgument,
    size: Annotated[
        str, typer.Option(help="GPU_NV_S has a GPU, HIGHMEM_X64_S has none.")
    ] = "HIGHMEM_X64_S",
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Dashboard of a Ray cluster that runs already."),
    ] = None,
    token_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="Variable that holds the cluster's token.")
    ] = None,
    token_path: Annotated[
        str | None, typer.Option(metavar="FILE", help="File that holds the cluster's token.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting, such as num_cpus=2 or auto_suspend_mins=60. Repeatable.",
        ),
    ] = None,
    wait: WaitOption = True,
    timeout_s: TimeoutOption = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Make an engine: Ray on this machine, or with --address a cluster that runs already."""
    from rle.sdk.provider import Provider
    from rle.sdk.settings import parse_settings

    with errors_as_lines(), words_on_stderr():
        engine = Provider().create_gnn(
            name,
            size,
            parse_settings(settings or ()),
            address=address,
            token_variable=token_variable,
            token_path=token_path,
            wait=wait,
            timeout_s=timeout_s,
        )
    _show(engine, as_json)


@app.command("list")
def list_engines(
    state: Annotated[
        str | None, typer.Option(help="Only these: READY, PENDING, SUSPENDED.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the engines of this home, and where each stands."""
    from rle.runs.printable import printable
    from rle.sdk.provider import Provider
    from rle.spec.show import show_rows

    with errors_as_lines(), words_on_stderr():
        engines = Provider().list_gnns(state=state)
    if as_json:
        print_json(engines)
    else:
        title = f"{len(engines)} engine{'' if len(engines) == 1 else 's'}"
        rows = [[printable(str(engine[name] or "")) for name in COLUMNS] for engine in engines]
        show_rows(title, COLUMNS, rows)


@app.command()
def status(name: NameArgument, as_json: JsonOption = False) -> None:
    """Say where an engine stands. Exit code 0 where it is READY, 1 where it is not."""
    from rle.sdk.provider import Provider

    with errors_as_lines(), words_on_stderr():
        engine = _known(Provider(), name)
    _show(engine, as_json)
    if engine["state"] != "READY":
        raise typer.Exit(FOUND)


@app.command()
def resume(
    name: NameArgument,
    wait: WaitOption = True,
    timeout_s: TimeoutOption = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Start a suspended engine again; its jobs are still known, and its queue goes on."""
    from rle.sdk.provider import Provider

    with errors_as_lines(), words_on_stderr():
        provider = Provider()
        provider.resume_gnn(name)
        if wait:
            provider.wait_until_ready(name, timeout_s)
        engine = _known(provider, name)
    _show(engine, as_json)


@app.command()
def suspend(name: NameArgument, as_json: JsonOption = False) -> None:
    """Stop an engine and keep its jobs."""
    from rle.sdk.provider import Provider

    with errors_as_lines(), words_on_stderr():
        provider = Provider()
        provider.suspend_gnn(name)
        engine = _known(provider, name)
    _show(engine, as_json)


@app.command()
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop an engine for good and remove its jobs' files. Trained models and tables stay."""
    from rle.sdk.provider import Provider

    with errors_as_lines(), words_on_stderr():
        provider = Provider()
        _known(provider, name)
        if not yes and not _agreed(name):
            raise ValidationError(f"Engine {name!r} was not deleted; --yes deletes without asking.")
        provider.delete_gnn(name)
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{name}: deleted")


def _agreed(name: str) -> bool:
    try:
        return typer.confirm(f"Delete engine {name!r} with its jobs' files?", err=True)
    except typer.Abort:  # there is nobody to ask
        return False


def _known(provider: Provider, name: str) -> dict[str, Any]:
    engine = provider.get_gnn(name)
    if engine is None:
        raise UnknownNameError("engine", name, (known["name"] for known in provider.list_gnns()))
    return engine


def _show(engine: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(engine)
    else:
        why = f". {engine['message']}" if engine["message"] else ""
        typer.echo(f"{engine['name']}: {engine['state']}{why}")
