"""The command line: commands, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from vecloom.cli import carrying, evaluating, indexing, inspecting, models, searching
from vecloom.errors import VecloomError, is_panic
from vecloom.version import __version__

app = typer.Typer(
    name="vecloom",
    help="Index code and documents with several embedding models at once, and search them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vecloom {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command("index")(indexing.index)
app.command("search")(searching.search)
app.command("eval")(evaluating.evaluate)
app.command("embed")(carrying.embed)
app.command("load")(carrying.load)
app.command("export")(carrying.export)
app.command("notebook")(carrying.notebook)
app.command("status")(inspecting.status)
app.command("chunk")(inspecting.chunk)
app.add_typer(models.app, name="models")
app.command("doctor")(inspecting.doctor)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code (0 done, 1 not done, 2 usage, 130 Ctrl-C)."""
    from vecloom import panics
    from vecloom.cli.output import escape_what_cannot_be_encoded, say

    panics.hide_stderr = True
    escape_what_cannot_be_encoded()
    try:
        app(list(arguments), prog_name="vecloom")
    except VecloomError as error:
        say(f"vecloom: {error}")
        return error.exit_code
    except OSError as error:
        where = f": {error.filename}" if error.filename is not None else ""
        say(f"vecloom: {error.strerror or error}{where}")
        return 1
    except SystemExit as stop:
        if stop.code == 130:
            kept = "; what was stored stays, and the next run goes on from there"
            say(f"vecloom: stopped{kept if arguments[:1] in (['index'], ['embed'], ['load']) else ''}")
        return stop.code if isinstance(stop.code, int) else 0
    except BaseException as error:
        if not is_panic(error):
            raise
        said = " ".join(str(error).split())[:300]
        say(f"vecloom: a native library failed ({said}); what was stored stays, run again")
        return 1
    return 0
