"""A built trainer at work: its records go to the recorders, checkpoints to the run directory.

What is trained, and from where on, is decided in `train`.
"""

from __future__ import annotations

import errno
import math
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradcli.config import Composed, flattened
from gradcli.data import AugmentedBatches, Batch, Dataset, Split
from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    Metric,
    Recorder,
    Status,
    StepRecords,
    TrainSummary,
)
from gradcli.runs import RunWriter, load_run
from gradcli.runs.recorders import Recorders, RunDirectoryRecorder
from gradcli.runs.writer import CONFIG_FILE
from gradcli.system.interrupts import caught_signals
from gradcli.training import Trainer
from gradcli.views.draw.attempt import attempt
from gradcli.workflows.building import build_trainer, describe_run
from gradcli.workflows.kept_checkpoints import without_optimizer
from gradcli.workflows.run_probes import RunProbes
from gradcli.workflows.validations import Validations


def train_and_record(
    composed: Composed,
    dataset: Dataset,
    trainer: Trainer,
    writer: RunWriter,
    others: Sequence[Recorder],
    started: float,
    *,
    checkpoint: dict[str, Any] | None,
    shown_as: Path,
    until: int | None = None,
    is_trial: bool = False,
    validates: bool = False,
) -> TrainSummary:
    """Run the trainer; hand over and save what it yields; end with a verdict.

    A trial saves a checkpoint when one is due and at its end, keeps no best one and draws no
    pictures.

    Args:
        composed: what the trainer was built from.
        dataset: what it trains on.
        trainer: is run to its end, to a signal or to `until`.
        writer: of the run directory.
        others: receive every record after the run directory.
        started: when the wait for the first step began, in seconds since the epoch.
        checkpoint: the one that the trainer was set to, if any.
        shown_as: the run directory as the summary names it.
        until: pause after this step, with the validation score there noted in `run.json`.
        is_trial: whether it is a trial of a comparison.
        validates: whether to validate within epochs, too, which changes nothing else.

    Raises:
        UserError: if the user's own code raises an exception, which is then the cause. In a trial
            that exception comes out as it is.
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
                build=lambda: build_trainer(composed, dataset),
                made=load_run(writer.directory).probe_records,
            )
            validations = Validations(trainer, validates, load_run(writer.directory).validations)
            first = checkpoint is None
            last_saved = time.monotonic()
            before = time.monotonic()
            _probe(probes, recorders, caught)
            trainer.seconds_before += time.monotonic() - before
            for record in trainer.run(until, probes.steps | validations.steps):
                if first and isinstance(record, StepRecords):
                    writer.note(seconds_first_step=time.time() - started)
                    first = False
                recorders.record(record)
                if isinstance(record, FaultRecord) and trainer.fault_batch is not None:
                    _save_fault(writer, dataset, trainer, trainer.fault_batch, record.epoch)
                at_rest = isinstance(record, EvalRecord | StepRecords)
                if at_rest:
                    _probe(probes, recorders, caught)
                    validations.make(keep=writer.write)
                due = time.monotonic() - last_saved > config.checkpoint.seconds
                evaluated = isinstance(record, EvalRecord) and not is_trial
                if evaluated or (due and at_rest):
                    _save(
                        writer, trainer, best=not is_trial and _is_best(record, writer, info.metric)
                    )
                    last_saved = time.monotonic()
        status: Status = (
            "diverged" if trainer.fault else "finished" if trainer.finished else "interrupted"
        )
        if status == "interrupted" and trainer.step == until:
            writer.note(rungs={**writer.noted("rungs", {}), str(until): _rung(trainer)})
        _save(writer, trainer, best=False)
        writer.note(signal=caught[0] if caught and not trainer.finished else None)
        # The status is stored with the results, so that no run has ended without them.
        ended = summarise_run(load_run(writer.directory), status=status)
        summary = replace(ended, path=str(shown_as))
        recorders.store(summary)
        if status != "interrupted":
            _reduce(writer, trainer, config.checkpoint.keep, recorders, is_trial=is_trial)
        if not is_trial:
            attempt(lambda: _draw(writer), recorders.warn)
        recorders.finish(summary)
        return summary
    except Exception as error:
        if not writer.directory.is_dir():
            # Whatever noticed it first, that is what went wrong.
            raise FileNotFoundError(
                errno.ENOENT, os.strerror(errno.ENOENT), str(writer.directory / CONFIG_FILE)
            ) from error
        if isinstance(error, OSError) and not is_trial:
            error.add_note(shlex.join(["gradcli", "train", "--resume", str(shown_as)]))
        with suppress(OSError):  # a full disk must not hide what went wrong
            writer.set_status("failed", error=with_place(error))
        place = place_in_own_code(error, even_if_gradcli_raised=False)
        if is_trial or isinstance(error, UserError) or not place:
            raise
        raise UserError(
            f"Training failed after step {trainer.step}: {exception_in_words(error)}", where=place
        ) from error
    finally:
        recorders.close()


def with_place(error: Exception) -> str:
    """Return an exception in a line, with FILE:LINE if it arose in the user's own code."""
    place = place_in_own_code(error, even_if_gradcli_raised=False)
    return f"{error!r} at {place}" if place else repr(error)


def _probe(probes: RunProbes, recorders: Recorders, caught: Sequence[int]) -> None:
    """Make the probes that are due, hand them over, and say what they found and cost."""
    made = probes.make(keep=recorders.record, should_stop=lambda: bool(caught))
    if made:
        from gradcli.views.inspect.probe_history import describe_probes

        recorders.note(describe_probes(made))


def _rung(trainer: Trainer) -> float:
    """Return the validation score now.

    Unlike the trainer's own evaluations it leaves no trace: a run that pauses for it is the same
    as one that does not pause.
    """
    return trainer.evaluate("val").score


def _draw(writer: RunWriter) -> list[Path]:
    """Draw the run's pictures."""
    from gradcli.views.draw.run_figures import plot_run

    run = load_run(writer.directory)
    return plot_run(writer.plots, run.info, run.steps, run.evals)


def _save(writer: RunWriter, trainer: Trainer, *, best: bool) -> None:
    """Save a checkpoint, unless its values are not finite, and how far the training is."""
    writer.note(
        progress={"steps": trainer.step, "epochs": trainer.epochs_done},
        phase_seconds=dict(trainer.phase_seconds),
        seconds_total=trainer.seconds_total,
        seconds_train=trainer.clock.seconds_train,
    )
    if trainer.is_finite():
        writer.save_checkpoint(trainer.state_dict(), best=best)
    else:  # the checkpoint before it is worth more
        writer.set_status("running")


def _reduce(
    writer: RunWriter, trainer: Trainer, keep: str, recorders: Recorders, *, is_trial: bool
) -> None:
    """Delete the checkpoints that are not to stay; that the run has ended is on the disk.

    A trial that has finished is not continued, so that its weights are enough.
    """
    try:
        writer.reduce_checkpoints(keep)
        if is_trial and keep == "auto" and trainer.finished and trainer.is_finite():
            state = trainer.state_dict()
            if (weights := without_optimizer(state)) is not state:
                writer.save_weights(weights)
    except OSError as error:  # no result depends on it
        recorders.warn(f"The checkpoints stay: {exception_in_words(error)}.")


def _is_best(record: object, writer: RunWriter, metric: Metric) -> bool:
    """Whether a record is the best evaluation on the validation split so far."""
    if not isinstance(record, EvalRecord) or record.split != "val":
        return False
    evals = load_run(writer.directory).evals
    earlier = [metric.merit(one.score) for one in evals if one.split == "val"][:-1]
    known = [merit for merit in earlier if not math.isnan(merit)]
    return metric.merit(record.score) > max(known, default=-math.inf)


def _save_fault(
    writer: RunWriter, dataset: Dataset, trainer: Trainer, batch: Batch, epoch: int
) -> None:
    """Save a batch before it was normalised, but augmented; that of a stream as it came."""
    examples, train = batch.examples.cpu(), trainer.splits["train"]
    if isinstance(train, AugmentedBatches):
        images = train.images(examples, trainer.plan.seed, epoch)
        writer.save_fault_batch(images, batch.targets.cpu())
    elif isinstance(dataset.train, Split):
        writer.save_fault_batch(dataset.train.inputs[examples], dataset.train.targets[examples])
    else:
        writer.save_fault_batch(batch.inputs.cpu(), batch.targets.cpu())
