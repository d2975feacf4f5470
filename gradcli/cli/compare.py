"""`gradcli compare-optimizers`: which optimizer is better, and is the difference luck?"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli import options
from gradcli.errors import UserError
from gradcli.shorthands import comparison_overrides

if TYPE_CHECKING:
    from gradcli.comparison.results import ComparisonSummary
    from gradcli.system.paths import Paths
    from gradcli.workflows.comparing.detaching import GoesOn

EPILOG = (
    "An override sets a key for every trial: gradcli compare-optimizers model=cnn epochs=3. "
    "If this comparison already exists, it is resumed. gradcli configs lists what can be chosen."
)
_SOME_FAILED, _ALL_DIVERGED = 3, 4
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
            help="What to compare; default sgd,adam,rmsprop.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    lrs: Annotated[
        str | None,
        typer.Option(
            metavar="auto|LIST",
            help="Learning rates to try; auto: a grid around each optimizer's default.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="KEY,KEY,...",
            help="Keys to search, such as lr,weight_decay; KEY=LOW..HIGH sets a range.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="Also compare values of another key: clip=none,norm. Repeatable.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Number of fresh seeds to measure each optimizer with.",
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
            help="Trials to run at the same time; default one per core.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where trials run: local, serial (this process), slurm, ray, or your own.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Resume a comparison: its directory, name or `latest`.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Return once it is at work; --resume shows it, from another machine too.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop",
            help="With --resume: have it stopped, wherever it is led. What ran is saved.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    activation: options.ActivationOption = None,
    clip: options.ClipOption = None,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    name: options.NameOption = None,
    tag: options.TagOption = None,
    note: options.NoteOption = None,
    runs_dir: options.RunsDirOption = Path("runs"),
    data_dir: options.DataDirOption = None,
    config_dir: options.ConfigDirOption = None,
    allow_import: options.AllowImportOption = None,
    all_pairs: options.AllPairsOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_live: options.NoLiveOption = False,
) -> None:
    """Compare optimizers fairly: equal tuning, the same seeds, intervals and verdicts."""
    from gradcli.engines import opened_engines

    if resume is not None:
        resume = options.settle_latest(resume, runs_dir, silent=as_json or quiet)
    arguments = [
        *comparison_overrides(
            search=search,
            optimizers=optimizers,
            lrs=lrs,
            seeds=seeds,
            protocol=protocol,
            jobs=jobs,
            engine=engine,
        ),
        *options.given_overrides(context),
        *(overrides or []),
    ]
    paths = options.given_paths(context, [*arguments, *(vary or [])])
    _refuse_meaningless(resume, detach=detach, stop=stop, as_json=as_json)
    if resume is not None and stop:
        _stop(resume, paths, [*arguments, *(vary or [])], as_json=as_json, all_pairs=all_pairs)
        return
    # First of all: a local worker loads torch while this process loads the rest.
    with opened_engines(arguments, early=resume is None) as open_engine:
        from gradcli.runs import given_labels
        from gradcli.views.console import compare_view
        from gradcli.workflows.compare import run_comparison
        from gradcli.workflows.comparing.detaching import GoesOn

        labels = given_labels(tag or [], note)
        view = compare_view(live=not no_live, quiet=quiet)
        summary = run_comparison(
            arguments,
            vary or [],
            paths,
            view,
            open_engine,
            resume=resume,
            labels=labels,
            detach=detach,
        )
    if isinstance(summary, GoesOn):
        _show_that_it_goes_on(summary)
        return
    _show(summary, as_json=as_json, all_pairs=all_pairs)
    if summary.status == "interrupted":
        from gradcli.runs import ComparisonDirectory

        number = ComparisonDirectory(Path(summary.info.path)).state.get("signal")
        raise typer.Exit(128 + (number or signal.SIGTERM))
    if summary.status == "failed":
        raise typer.Exit(_ALL_DIVERGED if summary.all_diverged else _SOME_FAILED)


def _refuse_meaningless(resume: str | None, *, detach: bool, stop: bool, as_json: bool) -> None:
    """Refuse options that say nothing together.

    Raises:
        UserError: for the first pair.
    """
    if stop and resume is None:
        raise UserError(
            "--stop does not say which comparison.",
            where="--stop",
            hint="gradcli compare-optimizers --resume latest --stop",
        )
    if detach and (stop or as_json):
        other = "--stop" if stop else "--json"
        raise UserError(
            f"--detach returns before there is a result, so {other} means nothing beside it.",
            where="--detach",
            hint="gradcli runs show latest --json, once it has ended",
        )


def _stop(resume: str, paths: Paths, changes: list[str], *, as_json: bool, all_pairs: bool) -> None:
    """Stop a comparison, and say whether it was at work.

    Raises:
        UserError: for anything that would change it.
    """
    from gradcli.views.console import show_message
    from gradcli.workflows.compare import stop_comparison
    from gradcli.workflows.comparing.engine_words import refuse_changes

    refuse_changes(changes)
    summary, was_at_work = stop_comparison(resume, paths)
    if not as_json:
        show_message("stopped; what ran is saved" if was_at_work else "it was not at work")
    _show(summary, as_json=as_json, all_pairs=all_pairs)


def _show_that_it_goes_on(comparison: GoesOn) -> None:
    """Say where it is; end as the signal would, if one ended the watching."""
    from gradcli.views.compare.goes_on import goes_on_screen
    from gradcli.views.console import show_message

    options = comparison.paths.arguments(runs=False)
    show_message(goes_on_screen(comparison.path, options))
    if comparison.signal is not None:
        raise typer.Exit(128 + comparison.signal)


def _show(summary: ComparisonSummary, *, as_json: bool, all_pairs: bool) -> None:
    from gradcli.views.compare.comparison_closing import comparison_closing_screen
    from gradcli.views.console import show_result
    from gradcli.views.json_output import comparison_json

    if as_json:
        options.write_json(comparison_json(summary))
    else:
        show_result(comparison_closing_screen(summary, all_pairs=all_pairs))
