"""The schedules of the learning rate over a run, as pure functions of the step.

A schedule gives a factor on the optimizer's own learning rate. It has no state, so a resumed run
continues with the same bits. Steps count from 0; step t is update t + 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from gradcli.errors import UserError


class Schedule(ABC):
    """A factor on the learning rate for each step of a run of known length."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor for `step`, from 0 to `total_steps` - 1."""


class _WarmedUp(Schedule):
    """A schedule with a linear warm-up.

    The first W = round(warmup * total_steps) steps have the factors 1/(W+1), 2/(W+1), ...,
    W/(W+1). The schedule itself starts at step W and covers the remaining steps. A warm-up
    keeps the first, ill-conditioned steps small (Goyal et al. 2017, arXiv 1706.02677,
    section 2.2).
    """

    def __init__(self, *, warmup: float) -> None:
        _require_fraction("schedule.warmup", warmup)
        self.warmup = warmup

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor for `step`, from 0 to `total_steps` - 1."""
        warmup_steps = round(self.warmup * total_steps)
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return self._shape(step - warmup_steps, total_steps - warmup_steps)

    @abstractmethod
    def _shape(self, step: int, total_steps: int) -> float:
        """Return the factor for a step after the warm-up, counted from its end."""


class Constant(_WarmedUp):
    """Always 1.

    Args:
        warmup: the fraction of the run for the linear warm-up.

    Raises:
        UserError: the fraction is out of range.
    """

    def __init__(self, *, warmup: float = 0.0) -> None:
        super().__init__(warmup=warmup)

    def _shape(self, step: int, total_steps: int) -> float:
        return 1.0


class Step(_WarmedUp):
    """gamma^k after k milestones: a staircase.

    Milestone m is passed at the first step t with t / T >= m; T is the number of steps after the
    warm-up.

    Args:
        milestones: when to drop, as fractions of the run.
        gamma: the factor of each drop.
        warmup: the fraction of the run for the linear warm-up.

    Raises:
        UserError: a fraction or the factor is out of range.
    """

    def __init__(
        self,
        *,
        milestones: Sequence[float] = (0.5, 0.75),
        gamma: float = 0.1,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(warmup=warmup)
        for milestone in milestones:
            _require_fraction("schedule.milestones", milestone)
        _require_not_negative("schedule.gamma", gamma)
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def _shape(self, step: int, total_steps: int) -> float:
        passed = sum(step / total_steps >= milestone for milestone in self.milestones)
        return self.gamma**passed


class Cosine(_WarmedUp):
    """f + (1 - f) (1 + cos(pi t / T)) / 2: half a wave from 1 to near f = `final`.

    T is the number of steps after the warm-up. The factor would reach f at step T, one after the
    last, so the last update is not wasted. Loshchilov and Hutter 2016 (arXiv 1608.03983,
    equation 5), without restarts.

    Args:
        final: the factor that the wave approaches.
        warmup: the fraction of the run for the linear warm-up.

    Raises:
        UserError: the warm-up or the factor is out of range.
    """

    def __init__(self, *, final: float = 0.0, warmup: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        _require_not_negative("schedule.final", final)
        self.final = final

    def _shape(self, step: int, total_steps: int) -> float:
        return _half_wave(1.0, self.final, step / total_steps)


class OneCycle(Schedule):
    """Half a wave up from 1/div_factor to 1, and half a wave down to almost nothing.

    With T steps, the maximum is at step `warmup` * T - 1 and the end,
    1/(div_factor * final_div_factor), at step T - 1. It is the same as
    `torch.optim.lr_scheduler.OneCycleLR` with the optimizer's own learning rate as `max_lr`, except
    that the momentum does not change. Smith and Topin 2017, arXiv 1708.07120.

    Args:
        warmup: the fraction of the run in which the learning rate rises.
        div_factor: the maximum over the first learning rate.
        final_div_factor: the first learning rate over the last.

    Raises:
        UserError: the warm-up or a factor is out of range.
    """

    def __init__(
        self,
        *,
        warmup: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        _require_fraction("schedule.warmup", warmup)
        _require_divisor("schedule.div_factor", div_factor)
        _require_divisor("schedule.final_div_factor", final_div_factor)
        self.warmup = warmup
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor for `step`, from 0 to `total_steps` - 1."""
        first = 1.0 / self.div_factor
        top = max(0.0, self.warmup * total_steps - 1)
        if step < top:
            return _half_wave(first, 1.0, step / top)
        # A run of one step is at the maximum.
        fall = max(total_steps - 1 - top, 1.0)
        return _half_wave(1.0, first / self.final_div_factor, (step - top) / fall)


def _half_wave(start: float, end: float, fraction: float) -> float:
    """Return the value at a fraction of half a cosine wave from start to end."""
    return end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0


def _require_fraction(key: str, fraction: float) -> None:
    if not 0.0 <= fraction < 1.0:
        raise UserError(
            f"a fraction of the run must be from 0 to below 1, not {fraction}", where=key
        )


def _require_not_negative(key: str, factor: float) -> None:
    if not 0.0 <= factor < math.inf:
        raise UserError(f"a factor on the learning rate must be 0 or more, not {factor}", where=key)


def _require_divisor(key: str, divisor: float) -> None:
    if not 0.0 < divisor < math.inf:
        raise UserError(f"a divisor of the learning rate must be above 0, not {divisor}", where=key)
