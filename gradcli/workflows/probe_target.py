"""A trainer's model as the target of probes: its examples, and its next steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

import torch
from torch import Tensor

from gradcli.config import TrainConfig
from gradcli.data import Batch
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients
from gradcli.optim import evaluation_weights
from gradcli.probes.probe import ProbeTarget
from gradcli.training import Trainer, TrainingStep
from gradcli.training.clock import PhaseClock

# The probe set is divided into batches of the training size, but within these bounds: batches of
# one would take a thousand passes, and very large ones too much memory.
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 256


def probe_target_of(trainer: Trainer, config: TrainConfig, *, examples: int) -> ProbeTarget:
    """Return a trainer's model with the examples that its run begins with.

    Args:
        trainer: not used elsewhere, since a probe may train its model further.
        config: what the trainer was built from.
        examples: how many; fewer if there are no more, or if one would be a batch of its own.
    """
    size = min(max(trainer.splits["train"].batch_size, _SMALLEST_BATCH), _LARGEST_BATCH)
    inputs, targets = trainer.splits["train"].first(config.seed, examples)
    if len(targets) % size == 1 and len(targets) > 1:
        inputs, targets = inputs[:-1], targets[:-1]  # batch norm cannot take a batch of one
    batches = list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
    trainer.model.train()
    trainer.learning_rate.set(_next(trainer, trainer.step))
    return ProbeTarget(
        trainer.model,
        trainer.optimizer,
        trainer.objective.loss,
        batches,
        step=_Stepper(trainer),
        steps_made=trainer.step,
        evaluated=partial(evaluation_weights, trainer.optimizer),
    )


def _next(trainer: Trainer, step: int) -> int:
    """Return the step that sets the learning rate; a finished run keeps its last one."""
    return min(step, trainer.total_steps - 1)


class _Stepper:
    """Makes the steps that a trainer would make next, one per call, and records nothing."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._number = trainer.step
        self._batches = _following(trainer)
        gradients = Gradients(trainer.model, trainer.layers)
        clock = PhaseClock(trainer.device)
        self._step = TrainingStep(
            trainer.model,
            trainer.objective,
            trainer.optimizer,
            gradients,
            trainer.clip,
            clock,
            trainer.plan.passes,
        )

    def __call__(self, probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
        trainer = self._trainer
        batch = next(self._batches)
        trainer.learning_rate.set(_next(trainer, self._number))
        self._step(batch.inputs, batch.targets, probe)
        self._number += 1
        return batch.inputs, batch.targets


def _following(trainer: Trainer) -> Iterator[Batch]:
    """Yield the batches that a trainer would train on next, without an end."""
    train = trainer.splits["train"]
    done, start = divmod(trainer.step, train.steps_per_epoch)
    for epoch in count(done + 1):
        yield from train.epoch(trainer.plan.seed, epoch, start)
        start = 0
