"""An inspection, from target to verdict.

This module finds what is to be inspected. `restoring` rebuilds a model that is to be probed,
`inspection` puts the numbers together, and `diagnosis` judges them. A run's records are read
without torch, which takes longer to import than a million steps to read.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradcli.config import ComposedInspection, add_allowed_probes, compose_inspection
from gradcli.config.schema import InspectConfig
from gradcli.errors import UserError
from gradcli.inspection.assemble import inspect_model, inspect_run
from gradcli.inspection.inspection import Inspection, SideBySide
from gradcli.inspection.one_step.step_inspection import StepInspection
from gradcli.probes.probe import Announce, silently
from gradcli.probes.registry import SHIPPED
from gradcli.runs import ComparisonDirectory, Run, find_any
from gradcli.runs.files import refuse_links
from gradcli.system.paths import Paths, returning_to
from gradcli.views.inspect.replay_progress import ReplayProgress
from gradcli.views.inspect.trial_progress import TrialProgress
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.kept_checkpoints import command_of_trial

_LONGEST_NAME = 60


@dataclass(frozen=True)
class TrialRequest:
    """That the advice is to be tried, for so many steps; None lets the trial decide."""

    progress: TrialProgress
    steps: int | None = None


def inspect_target(
    target: str | None,
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    view: TrainView,
    announce: Announce = silently,
    trial: TrialRequest | None = None,
) -> Inspection | SideBySide:
    """Inspect a run, a comparison, or a fresh model.

    Args:
        target: the directory of a run or comparison, its name or a unique part of it, or
            `latest`; None for a fresh model.
        overrides: Hydra overrides: of the inspection's own keys (probes, check, examples), and
            of those of a training run, which build a fresh model.
        vary: overrides with several values, `KEY=V1,V2`: fresh models side by side.
        paths: where runs, data and configs are.
        view: shows a download.
        announce: called with each probe before it runs.
        trial: whether the first advice is to be tried, which takes a run.

    Raises:
        UserError: if something is wrong with the target, the config, the data or the paths.
    """
    if trial is not None and target is None:
        raise UserError(
            "A fresh model has no run whose training could be tried with the advice.",
            where="--try",
            hint="gradcli train, and then gradcli inspect-gradients latest --try",
        )
    with returning_to(paths.started_in):
        composed = compose_inspection(
            overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        how = composed.config
        if target is None:
            inspections = _fresh_models(composed, paths, view, announce)
            if not vary:
                return inspections[0]
            return SideBySide(shlex.join(composed.overrides), "variants", inspections)
        _refuse_to_rebuild(target, [*composed.overrides, *vary])
        found = find_any(target, paths.runs_dir)
        if isinstance(found, Run):
            inspection = _run(found, how, paths, view, announce)
            return inspection if trial is None else _tried(found, inspection, paths, view, trial)
        if trial is not None:
            raise _one_run_only(found, "--try", "--try", "Advice is tried on one run")
        return _comparison(found, how, paths, view, announce)


def inspect_step(
    target: str | None,
    step: int,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    progress: ReplayProgress,
) -> StepInspection:
    """Inspect one step of a run: make it again, and measure each example of its batch.

    Args:
        target: a run, as `inspect_target` takes it.
        step: its number, from 1.
        overrides: none; a run is what it was trained with.
        paths: where runs, data and configs are.
        view: shows a download.
        progress: shows how far it is.

    Raises:
        UserError: if there is no such run or step, or it cannot be made again.
    """
    if target is None:
        raise UserError(
            "A fresh model has made no step; name a run.",
            where="--step",
            hint=f"gradcli inspect-gradients latest --step {step}",
        )
    if overrides:
        raise UserError(
            f"'{overrides[0]}' does not go with --step, which makes a step again as it was.",
            where=overrides[0].partition("=")[0],
            hint=shlex.join(["gradcli", "inspect-gradients", target, "--step", str(step)]),
        )
    with returning_to(paths.started_in):
        found = find_any(target, paths.runs_dir)
        if not isinstance(found, Run):
            raise _one_run_only(found, "--step", f"--step {step}", "A step is one of a run")
        from gradcli.workflows.one_step.step_of_run import inspect_step_of

        return inspect_step_of(found, step, paths, view, progress)


def exit_code_of_trial(inspection: Inspection | SideBySide) -> int:
    """Return 2 if the advice was to be tried and the config does not take it; else 0."""
    if isinstance(inspection, SideBySide) or inspection.trial is None:
        return 0
    return 2 if inspection.trial.outcome == "refused" else 0


def exit_code_of_probes(inspection: Inspection | SideBySide) -> int:
    """Return 1 if a shipped probe failed, which is a bug; 2 if one of the user's did; else 0."""
    failed = inspection.failed_probes()
    if not failed:
        return 0
    return 1 if any(probe.name in failed for probe in SHIPPED) else 2


def picture_folder(inspection: Inspection | SideBySide, paths: Paths) -> Path:
    """Return the folder for the pictures of an inspection; create it if needed.

    Those of a run or a comparison go into its directory. Those of fresh models go next to the
    runs, into a separate folder for each set of overrides, so that none replaces another's.
    """
    if inspection.kind in ("fresh", "variants"):
        folder = paths.runs_dir / "plots" / _folder_name(inspection)
    else:
        directory = Path(*shlex.split(inspection.target))
        refuse_links(directory)
        folder = directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def step_picture(inspection: StepInspection) -> Path:
    """Return where the picture of a step goes, and create its folder if needed."""
    directory = Path(*shlex.split(inspection.target))
    refuse_links(directory)
    folder = directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"step-{inspection.step}.png"


def _folder_name(inspection: Inspection | SideBySide) -> str:
    """Name fresh models after what sets them apart: `model=cnn_seed=1-4f0a12`.

    The digits are a hash of all overrides, of which a name has room for the first few only.
    """
    several = inspection.inspections if isinstance(inspection, SideBySide) else (inspection,)
    targets = "\n".join(one.target for one in several)
    digest = hashlib.blake2b(targets.encode(), digest_size=3).hexdigest()
    words = re.sub(r"[^\w=.,+-]+", "_", inspection.target).strip("_.")[:_LONGEST_NAME]
    return f"{words or 'default'}-{digest}"


def _refuse_to_rebuild(target: str, arguments: Sequence[str]) -> None:
    """Refuse overrides of what a run was trained with.

    Raises:
        UserError: for the first one.
    """
    if arguments:
        raise UserError(
            f"'{arguments[0]}' would change what {target} was trained with. Of a run you can set "
            "only probes, check and examples; a fresh model can have another config.",
            where=arguments[0].partition("=")[0],
            hint=shlex.join(["gradcli", "inspect-gradients", arguments[0]]),
        )


def _fresh_models(
    composed: ComposedInspection, paths: Paths, view: TrainView, announce: Announce
) -> tuple[Inspection, ...]:
    """Inspect the model of each variant."""
    from gradcli.workflows.restoring import measure_fresh

    inspections = []
    for variant, variation in zip(composed.variants(), composed.variations, strict=True):
        label = " ".join(variation)
        info, measures = measure_fresh(
            variant, composed.config, paths, view, _labelled(label, announce)
        )
        target = shlex.join([*composed.overrides, *variation])
        inspection = inspect_model(info, target, measures)
        options = tuple(paths.arguments(beside=composed.overrides))
        inspections.append(replace(inspection, label=label, path_arguments=options))
    return tuple(inspections)


def _labelled(label: str, announce: Announce) -> Announce:
    """Announce the probes of one model among several by its label."""

    def announce_labelled(probe: str, number: int, total: int) -> None:
        announce(f"{label}: {probe}" if label else probe, number, total)

    return announce_labelled


def _run(
    run: Run, how: InspectConfig, paths: Paths, view: TrainView, announce: Announce
) -> Inspection:
    measures = None
    if how.probes or how.check:
        from gradcli.workflows.restoring import measure_checkpoint

        with returning_to(paths.started_in):  # the run's path may be relative to it
            measures = measure_checkpoint(run, how, paths, view, announce)
    add_allowed_probes([record.probe for record in run.probe_records], paths.allow_import)
    inspection = inspect_run(run, shlex.quote(str(run.path)), measures)
    # The target is a path, so --runs-dir does not matter.
    arguments = paths.completed_by(run.paths).arguments(runs=False)
    return replace(inspection, path_arguments=tuple(arguments))


def _tried(
    run: Run, inspection: Inspection, paths: Paths, view: TrainView, trial: TrialRequest
) -> Inspection:
    """Add what comes of trying the first advice."""
    from gradcli.workflows.try_advice import try_advice

    with returning_to(paths.started_in):  # the run's path may be relative to it
        tried = try_advice(run, inspection, paths, view, trial.progress, trial.steps)
    return replace(inspection, trial=tried)


def _one_run_only(comparison: ComparisonDirectory, option: str, words: str, what: str) -> UserError:
    """Return the error for a comparison, of which one training must be named."""
    from gradcli.comparison.trial_store import TrialStore

    store = TrialStore(comparison, comparison.state.get("problems"))
    trials = [one for arm in store.arms() for one in (*arm.measuring, *arm.tuning)]
    paths = [comparison.trial_path(one.id) for one in trials if comparison.trial(one.id)]
    return UserError(
        f"{comparison.name} is a comparison. {what}, such as one of its trials.",
        where=option,
        hint=f"gradcli inspect-gradients {paths[0]} {words}" if paths else None,
    )


def _comparison(
    comparison: ComparisonDirectory,
    how: InspectConfig,
    paths: Paths,
    view: TrainView,
    announce: Announce,
) -> SideBySide:
    """Inspect one trial of each arm: the first that measures it, else one of the tuning.

    Where weights are probed, it is the first that has its weights; the arms of which no trial has
    them are shown by their records.
    """
    from gradcli.comparison.trial_store import TrialStore

    store = TrialStore(comparison, comparison.state.get("problems"))
    is_probed = bool(how.probes or how.check)
    shown: dict[str, Run] = {}
    for arm in store.arms():
        trials = [comparison.trial(trial.id) for trial in (*arm.measuring, *arm.tuning)]
        begun = [run for run in trials if run is not None and run.layers]
        with_weights = [run for run in begun if is_probed and run.has_checkpoint]
        if begun:
            shown[arm.name] = (*with_weights, *begun)[0]
    if not shown:
        raise UserError(
            f"No trial of {comparison.path} has begun, so there is nothing to inspect yet.",
            hint=f"gradcli compare-optimizers --resume {comparison.path}",
        )
    bare = {name: run for name, run in shown.items() if is_probed and not run.has_checkpoint}
    if len(bare) == len(shown):
        bare = {}  # there is nothing to probe, and the first one says so
    inspections = []
    for name, run in shown.items():
        asked = replace(how, probes=[], check=False) if name in bare else how
        inspection = _run(run, asked, paths, view, _labelled(name, announce))
        inspections.append(replace(inspection, label=name))
    commands = [command_of_trial(comparison, run, paths) for run in bare.values()]
    return SideBySide(
        shlex.quote(str(comparison.path)),
        "comparison",
        tuple(inspections),
        _which_trials(list(bare), is_probed=is_probed),
        tuple(command for command in commands if command),
    )


def _which_trials(bare: Sequence[str], *, is_probed: bool) -> tuple[str, ...]:
    """Say which trials are shown, and which arms could not be probed for want of weights."""
    if not is_probed:
        return ("One trial of each arm is shown: the first that measures it.",)
    first = "One trial of each arm is shown: the first that measures it and has its weights."
    if not bare:
        return (first,)
    return (
        first,
        f"No trial of {' and of '.join(bare)} has its weights, so only what was recorded is shown "
        "of it, its loss being that of the last step. With checkpoint.keep=last a comparison keeps "
        "the weights of each trial; trained anew as a run, a trial keeps its own.",
    )
