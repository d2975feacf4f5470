"""`gradcli inspect-gradients`: what the gradients do, what is wrong, and what to try."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gradcli.cli import options
from gradcli.errors import UserError
from gradcli.shorthands import inspection_overrides, split_target
from gradcli.system.paths import Paths
from gradcli.system.processes import keep_freed_memory

EPILOG = (
    "Without a TARGET, a fresh model is inspected before any training: gradcli inspect-gradients "
    "model=deep_mlp activation=sigmoid. Probes: signals, histograms, noise, sharpness, descent, "
    "hidden-states, cosine, alpha. A package that you name with --allow-import can add its own "
    "(PROBES). If a probe fails, the rest is shown and the exit code is 2, or 1 for a shipped one. "
    "--step N makes a step of a run again and shows which examples made its gradient. "
    "--try writes nothing; if the config does not take the advice, the exit code is 2."
)
_FAILED = 3
_PANEL = "The inspection"


class Severity(StrEnum):
    """The severities that can make the command fail."""

    WARNING = "warning"
    ERROR = "error"


def inspect_gradients(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET] [OVERRIDE]...",
            help="A run or a comparison (its directory, part of its name, or `latest`). "
            "KEY=VALUE builds a fresh model.",
            show_default=False,
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="all|LIST",
            help="Costly probes to run, on a run's last checkpoint or on a fresh model.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare autograd with central differences, layer by layer.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="Compare fresh models side by side: activation=relu,tanh. Can be repeated.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            help="Exit with 3 if there is a finding of this severity or worse.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    try_advice: Annotated[
        bool,
        typer.Option(
            "--try",
            help="Train a part of the run again with and without the first advice, and say which "
            "is better.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    try_steps: Annotated[
        int | None,
        typer.Option(
            "--try-steps",
            min=1,
            metavar="N",
            help="How many steps --try trains; by default a quarter of the run, and at least 100.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            "--step",
            metavar="N",
            help="Look at one step of a run: which examples of its batch made the gradient.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw pictures too.", rich_help_panel=_PANEL)
    ] = False,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    activation: options.ActivationOption = None,
    optimizer: options.OptimizerOption = None,
    lr: options.LearningRateOption = None,
    clip: options.ClipOption = None,
    batch_size: options.BatchSizeOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    runs_dir: options.RunsDirOption = Path("runs"),
    data_dir: options.DataDirOption = None,
    config_dir: options.ConfigDirOption = None,
    allow_import: options.AllowImportOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """See what the gradients do, what is wrong with them, and what to try."""
    if try_steps is not None and not try_advice:
        raise UserError(
            "--try-steps says how long --try trains, and --try was not given.",
            where="--try-steps",
            hint=f"--try --try-steps {try_steps}",
        )
    target, overrides = split_target(arguments or [])
    if target is not None:
        target = options.settle_latest(target, runs_dir, silent=as_json or quiet)

    given = [
        *inspection_overrides(probe=probe, check=check),
        *options.given_overrides(context),
    ]
    paths = options.given_paths(context, overrides)
    if step is not None:
        _refuse_beside_step(vary=vary, fail_on=fail_on, try_advice=try_advice)
        _show_step(target, step, [*given, *overrides], paths, plot, as_json, quiet)
        return

    from gradcli.views.console import (
        probe_progress,
        show_message,
        show_result,
        train_view,
        trial_progress,
    )
    from gradcli.views.inspect.inspection_screen import inspection_screen
    from gradcli.views.json_output import inspection_json
    from gradcli.workflows.inspect import (
        TrialRequest,
        exit_code_of_probes,
        exit_code_of_trial,
        inspect_target,
        picture_folder,
    )

    view = train_view(live=False, quiet=quiet)
    keep_freed_memory()
    announce = probe_progress(live=not (quiet or as_json))
    progress = trial_progress(announce, live=not as_json, quiet=quiet)
    trial = TrialRequest(progress, try_steps) if try_advice else None
    try:
        with announce, progress:
            inspection = inspect_target(
                target, [*given, *overrides], vary or [], paths, view, announce, trial
            )
    except KeyboardInterrupt:
        if progress.has_begun and not quiet:
            show_message("The trial was interrupted. Nothing was written.")
        raise
    if as_json:
        options.write_json(inspection_json(inspection))
    else:
        show_result(inspection_screen(inspection))
    if plot:
        from gradcli.views.draw.attempt import attempt
        from gradcli.views.draw.inspection_figures import plot_inspection
        from gradcli.views.labelled import whole_lines

        pictures = attempt(
            lambda: plot_inspection(picture_folder(inspection, paths), inspection), show_message
        )
        for line in whole_lines("pictures", [str(picture) for picture in pictures]):
            show_message(line)
    failure = exit_code_of_probes(inspection) or exit_code_of_trial(inspection)
    if failure:
        raise typer.Exit(failure)
    severities = {finding.severity for finding in inspection.findings}
    if ("error" in severities and fail_on) or ("warning" in severities and fail_on == "warning"):
        raise typer.Exit(_FAILED)


def _refuse_beside_step(**given: object) -> None:
    """Refuse options that look at a whole run, or at several models.

    Raises:
        UserError: for the first one.
    """
    for name, value in given.items():
        if value:
            option = {"try_advice": "--try"}.get(name, f"--{name.replace('_', '-')}")
            raise UserError(
                f"{option} does not go with --step, which looks at a single step.", where=option
            )


def _show_step(
    target: str | None,
    step: int,
    overrides: list[str],
    paths: Paths,
    plot: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a step of a run again, and show which examples made its gradient."""
    from gradcli.views.console import replay_progress, show_message, show_result, train_view
    from gradcli.views.inspect.step_screen import step_screen
    from gradcli.views.json_output import step_json
    from gradcli.workflows.inspect import inspect_step, step_picture

    keep_freed_memory()
    view = train_view(live=False, quiet=quiet)
    with replay_progress(live=not as_json, quiet=quiet) as progress:
        inspection = inspect_step(target, step, overrides, paths, view, progress)
    if as_json:
        options.write_json(step_json(inspection))
    else:
        show_result(step_screen(inspection, is_drawn=plot))
    if plot:
        from gradcli.views.draw.attempt import attempt
        from gradcli.views.draw.step_figure import plot_step
        from gradcli.views.labelled import whole_lines

        pictures = attempt(lambda: [plot_step(step_picture(inspection), inspection)], show_message)
        for line in whole_lines("picture", [str(picture) for picture in pictures]):
            show_message(line)
