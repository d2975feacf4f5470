"""Validation within the epochs of a trial: it times the target, and nothing is chosen by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from gradcli.data import Batches
from gradcli.optim import evaluation_weights
from gradcli.probes.measuring.untouched import random_states_kept
from gradcli.records import ValidationRecord
from gradcli.training import Trainer
from gradcli.training.evaluation import evaluate

#: Of a larger validation split a sample is scored: an accuracy of 0.97 is then known to 0.005.
MOST_EXAMPLES: Final = 1000
#: Scored examples per example trained on. Scoring one costs a sixth of a step's work on it (`mlp`)
#: to a half (`cnn`): at twice the share, a default comparison takes 4% longer.
SHARE: Final = 0.125
#: So that long trials are not slowed down by what nobody can see.
MOST_VALIDATIONS: Final = 100


def validation_steps(
    *,
    steps_per_epoch: int,
    total_steps: int,
    train_examples: int,
    scored_examples: int,
    scores_at_epoch_ends: bool,
) -> frozenset[int]:
    """Return after which steps to validate: evenly over each epoch, for a share of its work.

    It follows from counts alone, so that a trial is validated at the same steps on any machine.

    Args:
        steps_per_epoch: the steps of an epoch.
        total_steps: those of the trial, which may end within an epoch.
        train_examples: the examples of an epoch.
        scored_examples: those of a validation.
        scores_at_epoch_ends: whether the evaluation at the end of an epoch scores the same
            examples, so that there is nothing to do there.
    """
    paid = int(SHARE * train_examples / max(scored_examples, 1))
    epochs = -(-total_steps // steps_per_epoch)
    per_epoch = min(paid + scores_at_epoch_ends, steps_per_epoch, MOST_VALIDATIONS // epochs)
    if not scored_examples or per_epoch < 1:
        return frozenset()
    within = {round(part * steps_per_epoch / per_epoch) for part in range(1, per_epoch + 1)}
    steps = {
        epoch * steps_per_epoch + step
        for epoch in range(epochs)
        for step in within
        if epoch * steps_per_epoch + step <= total_steps
    }
    if scores_at_epoch_ends:
        steps -= {total_steps, *range(0, total_steps + 1, steps_per_epoch)}
    else:
        steps.add(total_steps)
    return frozenset(steps)


class Validations:
    """Validates a trial within its epochs.

    Training is not affected: weights, buffers, optimizer, random states, clock and records are
    those of a trial without it, to the bit. A validation split that is a stream is left alone:
    reading it may change what the training stream gives next.

    Args:
        trainer: the trial's.
        wanted: whether to validate at all.
        made: the records of an earlier part of the trial.

    Attributes:
        steps: after which to validate; empty if that is not wanted.
    """

    def __init__(self, trainer: Trainer, wanted: bool, made: Iterable[ValidationRecord]) -> None:
        self._trainer = trainer
        self._made = {record.step for record in made}
        self._objective = replace(trainer.objective, further=())
        self.steps: frozenset[int] = frozenset()
        train, val = trainer.splits["train"], trainer.splits["val"]
        if wanted and isinstance(val, Batches):
            self._batches = val.sample(MOST_EXAMPLES)
            self.steps = validation_steps(
                steps_per_epoch=train.steps_per_epoch,
                total_steps=trainer.total_steps,
                train_examples=train.size,
                scored_examples=self._batches.size,
                scores_at_epoch_ends=self._batches.size == val.size,
            )

    def make(self, keep: Callable[[ValidationRecord], object]) -> None:
        """Validate if that is due at the trainer's current step, and hand over the record."""
        trainer = self._trainer
        if trainer.step not in self.steps or trainer.step in self._made or trainer.fault:
            return
        self._made.add(trainer.step)
        with random_states_kept(trainer.model), evaluation_weights(trainer.optimizer):
            found = evaluate(trainer.model, self._objective, self._batches)
        keep(
            ValidationRecord(
                step=trainer.step,
                examples=self._batches.size,
                score=found.score if math.isfinite(found.loss) else math.nan,
                seconds_train=trainer.clock.seconds_train,
            )
        )
