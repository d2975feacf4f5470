"""A training run from config to verdict: joins the rooms, and owns their order.

Everything that `gradcli train` does beyond parsing and showing happens here: a trainer is built
from the config, its records go to the run directory and to the view, checkpoints are saved between
records, and signals end the run in good order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gradcli.config import Composed, DataConfig, load_config
from gradcli.data import Dataset
from gradcli.errors import UserError
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import EvalRecord, FaultRecord, Status, StepRecords, TrainSummary
from gradcli.runs import (
    Run,
    RunWriter,
    create_run_directory,
    is_run,
    load_checkpoint,
    load_run,
)
from gradcli.runs.provenance import built_with, provenance
from gradcli.system.paths import Paths
from gradcli.system.signals import caught_signals
from gradcli.training import Trainer
from gradcli.training.evaluation import evaluate
from gradcli.views.train.train_view import QuietView, TrainView
from gradcli.workflows.building import build_trainer, describe_run, obtain_data, run_settings
from gradcli.workflows.run_probes import RunProbes


def start_run(
    composed: Composed,
    overrides: Sequence[str],
    paths: Paths,
    view: TrainView,
    *,
    started: float,
) -> TrainSummary:
    """Train by a config, and return the run's summary.

    Args:
        composed: the config. It is composed before this module is imported, so that a mistake
            in it is answered without waiting for torch.
        overrides: those that it was composed of.
        paths: where things lie.
        view: is shown everything as it happens.
        started: when the wait for the first step began, in seconds since the epoch.

    Raises:
        UserError: for anything wrong with the data or the places.
    """
    dataset = obtain_data(composed.config.data, paths.data_dir, view.download)
    composed = composed.with_data(dataset.info.name)
    config = composed.config
    name = config.name or f"{config.model.option}-{config.optimizer.option}"
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        directory = create_run_directory(paths.runs_dir, name)
        writer = RunWriter(
            directory,
            composed.yaml(),
            {
                **provenance(),
                **built_with(paths),
                "overrides": list(overrides),
                "seed": config.seed,
            },
        )
        return _train(composed, dataset, trainer, writer, view, started, checkpoint=None)


def resume_run(
    run: Run, overrides: Sequence[str], paths: Paths, view: TrainView, *, started: float
) -> TrainSummary:
    """Continue a run from its last checkpoint, or from the start where there is none.

    On the CPU the result is that of an uninterrupted run, bit for bit, with the same threads.

    Args:
        run: the run.
        overrides: nothing, or `epochs=N` to extend the run.
        paths: where things lie.
        view: is shown everything as it happens.
        started: when the wait for the first step began, in seconds since the epoch.

    Raises:
        UserError: where there is nothing to continue, or the data has changed.
    """
    _refuse_own_loop(run)
    composed = load_config(
        run.config, where=str(run.path / "config.yaml"), allow_import=paths.allow_import
    )
    epochs = _extension(overrides, composed, run)
    _refuse_ended(run, composed, epochs)
    if epochs is not None:
        composed = composed.with_epochs(epochs)
    dataset = obtain_data(composed.config.data, paths.data_dir, view.download)
    if "info" in run.state and dataset.info.sha256 != run.info.data.sha256:
        raise UserError(
            f"The data is not that of the run: {dataset.info.name} has changed since.",
            where=f"data in {run.path / 'config.yaml'}",
            hint="--data-dir DIR, with the data that the run began with",
        )
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        writer = RunWriter(run.path, composed.yaml(), provenance(), earlier=run.state)
        checkpoint = load_checkpoint(run.path)
        if checkpoint is not None:
            trainer.load_state_dict(checkpoint)
        return _train(composed, dataset, trainer, writer, view, started, checkpoint=checkpoint)


def run_trial(
    directory: Path,
    config: str,
    load_data: Callable[[DataConfig], Dataset],
    *,
    facts: dict[str, Any],
    allow_import: Sequence[str] = (),
    until: int | None = None,
) -> None:
    """Train one trial of a comparison, or go on with it, in the run directory `directory`.

    It is the training that `start_run` makes of the same config, to the last bit, without
    pictures and with fewer checkpoints: trials are short and many. How it went, the directory
    says.

    Args:
        directory: made where it is missing; a trial that was begun there goes on from its last
            checkpoint, and one that has ended is left alone.
        config: the resolved config as YAML.
        load_data: returns the data that the config asks for.
        facts: what is known of the process and the machine, for `run.json`.
        allow_import: packages that `_target_` may name besides the usual ones.
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
        with run_settings(composed):
            trainer = build_trainer(composed, dataset)
            checkpoint = load_checkpoint(directory)
            if checkpoint is not None:
                trainer.load_state_dict(checkpoint)
            _train(
                composed,
                dataset,
                trainer,
                writer,
                QuietView(),
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
    """Return the number of epochs that the overrides extend a run to.

    Raises:
        UserError: for any other override, or fewer epochs than there were.
    """
    epochs = None
    for override in overrides:
        key, _, value = override.partition("=")
        if key != "epochs" or not value.isdigit():
            raise UserError(
                f"'{override}' would change a run that has begun; only epochs=N may, to extend it.",
                where="--resume",
                hint=f"gradcli train {override}, as a new run",
            )
        epochs = int(value)
    if epochs is not None and epochs < composed.config.epochs:
        raise UserError(
            f"The run was begun for {composed.config.epochs} epochs; it can be made longer only.",
            where="epochs",
            hint=f"gradcli train --resume {run.path} epochs={composed.config.epochs + 1}",
        )
    return epochs


def _refuse_own_loop(run: Run) -> None:
    """Refuse to continue what a loop of the user's own has trained."""
    if "info" in run.state and run.info.is_own_loop:
        raise UserError(
            f"{run.name} was trained by a loop of your own, which gradcli cannot go on with.",
            where="--resume",
            hint=f"gradcli runs show {run.path}",
        )


def _refuse_ended(run: Run, composed: Composed, epochs: int | None) -> None:
    """Refuse to continue a run that has come to its end."""
    config = composed.config
    if run.status == "diverged":
        fault = run.fault
        raise UserError(
            f"{run.name} diverged at step {fault.step if fault else '?'}; continued, it would "
            "meet the same batch with the same weights.",
            hint=f"gradcli runs show {run.name}",
        )
    longer = epochs is not None and epochs > config.epochs
    if run.status == "finished" and not longer:
        raise UserError(
            f"{run.name} is finished, after {config.epochs} epochs.",
            hint=f"gradcli train --resume {run.path} epochs={config.epochs + 1}",
        )
    if run.status == "finished" and config.max_steps is not None:
        raise UserError(
            f"{run.name} ended at max_steps={config.max_steps}, which epochs do not extend.",
            hint=f"gradcli train epochs={epochs}, as a new run",
        )


def _train(
    composed: Composed,
    dataset: Dataset,
    trainer: Trainer,
    writer: RunWriter,
    view: TrainView,
    started: float,
    *,
    checkpoint: dict[str, Any] | None,
    until: int | None = None,
    is_trial: bool = False,
) -> TrainSummary:
    """Run the trainer; write, show and save what it yields; end with a verdict.

    A trial saves a checkpoint where one is due and at its end, keeps no best one and draws no
    pictures.
    """
    config = composed.config
    torch.set_num_threads(trainer.plan.threads)
    try:
        info = describe_run(composed, dataset, trainer, writer.directory.name)
        # From here on there is a run that an interruption is to leave in good order.
        with caught_signals(trainer.stop) as caught:
            writer.begin(info, checkpoint["log_bytes"] if checkpoint else {})
            view.start(info)
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
            _probe(probes, writer, view, caught)
            trainer.seconds_before += time.monotonic() - before
            for record in trainer.run(until, probes.steps):
                if first and isinstance(record, StepRecords):
                    writer.note(seconds_first_step=time.time() - started)
                    first = False
                writer.write(record)
                view.record(record)
                if isinstance(record, FaultRecord):
                    _save_fault(writer, dataset, record)
                at_rest = isinstance(record, EvalRecord | StepRecords)
                if at_rest:
                    _probe(probes, writer, view, caught)
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
        return _conclude(writer, view, pictures=not is_trial)
    except Exception as error:
        with suppress(OSError):  # a full disk must not hide what went wrong
            writer.set_status("failed", error=repr(error))
        raise
    finally:
        view.close()
        writer.close()


def _probe(probes: RunProbes, writer: RunWriter, view: TrainView, caught: Sequence[int]) -> None:
    """Make the probes that are due, write them down, and say what they found and cost."""
    made = probes.make(keep=writer.write, should_stop=lambda: bool(caught))
    if made:
        from gradcli.views.inspect.probe_history import describe_probes

        view.note(describe_probes(made))


def _rung(trainer: Trainer) -> float:
    """Return the validation accuracy now.

    Unlike the trainer's own evaluations it leaves no trace: a run that pauses for it is the same
    as one that does not.
    """
    return evaluate(trainer.model, trainer.splits["val"])[1]


def _conclude(writer: RunWriter, view: TrainView, *, pictures: bool) -> TrainSummary:
    """Draw the run's pictures, note its results, and show the closing screen."""
    run = load_run(writer.directory)
    summary = summarise_run(run)
    if pictures:
        from gradcli.views.draw.run_figures import plot_run

        plot_run(writer.plots, run.info, run.steps, run.evals)
    writer.set_status(
        summary.status,
        result={
            "train_loss": summary.train_loss,
            "val_accuracy": summary.val_accuracy,
            "test_accuracy": summary.test_accuracy,
            "findings": [finding.code for finding in summary.findings],
        },
    )
    view.finish(summary)
    return summary


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
