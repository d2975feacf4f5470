"""`gradcli watch`: runs in a terminal, live or finished."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradcli.cli.options import WHICH, RunsDirOption

EPILOG = (
    "It takes the extra tui: pip install 'gradcli\\[tui]'. It reads run directories, locks and "
    "changes nothing, and works over SSH."
)


def watch(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help=f"{WHICH} One run or comparison is opened at once, several runs side by side.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
) -> None:
    """Browse runs in the terminal, and watch live ones: charts, layers, findings."""
    from gradcli.watch.open_watch import open_watch

    open_watch(runs or [], runs_dir)
