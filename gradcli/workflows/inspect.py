"""An inspection from target to verdict: joins the rooms.

What is to be looked at is found here, built anew in `rebuilding` where its model is to be probed,
put together in `inspection`, and judged in `diagnosis`. A run's records are looked at
without torch, which takes longer to import than a million steps to read.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradcli.config import ComposedInspection, compose_inspection
from gradcli.config.schema import InspectConfig
from gradcli.errors import UserError
from gradcli.inspection.assemble import inspect_model, inspect_run
from gradcli.inspection.inspection import Inspection, SideBySide
from gradcli.runs import ComparisonDirectory, Run, find_any
from gradcli.system.paths import Paths
from gradcli.views.train.train_view import TrainView


def inspect_target(
    target: str | None,
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    view: TrainView,
) -> Inspection | SideBySide:
    """Inspect a run, a comparison, or a fresh model.

    Args:
        target: the directory of a run or comparison, its name or a unique part of it, or
            `latest`; None for a fresh model.
        overrides: Hydra overrides: of the inspection's own keys (probes, check, examples), and
            of those of a training run, which build a fresh model.
        vary: overrides with several values, `KEY=V1,V2`: fresh models side by side.
        paths: where things lie.
        view: is shown a download.

    Raises:
        UserError: for anything wrong with the target, the config, the data or the places.
    """
    composed = compose_inspection(
        overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
    )
    how = composed.config
    if target is None:
        inspections = _fresh_models(composed, paths, view)
        if not vary:
            return inspections[0]
        return SideBySide(shlex.join(composed.overrides), "variants", inspections)
    _refuse_to_rebuild(target, [*composed.overrides, *vary])
    found = find_any(target, paths.runs_dir)
    if isinstance(found, Run):
        return _run(found, how, paths, view)
    return _comparison(found, how, paths, view)


def picture_folder(inspection: Inspection | SideBySide, paths: Paths) -> Path:
    """Return where the pictures of an inspection go, made where it is missing.

    Those of a run or a comparison lie in its directory, those of a fresh model beside the runs.
    """
    is_fresh = inspection.kind in ("fresh", "variants")
    home = paths.runs_dir if is_fresh else Path(*shlex.split(inspection.target))
    folder = home / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _refuse_to_rebuild(target: str, arguments: Sequence[str]) -> None:
    """Refuse overrides of what a run was trained with.

    Raises:
        UserError: for the first one.
    """
    if arguments:
        raise UserError(
            f"'{arguments[0]}' would change what {target} was trained with.",
            where=arguments[0].partition("=")[0],
            hint=f"gradcli inspect-gradients {arguments[0]}, for a fresh model; on a run only "
            "probes, check and examples can be set",
        )


def _fresh_models(
    composed: ComposedInspection, paths: Paths, view: TrainView
) -> tuple[Inspection, ...]:
    """Inspect the model of each variant."""
    from gradcli.workflows.restoring import measure_fresh

    inspections = []
    for variant, variation in zip(composed.variants(), composed.variations, strict=True):
        info, measures = measure_fresh(variant, composed.config, paths, view)
        target = shlex.join([*composed.overrides, *variation])
        inspections.append(
            replace(inspect_model(info, target, measures), label=" ".join(variation))
        )
    return tuple(inspections)


def _run(run: Run, how: InspectConfig, paths: Paths, view: TrainView) -> Inspection:
    measures = None
    if how.probes or how.check:
        from gradcli.workflows.restoring import measure_checkpoint

        measures = measure_checkpoint(run, how, paths, view)
    return inspect_run(run, shlex.quote(str(run.path)), measures)


def _comparison(
    comparison: ComparisonDirectory, how: InspectConfig, paths: Paths, view: TrainView
) -> SideBySide:
    """Inspect one trial of each arm: of those that measure it the first, else of the tuning."""
    from gradcli.comparison.trial_store import TrialStore

    store = TrialStore(comparison, comparison.state.get("problems"))
    inspections = []
    for arm in store.arms():
        trials = [comparison.trial(trial.id) for trial in (*arm.measuring, *arm.tuning)]
        run = next((run for run in trials if run is not None and run.layers), None)
        if run is not None:
            inspection = _run(run, how, paths, view)
            inspections.append(replace(inspection, label=arm.name))
    if not inspections:
        raise UserError(
            f"No trial of {comparison.path} has begun: there is nothing to look at yet.",
            hint=f"gradcli compare-optimizers --resume {comparison.path}",
        )
    return SideBySide(
        shlex.quote(str(comparison.path)),
        "comparison",
        tuple(inspections),
        ("Of each arm one trial is shown: the first of those that measure it.",),
    )
