"""A run made again up to one of its steps: the batch, the weights before it, and the log's word.

The training itself is what is repeated, with its trainer: order of the batches, augmentation,
dropout, schedule and clipping cannot differ from the run's. It begins at a checkpoint of the run if
there is one before the step, else at the start. On the CPU with the same threads it is the run's
own training to the bit, and each step that the run has logged is compared with its log.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradcli.config import Composed, load_config
from gradcli.data import Batch, BatchSource, Dataset
from gradcli.errors import DamagedFileError, UserError
from gradcli.inspection.one_step.step_inspection import ReplayCheck
from gradcli.records import StepRecords
from gradcli.runs import Run, load_checkpoint
from gradcli.runs.provenance import provenance
from gradcli.system.paths import Paths
from gradcli.training import Trainer
from gradcli.views.inspect.replay_progress import ReplayProgress
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import built_trainer, failures_in_words, obtain_data_of

_CHECKPOINTS = ("last", "previous", "best")
#: The columns that must be the logged ones, and what they are called.
_COMPARED = {
    "loss": "loss",
    "grad_norm_before_clip": "gradient norm",
    "learning_rate": "learning rate",
}


@dataclass(frozen=True)
class ReplayedStep:
    """The state before a step, and its batch."""

    trainer: Trainer
    """Its model and the random states are those before the step."""
    composed: Composed
    dataset: Dataset
    batch: Batch
    """As the model was given it."""
    source: BatchSource
    """The training batches."""
    epoch: int
    number: int
    """Which batch of the epoch it is, from 0."""
    record: StepRecords | None
    """The step as it was recorded now; None if nothing is to be recorded of it."""
    replay: ReplayCheck
    notes: tuple[str, ...]


@contextmanager
def replayed(
    run: Run, step: int, paths: Paths, view: TrainView, progress: ReplayProgress
) -> Iterator[ReplayedStep]:
    """Make the steps of a run again up to `step`, and go back to the state before it.

    Args:
        run: not one of the user's own loop.
        step: from 1 to the last step that the run has made.
        paths: where runs, data and configs are.
        view: shows a download.
        progress: says how long it will take, and how far it is.

    Raises:
        UserError: if the config or the data is not as it was.
    """
    where = str(run.path / "config.yaml")
    composed = load_config(run.config, where=where, allow_import=paths.allow_import)
    dataset = obtain_data_of(run, composed.config.data, paths, view.download)
    checkpoint, notes = _checkpoint_before(run, step)
    with built_trainer(composed, dataset, checkpoint) as trainer:
        # Sums are rounded otherwise with another number of threads.
        torch.set_num_threads(run.info.threads)
        began = trainer.step
        progress.begin(began, step, _pace(run))
        moment = _Moment(trainer, step)
        with failures_in_words(trainer):
            rows = _rows_until(trainer, step, progress)
        assert moment.batch is not None, "the trainer has made the step"
        compared = _compared(run, rows)
        made = ReplayCheck(began, step - began, **compared)
        if made.first_difference is not None:
            made = replace(made, possible_cause=_possible_cause(run, trainer, made))
        moment.restore()
        records = [one for one in rows if step in one.step]
        number = (step - 1) % trainer.splits["train"].steps_per_epoch
        yield ReplayedStep(
            trainer=trainer,
            composed=composed,
            dataset=dataset,
            batch=moment.batch,
            source=moment.source,
            epoch=1 + (step - 1) // trainer.splits["train"].steps_per_epoch,
            number=number,
            record=_row(records[0], step) if records else None,
            replay=made,
            notes=notes,
        )


class _Moment(BatchSource):
    """The training batches of a trainer, which keep its state when they hand out one of them."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self._trainer, self._step = trainer, step
        self.source = trainer.splits["train"]
        self.size, self.batch_size = self.source.size, self.source.batch_size
        self.steps_per_epoch, self.device = self.source.steps_per_epoch, self.source.device
        self.batch: Batch | None = None
        self._model: dict[str, Any] = {}
        self._random: list[Tensor] = []
        trainer.splits = {**trainer.splits, "train": self}

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        with closing(self.source.epoch(seed, epoch, start)) as batches:
            for batch in batches:
                if self._trainer.step + 1 == self._step:
                    self._keep(batch)
                yield batch

    def in_order(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        return self.source.in_order()

    def again(self, seed: int, epoch: int, number: int) -> Batch:
        return self.source.again(seed, epoch, number)

    def _keep(self, batch: Batch) -> None:
        self.batch = Batch(*(one.clone() for one in batch))
        self._model = copy.deepcopy(self._trainer.model.state_dict())
        self._random = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self._random.append(torch.cuda.get_rng_state(self.device))

    def restore(self) -> None:
        """Return model and random states to what they were when the batch was handed out."""
        self._trainer.model.load_state_dict(self._model)
        self._trainer.model.train()
        torch.set_rng_state(self._random[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self._random[1], self.device)


def _checkpoint_before(run: Run, step: int) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the latest checkpoint from before a step, and what is wrong with others."""
    found: dict[str, Any] | None = None
    notes = []
    for name in _CHECKPOINTS:
        try:
            checkpoint = load_checkpoint(run.path, name)
        except DamagedFileError as error:
            notes.append(f"{error.problem} It was not used.")
            continue
        if checkpoint is None or checkpoint["position"]["step"] >= step:
            continue
        if found is None or checkpoint["position"]["step"] > found["position"]["step"]:
            found = checkpoint
    return found, tuple(notes)


def _pace(run: Run) -> float:
    """Return the steps per second of the run, evaluations included; NaN if it is not known."""
    steps = run.state.get("progress", {}).get("steps", 0)
    seconds = run.state.get("seconds_total", math.nan)
    return steps / float(seconds) if steps and float(seconds) > 0 else math.nan


def _rows_until(trainer: Trainer, step: int, progress: ReplayProgress) -> list[StepRecords]:
    """Make the steps up to `step`, and return what is recorded of them."""
    rows = []
    # Until the last step is yielded, and not further: the run would go on to its evaluations.
    for record in trainer.run(step, flush_at={step}):
        if isinstance(record, StepRecords):
            rows.append(record)
            loss = float(record.loss[-1]) if len(record) else math.nan
            progress.step(trainer.step, loss)
            if trainer.step >= step:
                break
    return rows


def _compared(run: Run, rows: list[StepRecords]) -> dict[str, Any]:
    """Compare the steps made again with those that the run has logged."""
    logged, count, largest = run.steps, 0, 0.0
    first: tuple[int, str] | None = None
    for block in rows:
        _, ours, theirs = np.intersect1d(block.step, logged.step, return_indices=True)
        count += len(ours)
        for name, words in _COMPARED.items():
            theirs_of = np.asarray(getattr(logged, name))[theirs]
            now = np.asarray(getattr(block, name))[ours].astype(theirs_of.dtype)
            apart = ~((now == theirs_of) | (np.isnan(now) & np.isnan(theirs_of)))
            if not apart.any():
                continue
            at = int(block.step[ours][np.argmax(apart)])
            if first is None or at < first[0]:
                first = (at, words)
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = np.abs(now - theirs_of)[apart] / np.abs(theirs_of)[apart]
            if name != "learning_rate":
                largest = max(largest, float(np.nan_to_num(relative, nan=np.inf).max()))
    return {
        "compared": count,
        "first_difference": first[0] if first else None,
        "differs_in": first[1] if first else "",
        "largest_difference": largest,
    }


def _possible_cause(run: Run, trainer: Trainer, made: ReplayCheck) -> str:
    """Say what is not as it was when the run was trained; empty if nothing is known."""
    then, now = run.state.get("versions", {}), provenance()["versions"]
    changed = [
        f"{name} {then[name]} then, {now[name]} now"
        for name in ("torch", "gradcli")
        if name in then and then[name] != now[name]
    ]
    if trainer.device.type != "cpu":
        changed.append(f"on {trainer.device.type} sums are not added in the same order each time")
    if run.info.device.partition(" ")[0] != trainer.device.type:
        changed.append(f"{run.info.device} then, {trainer.device.type} now")
    if (extended := _extended_at(run)) and made.differs_in == "learning rate":
        changed.append(
            f"the run was extended after step {extended:,}; until then its schedule was that of a "
            "shorter run"
        )
    platform = run.state.get("platform")
    if platform and platform != provenance()["platform"]:
        changed.append("another machine")
    return "; ".join(changed)


def _extended_at(run: Run) -> int | None:
    """Return the step after which a run was last given more epochs; None if it never was."""
    later = run.state.get("parts", [])[1:]
    return next(
        (
            part["start_step"]
            for part in reversed(later)
            if any(one.startswith("epochs=") for one in part["overrides"])
        ),
        None,
    )


def _row(records: StepRecords, step: int) -> StepRecords:
    """Return one step of some."""
    from gradcli.gradients.buffer import select_rows

    return select_rows(records, records.step == step)


def refuse_no_such_step(run: Run, step: int) -> None:
    """Refuse a step that the run has not made.

    Raises:
        UserError: if it is not from 1 to the last one.
    """
    logged = int(run.steps.step[-1]) if len(run.steps) else 0
    made = max(logged, run.state.get("progress", {}).get("steps", 0))
    if 1 <= step <= made:
        return
    if not made:
        raise UserError(
            f"{run.name} has made no step that is on record.",
            where="--step",
            hint=f"gradcli runs show {run.path}",
        )
    wrong = "steps count from 1" if step < 1 else f"it has made {made:,}"
    raise UserError(
        f"{run.name} has no step {step:,}: {wrong}.",
        where="--step",
        hint=f"gradcli inspect-gradients {run.path} --step {min(max(step, 1), made)}",
    )
