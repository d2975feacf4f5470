"""What to say of a run whose checkpoints were not kept, or removed since."""

from __future__ import annotations

import shlex

from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory, Run
from gradcli.runs.comparisons import comparison_of
from gradcli.system.paths import Paths
from gradcli.views.findings import with_override


def without_checkpoint(
    run: Run, paths: Paths, *, so: str, where: str, override: str = ""
) -> UserError:
    """Return the error for a run that has ended and has no checkpoint.

    Args:
        run: the run, or a trial of a comparison.
        paths: those of the command.
        so: what is therefore impossible, as the rest of the sentence.
        where: the option that needs the checkpoint.
        override: what to add to the command that trains the run anew.
    """
    comparison = comparison_of(run.path)
    if comparison is not None:
        return UserError(
            f"{run.name} is a trial whose checkpoint was not kept, so {so}. Without "
            "checkpoint.keep=last a comparison keeps at most that of its best trial. Trained anew "
            "as a run, this one keeps its own.",
            where=where,
            choices=_others_with_one(comparison),
            hint=_as_run(comparison, run, paths),
        )
    if "checkpoint.keep=none" in run.overrides:
        override = f"{override} checkpoint.keep=last".strip()
    return UserError(
        f"{run.name} has ended and has no checkpoint any more, so {so}. A run that is trained "
        "anew keeps it, unless checkpoint.keep=none.",
        where=where,
        hint=new_run(run, override, paths),
    )


def new_run(run: Run, override: str, paths: Paths) -> str | None:
    """Return the command that trains the run's config anew with other values, if it is recorded."""
    if not run.has_overrides:
        return None
    options = paths.completed_by(run.paths).arguments(beside=run.overrides)
    return shlex.join(["gradcli", "train", *options, *with_override(run.overrides, override)])


def _others_with_one(comparison: ComparisonDirectory) -> list[str]:
    return [str(trial.path) for trial in comparison.trials() if trial.has_checkpoint][:1]


def _as_run(comparison: ComparisonDirectory, trial: Run, paths: Paths) -> str | None:
    from gradcli.comparison.trial_store import TrialStore  # SciPy, for the error alone

    options = paths.completed_by(trial.paths).arguments()
    return TrialStore(comparison).train_command(trial.name, options) or None
