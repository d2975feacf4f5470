"""`gradcli train`: train a network and record every layer's gradient norm at each step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli import options
from gradcli.system.processes import keep_freed_memory, quick_imports

if TYPE_CHECKING:
    from gradcli.config import Composed
    from gradcli.records import TrainSummary
    from gradcli.runs import Labels
    from gradcli.system.paths import Paths
    from gradcli.views.train.train_view import TrainView

EPILOG = (
    "An override sets any key of the config: gradcli train model=cnn optimizer.lr=0.01. "
    "--show-config prints all keys and the file that each comes from; gradcli configs lists what "
    "can be chosen."
)
EXIT_CODES = {"finished": 0, "diverged": 4}


def train(
    context: typer.Context,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDE]...", help="KEY=VALUE", show_default=False),
    ] = None,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    activation: options.ActivationOption = None,
    optimizer: options.OptimizerOption = None,
    lr: options.LearningRateOption = None,
    clip: options.ClipOption = None,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    name: options.NameOption = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Resume a run: its directory, name or `latest`."),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved config and stop.")
    ] = False,
    tag: options.TagOption = None,
    note: options.NoteOption = None,
    runs_dir: options.RunsDirOption = Path("runs"),
    data_dir: options.DataDirOption = None,
    config_dir: options.ConfigDirOption = None,
    allow_import: options.AllowImportOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_live: options.NoLiveOption = False,
) -> None:
    """Train a network and see the gradient of every layer, before and after clipping."""
    arguments = [*options.given_overrides(context), *(overrides or [])]
    paths = options.given_paths(context, arguments)
    if show_config:
        from gradcli.config import annotated_yaml

        options.write_result(annotated_yaml(_compose(arguments, paths)).removesuffix("\n"))
        return

    from gradcli.runs import given_labels, load_run
    from gradcli.views.console import show_result, train_view

    labels = given_labels(tag or [], note)
    if resume is not None:
        resume = options.settle_latest(resume, runs_dir, silent=as_json or quiet)
    view = train_view(live=not no_live, quiet=quiet)
    summary = _train(arguments, resume, paths, view, labels)

    from gradcli.views.json_output import train_json
    from gradcli.views.train.live_screen import LiveView
    from gradcli.views.train.run_closing import closing_screen, commands_after_run

    run = load_run(summary.path)
    if as_json:
        options.write_json(train_json(summary))
    else:
        begun_with = run.overrides if resume is not None else []
        places = paths if resume is None else run.paths
        commands = commands_after_run(summary, [*begun_with, *arguments], places)
        show_result(closing_screen(summary, commands, layers=not isinstance(view, LiveView)))
    if summary.status == "interrupted":
        raise typer.Exit(128 + run.state["signal"])
    raise typer.Exit(EXIT_CODES[summary.status])


def _train(
    arguments: list[str], resume: str | None, paths: Paths, view: TrainView, labels: Labels
) -> TrainSummary:
    """Begin a run, or resume one. Mistakes in the config are found before torch is imported."""
    from gradcli.runs.provenance import process_started

    started = process_started()
    keep_freed_memory()
    if resume is not None:
        from gradcli.runs import find_run

        run = find_run(resume, paths.runs_dir)
        with quick_imports():
            from gradcli.workflows.train import resume_run
        return resume_run(run, arguments, paths, view, started=started, labels=labels)
    with quick_imports():
        composed = _compose(arguments, paths)
        from gradcli.workflows.train import start_run
    return start_run(composed, arguments, paths, view, started=started, labels=labels)


def _compose(arguments: list[str], paths: Paths) -> Composed:
    from gradcli.config import compose_train

    return compose_train(arguments, config_dir=paths.config_dir, allow_import=paths.allow_import)
