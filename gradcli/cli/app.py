"""The application: its commands, and how it ends on an error or an interrupt."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.main import get_command

import gradcli
from gradcli.cli import compare, configs, inspect, runs, train
from gradcli.cli.arguments import take_as_typed
from gradcli.errors import DamagedFileWarning, UserError
from gradcli.system.processes import end_quickly
from gradcli.views.ascii import write_what_streams_can

app = typer.Typer(
    name="gradcli",
    help="A laboratory for gradients: see what they do in every layer while a network trains.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="train", epilog=train.EPILOG)(train.train)
app.command(name="compare-optimizers", epilog=compare.EPILOG)(compare.compare_optimizers)
app.command(name="inspect-gradients", epilog=inspect.EPILOG)(inspect.inspect_gradients)
app.add_typer(runs.app, name="runs")
app.command(name="configs", epilog=configs.EPILOG)(configs.configs)


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


@contextmanager
def _damage_shown() -> Iterator[None]:
    """Show each damaged file of which the rest is used, once, as a line on stderr."""
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *others: Any, **more: Any) -> None:
        if not issubclass(category, DamagedFileWarning):
            usual(message, category, *others, **more)
        elif str(message) not in shown:
            from gradcli.views.console import show_message
            from gradcli.views.error_panel import warning_line

            shown.add(str(message))
            show_message(warning_line(str(message)))

    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedFileWarning)
        warnings.showwarning = show
        yield


def main() -> None:
    """Run the command line. A user's mistake is shown as a panel, and sets the exit code."""
    end_quickly()
    write_what_streams_can()
    try:
        with _damage_shown():
            take_as_typed(get_command(app))()
    except UserError as error:
        from gradcli.views.console import show_message
        from gradcli.views.error_panel import error_panel

        show_message(error_panel(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whatever reads our output has closed the pipe, as `head` does.
        sys.stderr.close()
        sys.exit(141)
