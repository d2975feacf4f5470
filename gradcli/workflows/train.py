"""A training run from config to verdict: joins the rooms, and decides their order.

A trainer is built from the config; each of its records goes to the recorders; checkpoints are
saved between records; a signal ends the run with its state saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import torch

from gradcli.config import Composed, DataConfig, flattened, load_config
from gradcli.data import Dataset
from gradcli.errors import UserError
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    Recorder,
    Status,
    StepRecords,
    TrainSummary,
)
from gradcli.runs import (
    Run,
    RunWriter,
    create_run_directory,
    is_run,
    load_checkpoint,
    load_run,
)
from gradcli.runs.provenance import built_with, provenance
from gradcli.runs.recorders import Recorders, RunDirectoryRecorder
from gradcli.system.interrupts import caught_signals
from gradcli.system.paths import Paths
from gradcli.training import Trainer
from gradcli.training.evaluation import evaluate
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import (
    build_recorders,
    build_trainer,
    built_trainer,
    describe_run,
    obtain_data,
    obtain_data_of,
)
from gradcli.workflows.preflight import remarks_before_training
from gradcli.workflows.run_probes import RunProbes

_VISIBLE_JUMP = 0.01  # of a learning rate: a hundredth of the larger one


def start_run(
    composed: Composed,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    *,
    started: float,
    recorders: Sequence[Recorder] = (),
) -> TrainSummary:
    """Train by a config, and return the run's summary.

    Args:
        composed: the config. It is composed before this module is imported, so that a mistake
            in it is answered without waiting for torch.
        overrides: those that it was composed of.
        paths: where runs, data and configs are.
        view: shows everything as it happens.
        started: when the wait for the first step began, in seconds since the epoch.
        recorders: receive every record, in addition to those that the config names.

    Raises:
        UserError: if the data is not available, the config cannot be trained on it, or no run
            directory can be made.
    """
    with closing(view):
        dataset = obtain_data(composed.config.data, paths.data_dir, view.download)
        composed = composed.with_data(dataset.info.name)
        config = composed.config
        name = config.name or f"{config.model.option}-{config.optimizer.option}"
        for remark in remarks_before_training(composed, dataset):
            view.note(remark)
        others = [view, *build_recorders(composed), *recorders]
        with built_trainer(composed, dataset) as trainer:
            directory = create_run_directory(paths.runs_dir, name)
            facts = {
                **provenance(),
                **built_with(paths),
                "overrides": list(overrides),
                "seed": config.seed,
            }
            writer = RunWriter(directory, composed.yaml(), facts)
            return _train(composed, dataset, trainer, writer, others, started, checkpoint=None)


def resume_run(
    run: Run,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    *,
    started: float,
    recorders: Sequence[Recorder] = (),
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

    Raises:
        UserError: if there is nothing to continue, or the data has changed.
    """
    _refuse_own_loop(run)
    composed = load_config(
        run.config, where=str(run.path / "config.yaml"), allow_import=paths.allow_import
    )
    epochs = _extension(overrides, composed, run)
    _refuse_ended(run, composed, epochs)
    if epochs is not None:
        composed = composed.with_epochs(epochs)
    with closing(view):
        dataset = obtain_data_of(run, composed.config.data, paths, view.download)
        others = [view, *build_recorders(composed), *recorders]
        checkpoint = load_checkpoint(run.path)
        with built_trainer(composed, dataset, checkpoint) as trainer:
            facts = {**provenance(), "overrides": list(overrides)}
            writer = RunWriter(run.path, composed.yaml(), facts, earlier=run.state)
            if checkpoint is not None and (jump := _rate_jump(composed, trainer, checkpoint)):
                view.note(jump)
            return _train(
                composed, dataset, trainer, writer, others, started, checkpoint=checkpoint
            )


def run_trial(
    directory: Path,
    config: str,
    load_data: Callable[[DataConfig], Dataset],
    *,
    facts: dict[str, Any],
    allow_import: Sequence[str] = (),
    until: int | None = None,
) -> None:
    """Train one trial of a comparison, or continue it, in the run directory `directory`.

    It is the training that `start_run` makes of the same config, to the last bit, without
    pictures and with fewer checkpoints: trials are short and many. The directory tells how it
    went.

    Args:
        directory: is made if it does not exist. A trial that was begun there continues from its
            last checkpoint, and one that has ended is left alone.
        config: the resolved config as YAML.
        load_data: returns the data that the config asks for.
        facts: what is known of the process and the machine, for `run.json`.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        until: pause after this step, with the validation accuracy there noted in `run.json`.

    Raises:
        UserError: if another process is working in the directory. One about the config or the
            data is noted in `run.json` instead, as is every other exception before it is raised.
    """
    directory.mkdir(parents=True, exist_ok=True)
    earlier = load_run(directory).state if is_run(directory) else None
    if earlier is not None and earlier["status"] in ("finished", "diverged"):
        return
    writer = RunWriter(directory, config, facts, earlier=earlier)
    try:
        composed = load_config(config, where=str(directory), allow_import=allow_import)
        dataset = load_data(composed.config.data)
        others = build_recorders(composed)
        checkpoint = load_checkpoint(directory)
        with built_trainer(composed, dataset, checkpoint) as trainer:
            _train(
                composed,
                dataset,
                trainer,
                writer,
                others,
                time.time(),
                checkpoint=checkpoint,
                until=until,
                is_trial=True,
            )
    except UserError as error:
        writer.set_status("failed", user_error=error.as_json())
    except Exception as error:
        writer.set_status("failed", error=repr(error))
        raise
    finally:
        writer.close()


def _extension(overrides: Sequence[str], composed: Composed, run: Run) -> int | None:
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
                "extend it.",
                where="--resume",
                hint=f"gradcli train {override}, as a new run",
            )
        epochs = int(value)
    if epochs is not None and epochs < composed.config.epochs:
        raise UserError(
            f"The run has epochs={composed.config.epochs}. It can only be made longer.",
            where="epochs",
            hint=f"gradcli train --resume {run.path} epochs={composed.config.epochs + 1}",
        )
    return epochs


def _refuse_own_loop(run: Run) -> None:
    """Refuse to continue what the user's own loop has trained."""
    if "info" in run.state and run.info.is_own_loop:
        raise UserError(
            f"{run.name} was trained by your own loop, which gradcli cannot continue.",
            where="--resume",
            hint=f"gradcli runs show {run.path}",
        )


def _refuse_ended(run: Run, composed: Composed, epochs: int | None) -> None:
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
            hint=f"gradcli train epochs={epochs}, as a new run",
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


def _train(
    composed: Composed,
    dataset: Dataset,
    trainer: Trainer,
    writer: RunWriter,
    others: Sequence[Recorder],
    started: float,
    *,
    checkpoint: dict[str, Any] | None,
    until: int | None = None,
    is_trial: bool = False,
) -> TrainSummary:
    """Run the trainer; hand over and save what it yields; end with a verdict.

    A trial saves a checkpoint when one is due and at its end, keeps no best one and draws no
    pictures.
    """
    config = composed.config
    torch.set_num_threads(trainer.plan.threads)
    log_bytes = checkpoint["log_bytes"] if checkpoint else {}
    recorders = Recorders(RunDirectoryRecorder(writer, log_bytes), others)
    try:
        info = describe_run(composed, dataset, trainer, writer.directory.name)
        # From here on there is a run, which an interruption must leave in good order.
        with caught_signals(trainer.stop) as caught:
            recorders.begin(info, flattened(composed.plain))
            probes = RunProbes(
                trainer,
                config,
                dataset,
                build=lambda: build_trainer(composed, dataset),
                made=load_run(writer.directory).probe_records,
            )
            first = checkpoint is None
            last_saved = time.monotonic()
            before = time.monotonic()
            _probe(probes, recorders, caught)
            trainer.seconds_before += time.monotonic() - before
            for record in trainer.run(until, probes.steps):
                if first and isinstance(record, StepRecords):
                    writer.note(seconds_first_step=time.time() - started)
                    first = False
                recorders.record(record)
                if isinstance(record, FaultRecord):
                    _save_fault(writer, dataset, record)
                at_rest = isinstance(record, EvalRecord | StepRecords)
                if at_rest:
                    _probe(probes, recorders, caught)
                due = time.monotonic() - last_saved > config.checkpoint.seconds
                evaluated = isinstance(record, EvalRecord) and not is_trial
                if evaluated or (due and at_rest):
                    _save(writer, trainer, best=not is_trial and _is_best(record, writer))
                    last_saved = time.monotonic()
        status: Status = (
            "diverged" if trainer.fault else "finished" if trainer.finished else "interrupted"
        )
        if status == "interrupted" and trainer.step == until:
            writer.note(rungs={**writer.noted("rungs", {}), str(until): _rung(trainer)})
        _save(writer, trainer, best=False)
        writer.set_status(status, signal=caught[0] if caught and not trainer.finished else None)
        summary = summarise_run(load_run(writer.directory))
        if not is_trial:
            _draw(writer)
        recorders.finish(summary)
        return summary
    except Exception as error:
        with suppress(OSError):  # a full disk must not hide what went wrong
            writer.set_status("failed", error=repr(error))
        raise
    finally:
        recorders.close()


def _probe(probes: RunProbes, recorders: Recorders, caught: Sequence[int]) -> None:
    """Make the probes that are due, hand them over, and say what they found and cost."""
    made = probes.make(keep=recorders.record, should_stop=lambda: bool(caught))
    if made:
        from gradcli.views.inspect.probe_history import describe_probes

        recorders.note(describe_probes(made))


def _rung(trainer: Trainer) -> float:
    """Return the validation accuracy now.

    Unlike the trainer's own evaluations it leaves no trace: a run that pauses for it is the same
    as one that does not pause.
    """
    return evaluate(trainer.model, trainer.splits["val"])[1]


def _draw(writer: RunWriter) -> None:
    """Draw the run's pictures."""
    from gradcli.views.draw.run_figures import plot_run

    run = load_run(writer.directory)
    plot_run(writer.plots, run.info, run.steps, run.evals)


def _save(writer: RunWriter, trainer: Trainer, *, best: bool) -> None:
    writer.note(
        progress={"steps": trainer.step, "epochs": trainer.epochs_done},
        phase_seconds=dict(trainer.phase_seconds),
        seconds_total=trainer.seconds_total,
        seconds_train=trainer.clock.seconds_train,
    )
    writer.save_checkpoint(trainer.state_dict(), best=best)


def _is_best(record: object, writer: RunWriter) -> bool:
    """Whether a record is the best evaluation on the validation split so far."""
    if not isinstance(record, EvalRecord) or record.split != "val":
        return False
    earlier = [one.accuracy for one in load_run(writer.directory).evals if one.split == "val"]
    return record.accuracy > max(earlier[:-1], default=-1.0)


def _save_fault(writer: RunWriter, dataset: Dataset, fault: FaultRecord) -> None:
    indices = torch.tensor(fault.batch)
    writer.save_fault_batch(dataset.train.images[indices], dataset.train.labels[indices])
