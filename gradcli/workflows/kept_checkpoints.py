"""What stays of a trial's checkpoint, and what to say where one was not kept, or not all of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory, Run
from gradcli.runs.comparisons import comparison_of
from gradcli.system.paths import Paths
from gradcli.views.findings import with_override

_OPTIMIZER: Final = "optimizer"


def without_optimizer(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint for which only the weights count, in less room.

    The state of the optimizer, which only further steps need, may be twice as large as the weights.
    The checkpoint is returned as it is if there is no such state, or if the weights to evaluate
    are computed from it.
    """
    if "evaluated_model" in checkpoint or not _holds_tensors(checkpoint[_OPTIMIZER]):
        return checkpoint
    return {name: value for name, value in checkpoint.items() if name != _OPTIMIZER}


def has_weights_alone(checkpoint: Mapping[str, Any]) -> bool:
    """Whether the state of the optimizer was left out of a checkpoint, so that no step follows."""
    return _OPTIMIZER not in checkpoint


def without_checkpoint(
    run: Run,
    paths: Paths,
    *,
    so: str,
    where: str,
    override: str = "",
    others: Iterable[Run] = (),
) -> UserError:
    """Return the error for a run that has ended and has no checkpoint, or its weights alone.

    Args:
        run: the run, or a trial of a comparison.
        paths: those of the command.
        so: what is therefore impossible, as the rest of the sentence.
        where: the option that needs the checkpoint.
        override: what to add to the command that trains the run anew.
        others: runs with which it is possible.
    """
    comparison = comparison_of(run.path)
    if comparison is not None:
        kept = "of which only the weights were" if run.has_checkpoint else "whose weights were not"
        return UserError(
            f"{run.name} is a trial {kept} kept, so {so}. Without checkpoint.keep=last a "
            "comparison keeps only the weights of its best trial. Trained anew as a run, this one "
            "keeps its checkpoints.",
            where=where,
            choices=[str(other.path) for other in others],
            hint=command_of_trial(comparison, run, paths, override),
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


def probeable_siblings(run: Run) -> list[Run]:
    """Return a trial of the run's comparison that has weights, if there is one."""
    comparison = comparison_of(run.path)
    trials = () if comparison is None else comparison.trials()
    return [trial for trial in trials if trial.has_checkpoint][:1]


def command_of_trial(
    comparison: ComparisonDirectory, trial: Run, paths: Paths, override: str = ""
) -> str | None:
    """Return the command that trains a trial anew as a run; None if no command can."""
    from gradcli.comparison.trial_store import TrialStore  # SciPy, for the error alone

    options = paths.completed_by(trial.paths).arguments()
    words = shlex.split(TrialStore(comparison).train_command(trial.name, options))
    return shlex.join(with_override(words, override)) if words else None


def _holds_tensors(value: Any) -> bool:
    """Whether a value of plain containers has a tensor in it."""
    import torch

    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, torch.Tensor)
