"""`gradcli find-lr`: a learning rate with an interval, from short trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradcli.cli import options
from gradcli.system.processes import keep_freed_memory, quick_imports

EPILOG = (
    "Each seed rehearses the training, its schedule included, in a few steps, at several learning "
    "rates. Nothing is written without --plot. The exit code is 3 if no rate can be proposed, and "
    "4 if every rate diverges."
)
EXIT_CODES = {"": 0, "diverged": 4}
_CANNOT_SAY = 3
_PANEL = "The search"


def find_lr(
    context: typer.Context,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDE]...", help="KEY=VALUE", show_default=False),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=3, help="How many seeds rehearse each rate.", rich_help_panel=_PANEL),
    ] = 4,
    steps: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="The steps of a rehearsal; by default 12 to 512, more for a small network.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw a picture too.", rich_help_panel=_PANEL)
    ] = False,
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
    runs_dir: options.RunsDirOption = Path("runs"),
    data_dir: options.DataDirOption = None,
    config_dir: options.ConfigDirOption = None,
    allow_import: options.AllowImportOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_live: options.NoLiveOption = False,
) -> None:
    """Find a learning rate, with an interval, in seconds."""
    arguments = [*options.given_overrides(context), *(overrides or [])]
    paths = options.given_paths(context, arguments)

    from gradcli.views.console import search_progress, show_message, show_result, train_view
    from gradcli.views.find_lr.rate_screen import rate_screen
    from gradcli.views.json_output import found_rate_json

    keep_freed_memory()
    with quick_imports():
        from gradcli.config import compose_train

        composed = compose_train(
            arguments, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        from gradcli.workflows.find_lr import find_learning_rate, picture_folder
    view = train_view(live=False, quiet=quiet)
    progress = search_progress(live=not (no_live or as_json), quiet=quiet)
    try:
        with progress:
            found = find_learning_rate(
                composed, arguments, paths, view, progress, seeds=seeds, steps=steps
            )
    except KeyboardInterrupt:
        if progress.has_begun and not quiet:
            show_message("The search was interrupted. Nothing was written.")
        raise
    if as_json:
        options.write_json(found_rate_json(found))
    else:
        show_result(rate_screen(found))
    if plot:
        from gradcli.views.draw.attempt import attempt
        from gradcli.views.draw.found_rate_figure import plot_found_rate
        from gradcli.views.labelled import whole_lines

        folder = picture_folder(found, paths)
        for picture in attempt(lambda: plot_found_rate(folder, found), show_message):
            for line in whole_lines("picture", [str(picture)]):
                show_message(line)
    raise typer.Exit(EXIT_CODES.get(found.proposed.reason, _CANNOT_SAY))
