"""`gradcli runs`: list, show, compare, export and remove what is in the runs directory."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli import removing
from gradcli.cli.option_values import require_one_of, require_picture, require_writable
from gradcli.cli.options import (
    WHICH,
    AllPairsOption,
    ConfigDirOption,
    JsonOption,
    RunsDirOption,
    WhereOption,
    settle_latest,
    write_json,
    write_result,
)
from gradcli.cli.runs_diff import diff
from gradcli.errors import UserError
from gradcli.system.garbage import no_garbage_collection
from gradcli.system.naming import naming

if TYPE_CHECKING:
    from gradcli.runs import ComparisonDirectory
    from gradcli.runs.export import Table

app = typer.Typer(help="List, show, compare, export and remove runs.", no_args_is_help=True)

Target = Annotated[str, typer.Argument(metavar="RUN", help=WHICH)]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="PKG",
        help="A package with columns of your own for comparisons. Can be repeated.",
        show_default=False,
    ),
]


@app.command("list")
@no_garbage_collection()
def list_(
    where: WhereOption = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="test_acc: the best first; when: the newest; any other key: the smallest.",
            show_default=False,
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="KEY,KEY,...",
            help="Also show these: lr,seed,train_loss,model.hidden, or any other setting.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """List the runs and comparisons, newest first."""
    from gradcli.runs import Order, conditions, list_rows
    from gradcli.views.console import show_message, show_result
    from gradcli.views.error_panel import error_panel

    given = conditions(where or [])
    order = Order(sort or "when", reverse) if sort or reverse else None
    shown = [key for key in (show or "").split(",") if key]
    rows, refused = list_rows(runs_dir, given, order, shown)
    for error in refused:
        show_message(error_panel(error))
    if as_json:
        from gradcli.views.json_output import run_list_json

        write_json(run_list_json(rows))
    else:
        from gradcli.views.runs.runs_table import runs_table

        show_result(runs_table(rows, are_chosen=bool(given)))


@app.command()
def label(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help=WHICH)],
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="Add a tag.", show_default=False),
    ] = None,
    untag: Annotated[
        list[str] | None,
        typer.Option("--untag", metavar="TAG", help="Take a tag away.", show_default=False),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Replace the note; '' removes it.", show_default=False),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
) -> None:
    """Tag runs and comparisons, and write a note on them, at any time."""
    from gradcli.runs import find_any, given_labels, write_labels

    if not tag and not untag and note is None:
        raise UserError(
            "There is nothing to change.",
            where="gradcli runs label",
            hint=shlex.join(["gradcli", "runs", "label", *runs, "--tag", "baseline"]),
        )
    added = given_labels(tag or [], None)
    found = [find_any(settle_latest(run, runs_dir, silent=False), runs_dir) for run in runs]
    for one in found:
        labels = one.labels.changed(add=added.tags, remove=untag or [], note=note)
        write_labels(one.path, labels)
        said = [*labels.tags, *([f"'{labels.note}'"] if labels.note else [])]
        write_result(f"{one.path}  {' '.join(said) or 'no labels'}")


@app.command()
def show(
    run: Target = "latest",
    runs_dir: RunsDirOption = Path("runs"),
    all_pairs: AllPairsOption = False,
    allow_import: ColumnsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the closing screen of a run or a comparison, as of its end or as it stands now."""
    from gradcli.runs import ComparisonDirectory, find_any
    from gradcli.views.console import show_result
    from gradcli.views.json_output import train_json
    from gradcli.views.train.run_closing import closing_screen, commands_after_run

    _add_columns(allow_import)
    found = find_any(settle_latest(run, runs_dir, silent=as_json), runs_dir)
    if isinstance(found, ComparisonDirectory):
        _show_comparison(found, as_json=as_json, all_pairs=all_pairs)
        return
    from gradcli.inspection.run_summary import summarise_run

    summary = summarise_run(found)
    if as_json:
        write_json(train_json(summary))
    else:
        overrides = found.overrides if found.has_overrides else None
        commands = commands_after_run(summary, overrides, found.paths)
        show_result(closing_screen(summary, commands))


def _add_columns(allow_import: list[str] | None) -> None:
    """Add the columns of the packages that the user allows."""
    if allow_import:
        from gradcli.config import add_allowed_columns

        add_allowed_columns(allow_import)


def _show_comparison(comparison: ComparisonDirectory, *, as_json: bool, all_pairs: bool) -> None:
    from gradcli.views.compare.comparison_closing import comparison_closing_screen
    from gradcli.views.console import show_result
    from gradcli.views.json_output import comparison_json
    from gradcli.workflows.compare import read_comparison

    summary = read_comparison(comparison, comparison.paths)
    if as_json:
        write_json(comparison_json(summary))
    else:
        show_result(comparison_closing_screen(summary, all_pairs=all_pairs))


app.command()(diff)


@app.command()
def compare(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET SET...",
            help="Runs by a pattern of names ('a-*'), by conditions ('tag=old lr<0.01'), or an arm "
            "of a comparison (COMPARISON:adam).",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="test, val, train_loss or seconds_train; by default the first that all have.",
            show_default=False,
        ),
    ] = None,
    pairing: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="auto: by seed, if both sets have the same seeds; seed: at the seeds that both "
            "have; none: as independent runs.",
        ),
    ] = "auto",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Draw a picture, too.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Compare sets of runs over their seeds: means, intervals, and a verdict on each pair."""
    from gradcli.comparison.run_sets import BY, compare_run_sets, find_set
    from gradcli.views.console import show_message, show_result
    from gradcli.views.json_output import run_sets_json
    from gradcli.views.runs.sets_screen import sets_screen

    require_one_of("--pairing", pairing, ["auto", "seed", "none"])
    if by is not None:
        require_one_of("--by", by, list(BY))
    if plot is not None:
        require_picture(plot)
    found = [find_set(word, runs_dir) for word in sets]
    compared = compare_run_sets(found, by=by, pairing=pairing)  # type: ignore[arg-type]
    if as_json:
        write_json(run_sets_json(compared))
    else:
        show_result(sets_screen(compared))
    if plot is not None:
        from gradcli.views.draw.sets_figure import plot_run_sets
        from gradcli.views.labelled import whole_lines

        plot_run_sets(plot, compared)
        for line in whole_lines("picture", [str(plot)]):
            show_message(line)


app.command()(removing.prune)
app.command()(removing.rm)


@app.command()
def export(
    run: Target = "latest",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="A table: csv, jsonl, parquet. Or for a program that shows runs: tensorboard, "
            "wandb, trackio, mlflow.",
        ),
    ] = "csv",
    what: Annotated[
        str,
        typer.Option(help="steps: one row per step; trials: one row per trial of a comparison."),
    ] = "steps",
    runs_dir: RunsDirOption = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, by default stdout; for a program that shows runs, a folder.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="For a program that shows runs: each layer's norms as curves, too."
        ),
    ] = False,
    config_dir: ConfigDirOption = None,
    allow_import: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-import",
            metavar="PKG",
            help="A package with columns, or a tracker, of your own. Can be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export the numbers of every step, of a run or of all trials of a comparison."""
    from gradcli.runs import ComparisonDirectory, find_any
    from gradcli.runs.export import BINARY_FORMATS, FORMATS, step_table, write_table

    if format_ not in FORMATS:
        if what != "steps":
            raise UserError(
                f"--what {what} is for a table; with {format_} each trial is a run.",
                where="--what",
                hint=f"--format {format_} without it",
            )
        _export_to_tracker(run, format_, runs_dir, output, layers, config_dir, allow_import)
        return
    require_one_of("--what", what, ["steps", "trials"])
    _add_columns(allow_import)
    found = find_any(settle_latest(run, runs_dir, silent=False), runs_dir)
    if isinstance(found, ComparisonDirectory):
        table = _comparison_table(found, what)
    elif what == "steps":
        table = step_table(found)
    else:
        raise UserError(
            f"{found.path} is a run; only a comparison has trials.",
            where="--what",
            hint=f"gradcli runs export {found.path}",
        )
    is_binary = format_ in BINARY_FORMATS
    if output is None:
        if is_binary and sys.stdout.isatty():
            raise UserError(
                f"{format_} is no text for a terminal.",
                where="--format",
                hint=f"-o {found.name}.{format_}",
            )
        with naming("stdout"):
            FORMATS[format_](table, sys.stdout.buffer if is_binary else sys.stdout)
        return
    require_writable(output, f"{found.name}.{format_}", force=force)
    write_table(output, table, FORMATS[format_], is_binary=is_binary)


def _export_to_tracker(
    target: str,
    name: str,
    runs_dir: Path,
    folder: Path | None,
    layers: bool,
    config_dir: Path | None,
    allow_import: list[str] | None,
) -> None:
    """Export a run, or each trial of a comparison, for a program that shows runs."""
    from gradcli.config.choices.tracker_options import tracker_names
    from gradcli.runs import find_any
    from gradcli.runs.export import FORMATS

    require_one_of("--format", name, [*FORMATS, *tracker_names(config_dir)])
    found = find_any(settle_latest(target, runs_dir, silent=False), runs_dir)
    if folder is None or (folder.exists() and not folder.is_dir()):
        raise UserError(
            f"{name} writes a folder." if folder is None else f"{folder} is no folder.",
            where="-o",
            hint=f"-o {name}",
        )
    from gradcli.views.console import show_message
    from gradcli.views.labelled import whole_lines
    from gradcli.workflows.tracked.tracked_runs import export_to_tracker

    tracker = export_to_tracker(
        found,
        name,
        folder,
        layers=layers,
        config_dir=config_dir,
        allow_import=allow_import or (),
    )
    for command in tracker.commands(folder):
        for line in whole_lines("look", [command]):
            show_message(line)


def _comparison_table(comparison: ComparisonDirectory, what: str) -> Table:
    """Return a comparison's trials, or their steps, each with what identifies the trial."""
    from gradcli.comparison.columns import trial_steps_table, trials_table
    from gradcli.workflows.compare import read_comparison

    summary = read_comparison(comparison, comparison.paths)
    return trials_table(summary) if what == "trials" else trial_steps_table(summary, comparison)
