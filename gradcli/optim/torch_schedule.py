"""The schedulers of `torch.optim.lr_scheduler`, and a user's own, made to follow a step number.

Such a scheduler changes an optimizer in place and knows only how to go one step on. Here it
acts on a shadow of the optimizer, from which the values for a step are read: its state is
nothing but the step, and a resumed run gets there by replaying.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from gradcli.errors import UserError
from gradcli.optim.schedules import Schedule

#: What a scheduler changes in a group: the one-cycle policies move the momentum as well.
SCHEDULED = ("lr", "momentum", "betas")

#: What the schedulers call the length of the run.
_LENGTHS = ("T_max", "total_steps", "total_iters")


@dataclass(frozen=True)
class TorchSchedule:
    """A scheduler's class and its keyword arguments.

    Args:
        scheduler_class: a subclass of `torch.optim.lr_scheduler.LRScheduler`, stepped once
            every training step.
        kwargs: its arguments. `T_max`, `total_steps` and `total_iters` are the run's number of
            steps where the class has them and they are not given.
    """

    scheduler_class: type[LRScheduler]
    kwargs: Mapping[str, Any]


def build_schedule(
    schedule_class: type[Schedule] | type[LRScheduler], kwargs: Mapping[str, Any]
) -> Schedule | TorchSchedule:
    """Build what `LearningRate` follows.

    Raises:
        UserError: an argument is out of range, or the scheduler needs a metric to step.
    """
    if not issubclass(schedule_class, LRScheduler):
        return schedule_class(**kwargs)
    for parameter in list(inspect.signature(schedule_class.step).parameters.values())[1:]:
        if parameter.default is parameter.empty:
            raise UserError(
                f"{schedule_class.__name__} needs {parameter.name} at every step, and the "
                "learning rate here depends on the step alone",
                where="schedule",
                hint="schedule=cosine",
            )
    return TorchSchedule(schedule_class, dict(kwargs))


class Replay:
    """What a scheduler makes of an optimizer's groups, for any step.

    Args:
        schedule: the scheduler's class and arguments.
        initial: for each group its `SCHEDULED` settings at step 0.
        total_steps: the number of steps of the run.

    Raises:
        UserError: the class refuses its arguments.
    """

    def __init__(
        self, schedule: TorchSchedule, initial: Sequence[Mapping[str, Any]], total_steps: int
    ) -> None:
        self._class = schedule.scheduler_class
        accepted = inspect.signature(self._class).parameters
        lengths = {name: total_steps for name in _LENGTHS if name in accepted}
        self._kwargs = lengths | dict(schedule.kwargs)
        self._initial = initial
        self._rewind()

    def at(self, step: int) -> list[dict[str, Any]]:
        """Return each group's `SCHEDULED` settings at `step`, counted from 0."""
        if step < self._step:
            self._rewind()
        while self._step < step:
            self._scheduler.step()
            self._step += 1
        return [
            {key: group[key] for key in settings}
            for settings, group in zip(self._initial, self._shadow.param_groups, strict=True)
        ]

    def _rewind(self) -> None:
        self._step = 0
        self._shadow = _Shadow(self._initial)
        try:
            self._scheduler = self._class(self._shadow, **self._kwargs)
        except Exception as error:
            raise UserError(
                f"{self._class.__name__} refuses its settings: {error}", where="schedule"
            ) from error
        # A scheduler warns when it is stepped before its optimizer.
        self._shadow.step()


class _Shadow(torch.optim.Optimizer):
    """The scheduled settings of an optimizer, on parameters that are never trained."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        parameters = [{"params": [torch.zeros(1)], **group} for group in groups]
        super().__init__(parameters, defaults=dict(groups[0]))

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Do nothing."""
