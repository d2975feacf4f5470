"""Schedulers of `torch.optim.lr_scheduler`, and a user's own, as functions of the step.

Such a scheduler changes an optimizer in place and can only advance by one step. Here it acts on a
stand-in for the optimizer, from which the values of a step are read. Its only state is the step; a
resumed run replays the scheduler up to it.
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

#: What a scheduler changes in a group; one-cycle policies also change the momentum.
SCHEDULED = ("lr", "momentum", "betas")

#: The schedulers' names for the length of the run.
_LENGTHS = ("T_max", "total_steps", "total_iters")


@dataclass(frozen=True)
class TorchSchedule:
    """A scheduler's class and its keyword arguments.

    Args:
        scheduler_class: a subclass of `torch.optim.lr_scheduler.LRScheduler`, stepped once
            per training step.
        kwargs: its arguments. If the class has `T_max`, `total_steps` or `total_iters` and it is
            not given, it is the run's number of steps.
    """

    scheduler_class: type[LRScheduler]
    kwargs: Mapping[str, Any]


def build_schedule(
    schedule_class: type[Schedule] | type[LRScheduler], kwargs: Mapping[str, Any]
) -> Schedule | TorchSchedule:
    """Build what `LearningRate` follows.

    Raises:
        UserError: an argument is out of range, or the scheduler needs a metric at each step.
    """
    if not issubclass(schedule_class, LRScheduler):
        return schedule_class(**kwargs)
    for parameter in list(inspect.signature(schedule_class.step).parameters.values())[1:]:
        if parameter.default is parameter.empty:
            raise UserError(
                f"{schedule_class.__name__} needs {parameter.name} at every step, but the "
                "learning rate here depends on the step only",
                where="schedule",
                hint="schedule=cosine",
            )
    return TorchSchedule(schedule_class, dict(kwargs))


class Replay:
    """A scheduler's settings of an optimizer's groups, for any step.

    Args:
        schedule: the scheduler's class and arguments.
        initial: the `SCHEDULED` settings of each group at step 0.
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
        # A scheduler warns if it is stepped before its optimizer.
        self._shadow.step()


class _Shadow(torch.optim.Optimizer):
    """The scheduled settings of an optimizer, on parameters that are never trained."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        parameters = [{"params": [torch.zeros(1)], **group} for group in groups]
        super().__init__(parameters, defaults=dict(groups[0]))

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Do nothing."""
