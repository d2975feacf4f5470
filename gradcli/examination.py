"""An inspection from target to verdict: joins the rooms.

Runs, comparisons and fresh models are found, built and loaded here; what is looked at is in
`inspection`, and judged in `gradients.diagnosis`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gradcli.comparison.ledger import Ledger
from gradcli.config import Composed, compose_inspection, load_config
from gradcli.config.schema import InspectConfig
from gradcli.data import Batches, Dataset, epoch_order
from gradcli.errors import UserError
from gradcli.experiment import build_trainer, describe_run, obtain_data, run_settings
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients
from gradcli.inspection.assemble import inspect_model, inspect_run
from gradcli.inspection.measures import Measures
from gradcli.inspection.probing import Subject, choose_probes, measure
from gradcli.inspection.results import Inspection, SideBySide
from gradcli.places import Places
from gradcli.runs import ComparisonDirectory, Run, find_any, load_checkpoint
from gradcli.training import Trainer
from gradcli.training.clock import PhaseClock
from gradcli.training.step import TrainingStep
from gradcli.views.train_view import TrainView

# The probe set is looked at in batches like those of training, but within these bounds: a batch
# of one would take a thousand passes, and a very large one too much memory.
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 256


def inspect_target(
    target: str | None,
    overrides: Sequence[str],
    vary: Sequence[str],
    places: Places,
    view: TrainView,
) -> Inspection | SideBySide:
    """Inspect a run, a comparison, or a fresh model.

    Args:
        target: the directory of a run or comparison, its name or a unique part of it, or
            `latest`; None for a fresh model.
        overrides: Hydra overrides: of the inspection's own keys (probes, check, examples), and
            of those of a training run, which build a fresh model.
        vary: overrides with several values, `KEY=V1,V2`: fresh models side by side.
        places: where things lie.
        view: is shown a download.

    Raises:
        UserError: for anything wrong with the target, the config, the data or the places.
    """
    composed = compose_inspection(
        overrides, vary, config_dir=places.config_dir, allow_import=places.allow_import
    )
    how = composed.config
    probes = choose_probes(how.probes)
    if target is None:
        inspections = tuple(
            replace(
                _fresh(variant, [*composed.overrides, *variation], probes, how, places, view),
                label=" ".join(variation),
            )
            for variant, variation in zip(composed.variants(), composed.variations, strict=True)
        )
        if not vary:
            return inspections[0]
        return SideBySide(shlex.join(composed.overrides), "variants", inspections)
    _refuse_to_rebuild(target, [*composed.overrides, *vary])
    found = find_any(target, places.runs_dir)
    if isinstance(found, Run):
        return _run(found, probes, how, places, view)
    return _comparison(found, probes, how, places, view)


def split_target(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell the target from the overrides: what has a `=` and is no folder is an override.

    Raises:
        UserError: for more than one target.
    """
    targets = [word for word in words if "=" not in word or Path(word).is_dir()]
    if len(targets) > 1:
        raise UserError(
            f"'{targets[1]}' is a second target, and one thing is looked at at a time.",
            where="TARGET",
            hint=f"gradcli inspect-gradients {targets[0]}",
        )
    overrides = [word for word in words if word not in targets]
    return (targets[0] if targets else None), overrides


def picture_folder(inspection: Inspection | SideBySide, places: Places) -> Path:
    """Return where the pictures of an inspection go, made where it is missing.

    Those of a run or a comparison lie in its directory, those of a fresh model beside the runs.
    """
    is_fresh = inspection.kind in ("fresh", "variants")
    home = places.runs_dir if is_fresh else Path(*shlex.split(inspection.target))
    folder = home / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _refuse_to_rebuild(target: str, words: Sequence[str]) -> None:
    """Refuse overrides of what a run was trained with.

    Raises:
        UserError: for the first one.
    """
    if words:
        raise UserError(
            f"'{words[0]}' would change what {target} was trained with.",
            where=words[0].partition("=")[0],
            hint=f"gradcli inspect-gradients {words[0]}, for a fresh model; on a run only probes, "
            "check and examples can be set",
        )


def _fresh(
    composed: Composed,
    overrides: Sequence[str],
    probes: Sequence[str],
    how: InspectConfig,
    places: Places,
    view: TrainView,
) -> Inspection:
    dataset = obtain_data(composed, places, view)
    composed = composed.with_data(dataset.info.name)
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        measures = _measure(trainer, composed, dataset, probes, how)
        info = describe_run(composed, dataset, trainer, "")
    return inspect_model(info, shlex.join(overrides), measures)


def _run(
    run: Run, probes: Sequence[str], how: InspectConfig, places: Places, view: TrainView
) -> Inspection:
    wanted = bool(probes) or how.check
    measures = _measure_checkpoint(run, probes, how, places, view) if wanted else None
    return inspect_run(run, shlex.quote(str(run.path)), measures)


def _comparison(
    comparison: ComparisonDirectory,
    probes: Sequence[str],
    how: InspectConfig,
    places: Places,
    view: TrainView,
) -> SideBySide:
    """Inspect one trial of each arm: of those that measure it the first, else of the tuning."""
    ledger = Ledger(comparison, comparison.state.get("problems"))
    inspections = []
    for arm in ledger.arms():
        trials = [comparison.trial(trial.id) for trial in (*arm.measuring, *arm.tuning)]
        run = next((run for run in trials if run is not None and run.layers), None)
        if run is not None:
            inspection = _run(run, probes, how, places, view)
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


def _measure_checkpoint(
    run: Run, probes: Sequence[str], how: InspectConfig, places: Places, view: TrainView
) -> Measures:
    """Rebuild the model of a run's last checkpoint, and measure it.

    Raises:
        UserError: where there is none, or the data has changed.
    """
    if not run.info.total_steps:
        raise UserError(
            f"{run.name} was trained by a loop of your own: gradcli has no model to probe.",
            where="--probe",
            hint=f"gradcli inspect-gradients {run.path}",
        )
    checkpoint = load_checkpoint(run.path)
    if checkpoint is None:
        raise UserError(
            f"{run.name} has no checkpoint yet, and so no weights to probe.",
            where="--probe",
            hint=f"gradcli inspect-gradients {run.path}",
        )
    where = str(run.path / "config.yaml")
    composed = load_config(run.config, where=where, allow_import=places.allow_import)
    dataset = obtain_data(composed, places, view)
    if dataset.info.sha256 != run.info.data.sha256:
        raise UserError(
            f"The data is not that of the run: {dataset.info.name} has changed since.",
            where=f"data in {where}",
            hint="--data-dir DIR, with the data that the run was trained on",
        )
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        trainer.load_state_dict(checkpoint)
        return _measure(trainer, composed, dataset, probes, how)


def _measure(
    trainer: Trainer,
    composed: Composed,
    dataset: Dataset,
    probes: Sequence[str],
    how: InspectConfig,
) -> Measures:
    """Probe a trainer's model with the examples that its run begins with."""
    config = composed.config
    size = min(max(config.batch_size, _SMALLEST_BATCH), _LARGEST_BATCH)
    source = Batches(
        dataset.train,
        size,
        normalize=config.data.normalize,
        mean=dataset.mean,
        std=dataset.std,
        device=trainer.device,
    )
    order = epoch_order(source.size, config.seed, 1)[: how.examples].to(trainer.device)
    batches = [
        (inputs.clone(), labels.clone())
        for inputs, labels in (source.gather(indices) for indices in torch.split(order, size))
    ]
    trainer.model.train()
    subject = Subject(
        trainer.model,
        trainer.optimizer,
        batches,
        step=_Stepper(trainer, bfloat16=config.precision == "bfloat16"),
        steps_made=trainer.step,
    )
    return measure(subject, probes, check=how.check)


class _Stepper:
    """Makes the steps that a trainer would make next, one at a call, recording nothing."""

    def __init__(self, trainer: Trainer, *, bfloat16: bool) -> None:
        self._trainer = trainer
        self._number = trainer.step
        gradients = Gradients(trainer.model, trainer.layers)
        clock = PhaseClock(trainer.device)
        self._step = TrainingStep(
            trainer.model, trainer.optimizer, gradients, trainer.clip, clock, bfloat16
        )

    def __call__(self, probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
        trainer = self._trainer
        train = trainer.splits["train"]
        epoch, batch = divmod(self._number, train.steps_per_epoch)
        order = epoch_order(train.size, trainer.plan.seed, epoch + 1)
        indices = torch.split(order, train.batch_size)[batch].to(trainer.device)
        inputs, labels = train.gather(indices)
        # A run that has ended goes on with the learning rate that it ended with.
        trainer.learning_rate.set(min(self._number, trainer.total_steps - 1))
        self._step(inputs, labels, probe)
        self._number += 1
        return inputs, labels
