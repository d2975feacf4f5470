"""A training run from config to verdict: begun, resumed, or as a trial of a comparison.

The data and the trainer are made here, and the run directory; `recorded_training` does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gradcli.config import Composed, DataConfig, load_config
from gradcli.data import Dataset
from gradcli.errors import DamagedFileError, UserError
from gradcli.records import Recorder, TrainSummary
from gradcli.runs import (
    NO_LABELS,
    Labels,
    Resumable,
    Run,
    RunWriter,
    add_labels,
    checkpoint_to_resume,
    claim_run,
    create_run_directory,
    is_run,
    load_run,
    set_aside,
)
from gradcli.runs.comparisons import comparison_of
from gradcli.runs.provenance import built_with, provenance
from gradcli.runs.stored import damaged
from gradcli.system.paths import Paths, returning_to
from gradcli.training import Trainer
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import (
    build_recorders,
    built_trainer,
    model_name,
    obtain_data,
    obtain_data_of,
)
from gradcli.workflows.kept_checkpoints import has_weights_alone, new_run, without_checkpoint
from gradcli.workflows.preflight import remarks_before_training
from gradcli.workflows.recorded_training import train_and_record, with_place
from gradcli.workflows.tracked.tracked_runs import build_trackers

_OVER = ("finished", "failed")  # of a comparison: none of its trials is going to continue
_VISIBLE_JUMP = 0.01  # of a learning rate: a hundredth of the larger one


def start_run(
    composed: Composed,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    *,
    started: float,
    recorders: Sequence[Recorder] = (),
    labels: Labels = NO_LABELS,
) -> TrainSummary:
    """Train by a config, and return the run's summary.

    Args:
        composed: the config. It is composed before this module is imported, so that a mistake
            in it is reported without waiting for torch.
        overrides: those that it was composed of.
        paths: where runs, data and configs are.
        view: shows everything as it happens.
        started: when the wait for the first step began, in seconds since the epoch.
        recorders: receive every record, in addition to those that the config names.
        labels: what the user calls the run.

    Raises:
        UserError: if the data is not available, the config cannot be trained on it, no run
            directory can be made, or the user's own code raises an exception.
    """
    with closing(view), returning_to(paths.started_in):
        data_dir = None if paths.data_dir is None else paths.absolute(paths.data_dir)
        dataset = obtain_data(composed.config.data, data_dir, view.download)
        composed = composed.with_data(dataset.info.name)
        config = composed.config
        name = config.name or f"{model_name(composed, dataset)}-{config.optimizer.option}"
        for remark in remarks_before_training(composed, dataset):
            view.note(remark)
        others = [view, *build_recorders(composed), *build_trackers(composed), *recorders]
        with built_trainer(composed, dataset) as trainer:
            directory = create_run_directory(paths.absolute(paths.runs_dir), name)
            facts = {
                **provenance(),
                **built_with(paths),
                "overrides": list(overrides),
                "seed": config.seed,
            }
            writer = RunWriter(directory, composed.yaml(), facts)
            add_labels(directory, labels)
            return train_and_record(
                composed,
                dataset,
                trainer,
                writer,
                others,
                started,
                checkpoint=None,
                shown_as=paths.runs_dir / directory.name,
            )


def resume_run(
    run: Run,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    *,
    started: float,
    recorders: Sequence[Recorder] = (),
    labels: Labels = NO_LABELS,
) -> TrainSummary:
    """Continue a run from its last checkpoint, or from the start if it has none.

    On the CPU the result is that of an uninterrupted run, bit for bit, with the same threads.

    Args:
        run: the run.
        overrides: nothing, or `epochs=N` to extend the run.
        paths: where runs, data and configs are.
        view: shows everything as it happens.
        started: when the wait for the first step began, in seconds since the epoch.
        recorders: receive every record, in addition to those that the run's config names.
        labels: what the user calls the run, in addition to what it is called.

    Raises:
        UserError: if there is nothing to continue, the data has changed, or the user's own code
            raises an exception.
    """
    directory = paths.absolute(run.path)
    with closing(view), returning_to(paths.started_in), claim_run(directory) as lock:
        run = load_run(run.path)  # as it is now that no other process can change it
        _refuse_own_loop(run)
        has_checkpoint = run.has_checkpoint  # the user's code may change the working directory
        composed = load_config(
            run.config, where=str(run.path / "config.yaml"), allow_import=paths.allow_import
        )
        epochs = _extension(overrides, composed, run, paths)
        _refuse_ended(run, composed, epochs, paths)
        if epochs is not None:
            composed = composed.with_epochs(epochs)
        if not has_checkpoint:
            _refuse_without_checkpoint(run, epochs, paths)
        found = checkpoint_to_resume(directory, was_saved=_has_saved(run))
        checkpoint = found.checkpoint if found else None
        if checkpoint is not None and has_weights_alone(checkpoint):
            raise _nothing_to_continue_from(run, epochs, paths)
        dataset = obtain_data_of(run, composed.config.data, paths, view.download)
        if changed := _changed_code(run, dataset):
            view.note(changed)
        others = [view, *build_recorders(composed), *build_trackers(composed), *recorders]
        with built_trainer(composed, dataset, checkpoint) as trainer:
            _refuse_other_layers(run, trainer)
            facts = {**provenance(), "overrides": list(overrides)}
            writer = RunWriter(
                directory,
                composed.yaml(),
                facts,
                earlier=run.state,
                lock=lock,
                last_is_damaged=bool(found and found.problems),
            )
            add_labels(directory, labels)
            for problem in found.problems if found else ():
                view.note(f"{problem} The run continues from step {trainer.step:,} instead.")
            if checkpoint is not None and (jump := _rate_jump(composed, trainer, checkpoint)):
                view.note(jump)
            return train_and_record(
                composed,
                dataset,
                trainer,
                writer,
                others,
                started,
                checkpoint=checkpoint,
                shown_as=run.path,
            )


def run_trial(
    directory: Path,
    config: str,
    load_data: Callable[[DataConfig], Dataset],
    *,
    facts: dict[str, Any],
    allow_import: Sequence[str] = (),
    until: int | None = None,
    validates: bool = False,
) -> None:
    """Train one trial of a comparison, or continue it, in the run directory `directory`.

    The training is that of `start_run` with the same config, to the last bit. There are no pictures
    and fewer checkpoints, because trials are short and many. The directory says how it went.

    Args:
        directory: is made if it does not exist. A trial that was begun there continues from its
            last checkpoint, and one that has ended is left alone. One with a damaged file is set
            aside, and begins again.
        config: the resolved config as YAML.
        load_data: returns the data that the config asks for.
        facts: what is known of the process and the machine, for `run.json`.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        until: pause after this step, with the validation score there noted in `run.json`.
        validates: whether to validate within epochs, too, which changes nothing else.

    Raises:
        UserError: if another process is working in the directory. One about the config or the
            data is noted in `run.json` instead, as is every other exception before it is raised.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        run, found = _begun_trial(directory)
    except DamagedFileError:
        set_aside(directory)
        directory.mkdir()
        run = found = None
    if run is not None and run.status in ("finished", "diverged"):
        return
    checkpoint = found.checkpoint if found else None
    writer = RunWriter(
        directory,
        config,
        facts,
        earlier=None if run is None else run.state,
        last_is_damaged=bool(found and found.problems),
    )
    try:
        composed = load_config(config, where=str(directory), allow_import=allow_import)
        dataset = load_data(composed.config.data)
        others = [*build_recorders(composed), *build_trackers(composed)]
        with built_trainer(composed, dataset, checkpoint) as trainer:
            train_and_record(
                composed,
                dataset,
                trainer,
                writer,
                others,
                time.time(),
                checkpoint=checkpoint,
                shown_as=directory,
                until=until,
                is_trial=True,
                validates=validates,
            )
    except UserError as error:
        writer.set_status("failed", user_error=error.as_json())
    except Exception as error:
        writer.set_status("failed", error=with_place(error))
        raise
    finally:
        writer.close()


def _extension(overrides: Sequence[str], composed: Composed, run: Run, paths: Paths) -> int | None:
    """Return the number of epochs to which the overrides extend a run.

    Raises:
        UserError: if there is any other override, or the run would become shorter.
    """
    epochs = None
    for override in overrides:
        key, _, value = override.partition("=")
        if key != "epochs" or not value.isdigit():
            raise UserError(
                f"'{override}' would change a run that has begun. Only epochs=N is allowed, to "
                "extend it. A new run can have another config.",
                where="--resume",
                hint=new_run(run, override, paths),
            )
        epochs = int(value)
    if epochs is not None and epochs < composed.config.epochs:
        raise UserError(
            f"The run has epochs={composed.config.epochs}. It can only be made longer.",
            where="epochs",
            hint=f"gradcli train --resume {run.path} epochs={composed.config.epochs + 1}",
        )
    return epochs


def _begun_trial(directory: Path) -> tuple[Run | None, Resumable | None]:
    """Return what there is of a trial, and the checkpoint that it continues from.

    Raises:
        DamagedFileError: if a file of it is damaged.
    """
    if not is_run(directory):
        return None, None
    with claim_run(directory):
        run = load_run(directory)
        if run.state["status"] in ("finished", "diverged"):
            if run.damage:
                raise DamagedFileError(run.damage[0], where=str(directory))
            return run, None
        return run, checkpoint_to_resume(directory, was_saved=_has_saved(run))


def _has_saved(run: Run) -> bool:
    """Whether a run is known to have saved a checkpoint. One that failed may have failed to."""
    has_progress = run.state["status"] != "failed" and "progress" in run.state
    return run.state["status"] == "finished" or has_progress


def _changed_code(run: Run, dataset: Dataset) -> str:
    """Say that the code of the run's problem has changed; empty if not."""
    if "info" not in run.state or run.info.data.file_sha256 == dataset.info.file_sha256:
        return ""
    place = dataset.info.file or "The code of the problem"
    return f"{place} has changed since the run began: what follows may differ from before."


def _refuse_other_layers(run: Run, trainer: Trainer) -> None:
    """Refuse to continue a run whose layers are not those of its config.

    Raises:
        DamagedFileError: if `layers.json` was changed.
    """
    if run.layers and run.layers != trainer.layers:
        raise damaged(run.path / "layers.json", "has other layers than the model of config.yaml")


def _refuse_own_loop(run: Run) -> None:
    """Refuse to continue what the user's own loop has trained."""
    if "info" in run.state and run.info.is_own_loop:
        raise UserError(
            f"{run.name} was trained by your own loop, which gradcli cannot continue.",
            where="--resume",
            hint=f"gradcli runs show {run.path}",
        )


def _refuse_ended(run: Run, composed: Composed, epochs: int | None, paths: Paths) -> None:
    """Refuse to continue a run that has ended."""
    config = composed.config
    if run.status == "diverged":
        fault = run.fault
        raise UserError(
            f"{run.name} diverged at step {fault.step if fault else '?'}. It would diverge again: "
            "the batch and the weights would be the same.",
            hint=f"gradcli runs show {run.name}",
        )
    longer = epochs is not None and epochs > config.epochs
    if run.status == "finished" and not longer:
        raise UserError(
            f"{run.name} has already finished, with epochs={config.epochs}.",
            hint=f"gradcli train --resume {run.path} epochs={config.epochs + 1}",
        )
    if run.status == "finished" and config.max_steps is not None:
        raise UserError(
            f"{run.name} ended at max_steps={config.max_steps}. More epochs do not extend it.",
            hint=new_run(run, f"epochs={epochs} max_steps=null", paths),
        )


def _refuse_without_checkpoint(run: Run, epochs: int | None, paths: Paths) -> None:
    """Refuse to continue a run that has ended, or was stopped, if its checkpoint was not kept.

    In any other run a missing checkpoint is a damage.
    """
    ended = run.status == "finished"
    stopped = (comparison := comparison_of(run.path)) is not None and comparison.status in _OVER
    if (ended or stopped) and _has_saved(run):
        raise _nothing_to_continue_from(run, epochs, paths)


def _nothing_to_continue_from(run: Run, epochs: int | None, paths: Paths) -> UserError:
    return without_checkpoint(
        run,
        paths,
        so="there is nothing to continue from",
        where="--resume",
        override="" if epochs is None else f"epochs={epochs}",
    )


def _rate_jump(composed: Composed, trainer: Trainer, checkpoint: dict[str, Any]) -> str:
    """Say how far a longer run moves its learning rate at the checkpoint; empty if it does not."""
    before = float(checkpoint["optimizer"]["param_groups"][0]["lr"])
    after = trainer.learning_rate.current
    if abs(after - before) <= _VISIBLE_JUMP * max(before, after):
        return ""
    config = composed.config
    return (
        f"The learning rate jumps from {before:.3g} to {after:.3g} after step {trainer.step}: "
        f"schedule={config.schedule.option} now runs over {config.epochs} epochs."
    )
