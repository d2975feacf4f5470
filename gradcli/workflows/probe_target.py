"""A trainer's model as the target of probes: its examples, and its next steps."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gradcli.config import TrainConfig
from gradcli.data import Batches, Dataset, epoch_order
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients
from gradcli.optim import evaluation_weights
from gradcli.probes.probe import ProbeTarget
from gradcli.training import Trainer, TrainingStep
from gradcli.training.clock import PhaseClock

# The probe set is divided into batches of the training size, but within these bounds: batches of
# one would take a thousand passes, and very large ones too much memory.
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 256


def probe_target_of(
    trainer: Trainer, config: TrainConfig, dataset: Dataset, *, examples: int
) -> ProbeTarget:
    """Return a trainer's model with the examples that its run begins with.

    Args:
        trainer: not used elsewhere, since a probe may train its model further.
        config: what the trainer was built from.
        dataset: what the trainer was built from.
        examples: how many; fewer if there are no more, or if one would be a batch of its own.
    """
    size = min(max(config.update_batch_size, _SMALLEST_BATCH), _LARGEST_BATCH)
    source = Batches(
        dataset.train,
        size,
        normalize=config.data.normalize if dataset.has_pixels else None,
        mean=dataset.mean,
        std=dataset.std,
        device=trainer.device,
    )
    order = epoch_order(source.size, config.seed, 1)[:examples].to(trainer.device)
    if len(order) % size == 1 and len(order) > 1:
        order = order[:-1]  # batch norm cannot take a batch of one
    batches = [
        (inputs.clone(), targets.clone())
        for inputs, targets in (source.gather(indices) for indices in torch.split(order, size))
    ]
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
        train = trainer.splits["train"]
        epoch, batch = divmod(self._number, train.steps_per_epoch)
        order = epoch_order(train.size, trainer.plan.seed, epoch + 1)
        indices = torch.split(order, train.batch_size)[batch].to(trainer.device)
        inputs, targets = train.gather(indices)
        trainer.learning_rate.set(_next(trainer, self._number))
        self._step(inputs, targets, probe)
        self._number += 1
        return inputs, targets
