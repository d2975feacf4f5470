"""`gradcli compare-optimizers`: which optimizer, with which learning rate, and is it luck?"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli import options
from gradcli.shorthands import comparison_overrides

if TYPE_CHECKING:
    from gradcli.comparison.results import ComparisonSummary

EPILOG = (
    "An override sets any key for all trials alike: gradcli compare-optimizers model=cnn epochs=3. "
    "gradcli configs lists what can be chosen. The same command, given again, runs only what is "
    "missing."
)
EXIT_CODES = {"finished": 0, "failed": 3}
_PANEL = "The comparison"


def compare_optimizers(
    context: typer.Context,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDE]...", help="KEY=VALUE", show_default=False),
    ] = None,
    optimizers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="What is compared; else sgd,adam,rmsprop.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    lrs: Annotated[
        str | None,
        typer.Option(
            metavar="auto|LIST",
            help="The learning rates to try; auto is a grid around each optimizer's own.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="Compare values of another key, too: clip=none,norm. May be repeated.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Fresh seeds with which each is measured.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="quick, standard or thorough.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            help="Trials that run at the same time; else one a core.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where trials run: local.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Go on with a comparison: its directory, name or `latest`.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    activation: options.ActivationOption = None,
    clip: options.ClipOption = None,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    name: options.NameOption = None,
    runs_dir: options.RunsDirOption = Path("runs"),
    data_dir: options.DataDirOption = None,
    config_dir: options.ConfigDirOption = None,
    allow_import: options.AllowImportOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_live: options.NoLiveOption = False,
) -> None:
    """Compare optimizers fairly: tuned alike, on the same seeds, with intervals and verdicts."""
    from gradcli.engines import LocalEngine

    if resume is not None:
        resume = options.settle_latest(resume, runs_dir, silent=as_json or quiet)
    arguments = [
        *comparison_overrides(
            optimizers=optimizers, lrs=lrs, seeds=seeds, protocol=protocol, jobs=jobs, engine=engine
        ),
        *options.given_overrides(context),
        *(overrides or []),
    ]
    # Before all that takes time to load: the first worker loads torch meanwhile.
    with closing(LocalEngine()) as workers:
        from gradcli.views.console import compare_view
        from gradcli.workflows.compare import run_comparison

        paths = options.given_paths(context)
        view = compare_view(live=not no_live, quiet=quiet)
        summary = run_comparison(arguments, vary or [], paths, view, workers, resume=resume)
    _show(summary, as_json=as_json)
    if summary.status == "interrupted":
        from gradcli.runs import ComparisonDirectory

        raise typer.Exit(128 + ComparisonDirectory(Path(summary.info.path)).state["signal"])
    raise typer.Exit(EXIT_CODES[summary.status])


def _show(summary: ComparisonSummary, *, as_json: bool) -> None:
    from gradcli.views.compare.comparison_closing import comparison_closing_screen
    from gradcli.views.console import show_result
    from gradcli.views.json_output import comparison_json, dumps

    if as_json:
        sys.stdout.write(dumps(comparison_json(summary)) + "\n")
    else:
        show_result(comparison_closing_screen(summary))
