"""`gradcli runs`: list, show, compare, export and remove what is under the runs directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli.options import AllPairsOption, JsonOption, RunsDirOption
from gradcli.errors import UserError, nearest

if TYPE_CHECKING:
    from gradcli.runs import ComparisonDirectory, Run

app = typer.Typer(help="List, show, compare, export and remove runs.", no_args_is_help=True)

_WHICH = "A directory, a name or part of it, or `latest`."
Target = Annotated[str, typer.Argument(metavar="RUN", help=_WHICH)]


FORMATS = ("csv", "jsonl")


@app.command("list")
def list_(runs_dir: RunsDirOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List the runs and comparisons, the newest first."""
    from dataclasses import asdict

    from gradcli.runs import list_rows
    from gradcli.views.console import show_message, show_result
    from gradcli.views.error_panel import error_panel
    from gradcli.views.json_output import dumps
    from gradcli.views.runs.runs_table import runs_table

    rows, refused = list_rows(runs_dir)
    for error in refused:
        show_message(error_panel(error))
    if as_json:
        sys.stdout.write(dumps({"schema": 1, "runs": [asdict(row) for row in rows]}) + "\n")
    else:
        show_result(runs_table(rows))


@app.command()
def show(
    run: Target = "latest",
    runs_dir: RunsDirOption = Path("runs"),
    all_pairs: AllPairsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run or a comparison as it was shown when it ended, or as it stands."""
    from gradcli.runs import ComparisonDirectory, find_any
    from gradcli.views.console import show_result
    from gradcli.views.json_output import dumps, train_json
    from gradcli.views.train.run_closing import closing_screen, commands_after_run

    found = find_any(run, runs_dir)
    if isinstance(found, ComparisonDirectory):
        _show_comparison(found, as_json=as_json, all_pairs=all_pairs)
        return
    from gradcli.inspection.run_summary import summarise_run

    summary = summarise_run(found)
    if as_json:
        sys.stdout.write(dumps(train_json(summary)) + "\n")
    else:
        show_result(closing_screen(summary, commands_after_run(summary, found.overrides)))


def _show_comparison(comparison: ComparisonDirectory, *, as_json: bool, all_pairs: bool) -> None:
    from gradcli.system.paths import Paths
    from gradcli.views.compare.comparison_closing import comparison_closing_screen
    from gradcli.views.console import show_result
    from gradcli.views.json_output import comparison_json, dumps
    from gradcli.workflows.compare import read_comparison

    summary = read_comparison(comparison, Paths())
    if as_json:
        sys.stdout.write(dumps(comparison_json(summary)) + "\n")
    else:
        show_result(comparison_closing_screen(summary, all_pairs=all_pairs))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_WHICH)],
    b: Annotated[str, typer.Argument(metavar="B", help=_WHICH)] = "latest",
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show what sets two runs apart: settings, code, results, and the first step that differs."""
    from gradcli.inspection.run_difference import difference
    from gradcli.views.console import show_result
    from gradcli.views.json_output import difference_json, dumps
    from gradcli.views.runs.difference_screen import difference_screen

    one, other = _one_run(a, runs_dir), _one_run(b, runs_dir)
    if one.path.resolve() == other.path.resolve():
        raise UserError(
            f"'{a}' and '{b}' are one run, {one.name}.", where="A and B", hint="gradcli runs list"
        )
    found = difference(one, other)
    if as_json:
        sys.stdout.write(dumps(difference_json(found)) + "\n")
    else:
        show_result(difference_screen(found))


def _one_run(target: str, runs_dir: Path) -> Run:
    """Find a run.

    Raises:
        UserError: where it is a comparison.
    """
    from gradcli.runs import ComparisonDirectory, find_any, find_run

    found = find_run(target, runs_dir) if target == "latest" else find_any(target, runs_dir)
    if isinstance(found, ComparisonDirectory):
        raise UserError(
            f"{found.path} is a comparison, whose arms are compared already.",
            choices=[str(trial.path) for trial in found.trials()[:2]],
            hint=f"gradcli runs show {found.path}",
        )
    return found


@app.command()
def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help=_WHICH)],
    runs_dir: RunsDirOption = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs and comparisons, with everything in their directories."""
    from gradcli.runs import find_any, refuse_if_at_work, remove, size_bytes
    from gradcli.views.numbers import megabytes

    named = {run: find_any(run, runs_dir) for run in runs}
    if yes:
        _require_whole_names(named)
    found = {one.path.resolve(): one for one in named.values()}
    # A trial goes with its comparison.
    found = {path: one for path, one in found.items() if not found.keys() & set(path.parents)}
    for one in found.values():
        refuse_if_at_work(one)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("Nobody can be asked here.", where="gradcli runs rm", hint="--yes")
        for one in found.values():
            typer.echo(f"{one.path}  {one.status}, {megabytes(size_bytes(one))}", err=True)
        try:
            agreed = typer.confirm("Remove for good?", err=True)
        except typer.Abort:  # Ctrl-C
            raise typer.Exit(130) from None
        if not agreed:
            raise typer.Exit
    for one in found.values():
        size = size_bytes(one)
        remove(one)
        typer.echo(f"removed {one.path}, {megabytes(size)}")


def _require_whole_names(named: dict[str, Run | ComparisonDirectory]) -> None:
    """Refuse a part of a name where nobody is asked: it may be that of a run already gone.

    Raises:
        UserError: for the first word that is neither a whole name, a directory nor `latest`.
    """
    for word, one in named.items():
        if word not in ("latest", one.name) and Path(word).resolve() != one.path.resolve():
            raise UserError(
                f"'{word}' is a part of a name, and with --yes only whole ones are removed.",
                choices=[one.name],
                hint=f"gradcli runs rm {word}, which asks",
            )


@app.command()
def export(
    run: Target = "latest",
    format_: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    runs_dir: RunsDirOption = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file; else stdout.", show_default=False),
    ] = None,
) -> None:
    """Export every step's numbers, one row a step."""
    if format_ not in FORMATS:
        raise UserError(
            f"There is no format '{format_}' to export to.",
            where="--format",
            choices=nearest(format_, FORMATS) or list(FORMATS),
            hint="--format csv",
        )
    from gradcli.runs import find_run
    from gradcli.runs.export import write_csv, write_jsonl

    write = {"csv": write_csv, "jsonl": write_jsonl}[format_]
    found = find_run(run, runs_dir)
    if output is None:
        write(found, sys.stdout)
    else:
        with output.open("w", newline="") as file:
            write(found, file)
