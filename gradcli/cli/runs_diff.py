"""`gradcli runs diff`: how two runs differ, and where they part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli.options import WHICH, JsonOption, RunsDirOption, settle_latest, write_json
from gradcli.errors import UserError

if TYPE_CHECKING:
    from gradcli.inspection.run_difference import RunDifference
    from gradcli.runs import Run


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=WHICH)],
    b: Annotated[str, typer.Argument(metavar="B", help=WHICH)] = "latest",
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw a picture of how they part, too.")
    ] = False,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show how two runs differ: settings, code, results, and the layer where they part first."""
    from gradcli.inspection.run_difference import difference
    from gradcli.views.console import show_result
    from gradcli.views.json_output import difference_json
    from gradcli.views.runs.difference_screen import difference_screen

    one, other = (_one_run(word, runs_dir, silent=as_json) for word in (a, b))
    if one.path.resolve() == other.path.resolve():
        raise UserError(
            f"'{a}' and '{b}' are the same run, {one.name}.",
            where="A and B",
            hint="gradcli runs list",
        )
    found = difference(one, other)
    if as_json:
        write_json(difference_json(found))
    else:
        show_result(difference_screen(found))
    if plot:
        _draw(one, other, found, runs_dir)


def _draw(one: Run, other: Run, found: RunDifference, runs_dir: Path) -> None:
    """Draw how two runs part, next to the runs, and say where; or that there is nothing to draw."""
    from gradcli.inspection.parting.layer_courses import step_courses
    from gradcli.views.console import show_message
    from gradcli.views.draw.attempt import attempt
    from gradcli.views.draw.difference_figure import plot_difference
    from gradcli.views.labelled import whole_lines

    if found.first_different_step is None:
        show_message("There is no picture: no logged step of the runs differs.")
        return
    path = runs_dir / "plots" / f"diff-{one.name}-{other.name}.png"

    def draw() -> list[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        return plot_difference(path, found, step_courses(one, other))

    for picture in attempt(draw, show_message):
        for line in whole_lines("picture", [str(picture)]):
            show_message(line)


def _one_run(target: str, runs_dir: Path, *, silent: bool) -> Run:
    """Find a run.

    Raises:
        UserError: if it is a comparison.
    """
    from gradcli.runs import ComparisonDirectory, find_any, list_runs

    found = find_any(settle_latest(target, runs_dir, silent=silent), runs_dir)
    if isinstance(found, ComparisonDirectory):
        latest = [f" The latest run is {run.name}." for run in list_runs(runs_dir)[:1]]
        raise UserError(
            f"{found.path} is a comparison, which compares its trials itself; `diff` takes two "
            f"runs.{''.join(latest)}",
            choices=[str(trial.path) for trial in found.trials()[:2]],
            hint=f"gradcli runs show {found.path}",
        )
    return found
