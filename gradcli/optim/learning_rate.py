"""What a training loop calls to set the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradcli.optim.schedules import Schedule
from gradcli.optim.torch_schedule import SCHEDULED, Replay, TorchSchedule

# The settings of this many steps are computed at once: 2 us per step, instead of 20 one by one.
_AHEAD = 100


class LearningRate:
    """Sets an optimizer's learning rate for each step.

    The value depends on the step and on the optimizer's initial settings, never on the steps made
    so far, so a resumed run uses the same bits.

    Args:
        optimizer: freshly built, each group at its own learning rate.
        schedule: what to follow, from `build_schedule`.
        total_steps: the number of steps of the run.

    Raises:
        UserError: a scheduler of torch's refuses its settings.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | TorchSchedule,
        total_steps: int,
    ) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._total_steps = total_steps
        self._ahead_from = 0
        self._ahead: list[list[dict[str, Any]]] = []
        self._begin(
            [
                {key: group[key] for key in SCHEDULED if key in group}
                for group in optimizer.param_groups
            ]
        )

    @property
    def current(self) -> float:
        """The learning rate of the first group."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set(self, step: int) -> None:
        """Set every group for the update of `step`, counted from 0."""
        place = step - self._ahead_from
        if not 0 <= place < len(self._ahead):
            place, self._ahead_from = 0, step
            last = max(step + 1, min(step + _AHEAD, self._total_steps))
            self._ahead = [self._values.at(one) for one in range(step, last)]
        for group, settings in zip(self._optimizer.param_groups, self._ahead[place], strict=True):
            group.update(settings)
        self._step = step

    def state_dict(self) -> dict[str, Any]:
        """Return the step last set and the groups' settings at step 0."""
        return {"step": self._step, "initial": [dict(settings) for settings in self._initial]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`, whatever the optimizer's groups contain now."""
        self._begin(state["initial"])
        self.set(state["step"])

    def _begin(self, initial: Sequence[Mapping[str, Any]]) -> None:
        self._step = 0
        self._initial = initial
        self._ahead = []
        self._values: _Scaled | Replay = (
            _Scaled(self._schedule, initial, self._total_steps)
            if isinstance(self._schedule, Schedule)
            else Replay(self._schedule, initial, self._total_steps)
        )


class _Scaled:
    """Each group's own learning rate times the schedule's factor."""

    def __init__(
        self, schedule: Schedule, initial: Sequence[Mapping[str, Any]], total_steps: int
    ) -> None:
        self._schedule = schedule
        self._rates = [float(settings["lr"]) for settings in initial]
        self._total_steps = total_steps

    def at(self, step: int) -> list[dict[str, Any]]:
        """Return each group's learning rate at `step`, counted from 0."""
        factor = self._schedule.factor(step, self._total_steps)
        return [{"lr": rate * factor} for rate in self._rates]
