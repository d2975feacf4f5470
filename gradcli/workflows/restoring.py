"""Models built anew to be probed: fresh from a config, or as a run's last checkpoint has them.

The part of an inspection that needs torch. What is made of the measures is in `inspection`.
"""

from __future__ import annotations

from gradcli.config import Composed, load_config
from gradcli.config.schema import InspectConfig
from gradcli.errors import UserError
from gradcli.inspection.measures import Measures
from gradcli.inspection.probing import measure
from gradcli.probes.names import choose_probes
from gradcli.records import RunInfo
from gradcli.runs import Run, load_checkpoint
from gradcli.system.paths import Paths
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import built_trainer, describe_run, obtain_data, obtain_data_of
from gradcli.workflows.probe_target import probe_target_of


def measure_fresh(
    composed: Composed, how: InspectConfig, paths: Paths, view: TrainView
) -> tuple[RunInfo, Measures]:
    """Build the model of a config, and measure it before its training.

    Raises:
        UserError: for anything wrong with the config or the data, or a probe that is not known.
    """
    probes = choose_probes(how.probes)
    dataset = obtain_data(composed.config.data, paths.data_dir, view.download)
    composed = composed.with_data(dataset.info.name)
    with built_trainer(composed, dataset) as trainer:
        target = probe_target_of(trainer, composed.config, dataset, examples=how.examples)
        measures = measure(target, probes, check=how.check)
        return describe_run(composed, dataset, trainer, ""), measures


def measure_checkpoint(run: Run, how: InspectConfig, paths: Paths, view: TrainView) -> Measures:
    """Rebuild the model of a run's last checkpoint, and measure it.

    Raises:
        UserError: where there is none, the data has changed, or a probe is not known.
    """
    probes = choose_probes(how.probes)
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
    composed = load_config(run.config, where=where, allow_import=paths.allow_import)
    dataset = obtain_data_of(run, composed.config.data, paths, view.download)
    with built_trainer(composed, dataset, checkpoint) as trainer:
        target = probe_target_of(trainer, composed.config, dataset, examples=how.examples)
        return measure(target, probes, check=how.check)
