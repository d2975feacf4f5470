"""Opens the watch, once it is sure that it can be shown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from gradcli.errors import DamagedFileWarning, UserError
from gradcli.extras.missing import not_installed
from gradcli.runs import ComparisonDirectory, find_any
from gradcli.views.console import can_fill_screen

LETTERS = "ABCDEF"
"""One for each run that is shown beside others."""


def open_watch(targets: Sequence[str], runs_dir: Path) -> None:
    """Show runs in the terminal until the user quits.

    Args:
        targets: none for the table of runs; one run or comparison; or runs to see side by side.
        runs_dir: where runs are.

    Raises:
        UserError: if a target names nothing, or there is no terminal, or no Textual.
    """
    if not can_fill_screen():
        raise UserError(
            "The watch fills a terminal that shows UTF-8, and this is none.",
            where="gradcli watch",
            hint="gradcli runs list",
        )
    paths = _paths(targets, runs_dir)
    try:
        from gradcli.watch.watch_app import WatchApp
    except ImportError as error:
        raise not_installed(
            "Textual with textual-plot", "tui", error, what="The watch", where="gradcli watch"
        ) from None
    with warnings.catch_warnings():
        # They would be printed across the screen, which says of each run what is wrong with it.
        warnings.simplefilter("ignore", DamagedFileWarning)
        WatchApp(runs_dir, paths).run()


def _paths(targets: Sequence[str], runs_dir: Path) -> list[Path]:
    found = [find_any(target, runs_dir) for target in targets]
    if len(found) > len(LETTERS):
        raise UserError(
            f"At most {len(LETTERS)} runs fit side by side.",
            where="gradcli watch",
            hint=f"gradcli watch {' '.join(targets[: len(LETTERS)])}",
        )
    comparisons = [one for one in found if isinstance(one, ComparisonDirectory)]
    if len(found) > 1 and comparisons:
        raise UserError(
            f"{comparisons[0].path} is a comparison: only runs are shown side by side.",
            where="gradcli watch",
            hint=f"gradcli watch {comparisons[0].name}",
        )
    return [one.path for one in found]
