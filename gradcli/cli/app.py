"""The application: its commands, and how it ends on an error or an interrupt."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

import gradcli
from gradcli.cli import compare, configs, find_lr, inspect, runs, train
from gradcli.cli.arguments import take_as_typed
from gradcli.cli.completing import SHELL, completion
from gradcli.cli.refusals import failure_in_words
from gradcli.errors import (
    DamagedFileWarning,
    MissingPilotsWarning,
    ScarceMemoryWarning,
    SilentHolderWarning,
    UserError,
)
from gradcli.system.naming import naming
from gradcli.system.processes import considerate_threads, end_quickly
from gradcli.views.ascii import write_what_streams_can
from gradcli.views.streams import discard_unwritten, open_closed_streams

app = typer.Typer(
    name="gradcli",
    help="A laboratory for gradients: see what they do in every layer while a network trains.",
    no_args_is_help=True,
    add_completion=False,  # its scripts take a word apart at `=`; see docs/completion.md
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="train", epilog=train.EPILOG)(train.train)
app.command(name="compare-optimizers", epilog=compare.EPILOG)(compare.compare_optimizers)
app.command(name="inspect-gradients", epilog=inspect.EPILOG)(inspect.inspect_gradients)
app.command(name="find-lr", epilog=find_lr.EPILOG)(find_lr.find_lr)
app.add_typer(runs.app, name="runs")
app.command(name="configs", epilog=configs.EPILOG)(configs.configs)
app.command(name="completion", epilog=completion.EPILOG)(completion.completion)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradcli {gradcli.__version__}")
        raise typer.Exit


def _complete(context: typer.Context, option: typer.CallbackParam, wanted: bool) -> None:
    """Do what programs made with Typer do for these options."""
    if wanted:
        completion.completion(install=option.name == "install_completion")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option("--install-completion", callback=_complete, is_eager=True, hidden=True),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option("--show-completion", callback=_complete, is_eager=True, hidden=True),
    ] = False,
) -> None:
    """Choose a command."""


_OWN_WARNINGS = (
    DamagedFileWarning,
    MissingPilotsWarning,
    ScarceMemoryWarning,
    SilentHolderWarning,
)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show each warning of gradcli's own once, as a line on stderr."""
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *others: Any, **more: Any) -> None:
        if not issubclass(category, _OWN_WARNINGS):
            usual(message, category, *others, **more)
        elif str(message) not in shown:
            from gradcli.views.console import show_message
            from gradcli.views.error_panel import warning_line

            shown.add(str(message))
            show_message(warning_line(str(message)))

    with warnings.catch_warnings():
        for category in _OWN_WARNINGS:
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


def main() -> None:
    """Run the command line. Mistakes and errors of the system are shown as a panel."""
    open_closed_streams()
    end_quickly()
    os.environ.update(considerate_threads())
    write_what_streams_can()
    try:
        with _warnings_shown():
            _run_command()
    except UserError as error:
        _end_with(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whatever reads our output has closed the pipe, as `head` does.
        sys.exit(141)
    except OSError as error:
        _end_with(failure_in_words(error))
    finally:
        discard_unwritten(sys.stdout)
        discard_unwritten(sys.stderr)


def _run_command() -> None:
    """Run the command that the arguments name, which ends in `SystemExit`; or answer a shell.

    Raises:
        OSError: if the result cannot be written to stdout.
    """
    if SHELL in os.environ:
        from gradcli.cli.completing.shells import answer_shell

        answer_shell(get_command(app))
        return
    try:
        take_as_typed(get_command(app))()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer takes it for success or a bug
            raise end.__context__ from None
        with naming("stdout"):
            sys.stdout.flush()
        raise


def _end_with(error: UserError) -> NoReturn:
    """Show the error and end the process with its exit code."""
    from gradcli.views.console import show_message
    from gradcli.views.error_panel import error_panel

    show_message(error_panel(error))
    sys.exit(error.exit_code)
