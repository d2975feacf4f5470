"""`gradcli report`: a run, several runs or a comparison as one HTML file."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli.option_values import require_writable
from gradcli.cli.options import WHICH, RunsDirOption, settle_latest, write_result
from gradcli.errors import UserError

if TYPE_CHECKING:
    from gradcli.runs import ComparisonDirectory, Run

EPILOG = "Open the file in any browser: it needs no network."
_PATTERN = "*?["


def report(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...",
            help=f"{WHICH} A pattern of names ('a-*') stands for all that match; several runs are "
            "shown side by side.",
            show_default="latest",
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="By default report.html in the directory of the run or the comparison; of several "
            "runs in the runs directory.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
) -> None:
    """Write a report: one HTML file with charts, findings, and how to make it again."""
    from gradcli.workflows.report import REPORT_FILE, write_report
    from gradcli.workflows.report import report as report_of

    found = [one for target in targets or ["latest"] for one in _found(target, runs_dir)]
    found = list({one.path.resolve(): one for one in found}.values())
    if output is not None:
        require_writable(output, REPORT_FILE, force=force)
    place = output or (found[0].path if len(found) == 1 else runs_dir) / REPORT_FILE
    write_report(place, report_of(found))
    write_result(str(place))


def _found(target: str, runs_dir: Path) -> list[Run | ComparisonDirectory]:
    """Return what a word of the command line names: by a pattern perhaps several, newest first.

    Raises:
        UserError: if it names nothing.
    """
    from gradcli.runs import find_any, list_any

    if not any(character in target for character in _PATTERN):
        return [find_any(settle_latest(target, runs_dir, silent=False), runs_dir)]
    matching = [
        one
        for one in list_any(runs_dir)
        if fnmatchcase(one.name, target) or fnmatchcase(_given_name(one), target)
    ]
    if not matching:
        raise UserError(
            f"No run in {runs_dir} matches '{target}'.", where="RUN", hint="gradcli runs list"
        )
    return matching


def _given_name(one: Run | ComparisonDirectory) -> str:
    """Return the name that the user gave: what is between the time and the last four digits."""
    return one.name.partition("-")[2].rpartition("-")[0]
