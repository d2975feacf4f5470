"""The application: its commands, and what becomes of errors and interrupts."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.main import get_command

import gradcli
from gradcli.cli import compare, inspect, runs, train
from gradcli.cli.arguments import take_as_typed
from gradcli.errors import UserError
from gradcli.system.processes import end_quickly

app = typer.Typer(
    name="gradcli",
    help="A laboratory for gradients: see what they do in every layer of a network that trains.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="train", epilog=train.EPILOG)(train.train)
app.command(name="compare-optimizers", epilog=compare.EPILOG)(compare.compare_optimizers)
app.command(name="inspect-gradients", epilog=inspect.EPILOG)(inspect.inspect_gradients)
app.add_typer(runs.app, name="runs")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradcli {gradcli.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Choose a command."""


def main() -> None:
    """Run the command line; a user's mistake is drawn, and ends with its exit code."""
    end_quickly()
    try:
        take_as_typed(get_command(app))()
    except UserError as error:
        from gradcli.views.console import show_message
        from gradcli.views.error_panel import error_panel

        show_message(error_panel(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; there is nowhere left to complain to.
        sys.stderr.close()
        sys.exit(141)
