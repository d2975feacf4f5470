"""Models rebuilt to be probed: fresh from a config, or from a run's last checkpoint.

The part of an inspection that needs torch. `inspection` says what the measures mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from gradcli.config import Composed, allowed_probes, load_config
from gradcli.config.schema import InspectConfig
from gradcli.errors import UserError
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.inspection.measures import Measures
from gradcli.inspection.probing import measure
from gradcli.probes.check import CHECK
from gradcli.probes.probe import Announce, Probe
from gradcli.records import RunInfo
from gradcli.runs import Run, load_checkpoint
from gradcli.system.paths import Paths
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import built_trainer, describe_run, obtain_data, obtain_data_of
from gradcli.workflows.kept_checkpoints import (
    has_weights_alone,
    probeable_siblings,
    without_checkpoint,
)
from gradcli.workflows.preflight import remarks_before_training
from gradcli.workflows.probe_target import probe_target_of

_WEIGHTS_ALONE = (
    "Of this trial only the weights were kept, not the state of the optimizer: what depends on "
    "that is not known. With checkpoint.keep=last a comparison keeps both, of each trial."
)


def measure_fresh(
    composed: Composed, how: InspectConfig, paths: Paths, view: TrainView, announce: Announce
) -> tuple[RunInfo, Measures]:
    """Build the model of a config, and measure it before any training.

    Raises:
        UserError: if something is wrong with the config or the data, or a probe is unknown.
    """
    probes = _asked_for(how, paths)
    data_dir = None if paths.data_dir is None else paths.absolute(paths.data_dir)
    dataset = obtain_data(composed.config.data, data_dir, view.download)
    composed = composed.with_data(dataset.info.name)
    for remark in remarks_before_training(composed, dataset):
        view.note(remark)
    with built_trainer(composed, dataset) as trainer:
        target = probe_target_of(trainer, composed.config, examples=how.examples)
        measures = measure(target, probes, announce)
        return describe_run(composed, dataset, trainer, ""), measures


def measure_checkpoint(
    run: Run, how: InspectConfig, paths: Paths, view: TrainView, announce: Announce
) -> Measures:
    """Rebuild the model of a run's last checkpoint, and measure it.

    Raises:
        UserError: if there is no checkpoint, the data has changed, or a probe is unknown.
    """
    probes = _asked_for(how, paths)
    if run.info.is_own_loop:
        raise UserError(
            f"{run.name} was trained in a loop of your own, so gradcli cannot rebuild its model.",
            where="--probe",
            hint=f"gradcli inspect-gradients {run.path}",
        )
    checkpoint = load_checkpoint(run.path)
    if checkpoint is None:
        if run.status == "finished":
            raise without_checkpoint(
                run,
                paths,
                so="there are no weights to probe",
                where="--probe or --check",
                others=probeable_siblings(run),
            )
        yet = "" if run.fault else " yet"  # the first epoch's weights may not have stayed finite
        raise UserError(
            f"{run.name} has no checkpoint{yet}, so there are no weights to probe.",
            where="--probe",
            hint=f"gradcli inspect-gradients {run.path}",
        )
    where = str(run.path / "config.yaml")
    composed = load_config(run.config, where=where, allow_import=paths.allow_import)
    dataset = obtain_data_of(run, composed.config.data, paths, view.download)
    with built_trainer(composed, dataset, checkpoint) as trainer:
        target = probe_target_of(trainer, composed.config, examples=how.examples)
        if not has_weights_alone(checkpoint):
            return measure(target, probes, announce)
        measures = measure(replace(target, step=_refuse_step), probes, announce)
        return replace(measures, notes=(_WEIGHTS_ALONE,))


def _refuse_step(probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
    """Refuse to make the step that would have been the next.

    Raises:
        UserError: always, for a probe to have no result.
    """
    raise UserError("it makes training steps, which need the state of the optimizer")


def _asked_for(how: InspectConfig, paths: Paths) -> tuple[Probe[Any], ...]:
    """Return the probes that an inspection's config asks for."""
    return (*allowed_probes(how.probes, paths.allow_import), *([CHECK] if how.check else []))
