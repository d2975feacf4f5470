"""A comparison at one moment, as plain values: what the live screen shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradcli.comparison.results import ArmStage, Stage, TrialStatus
from gradcli.comparison.search import Setting
from gradcli.comparison.verdicts import Summary


@dataclass(frozen=True, slots=True)
class GridCell:
    """What was tried with an arm, and the state of its tuning trials."""

    learning_rate: float
    status: TrialStatus
    """`diverged` or `failed` if any of its trials did; `finished` if all have."""
    val_score: float
    """The mean over the tuning seeds that have one so far; NaN if none has."""
    setting: Setting = ()
    """The values of the searched keys; empty without a search."""


@dataclass(frozen=True, slots=True)
class ArmProgress:
    """How far an arm is. A number is NaN and a series empty until something is known."""

    name: str
    stage: ArmStage
    trials_done: int
    trials_total: int
    """Those known so far; a widening adds some."""
    learning_rate: float
    """The chosen one; NaN until it is chosen."""
    grid: tuple[GridCell, ...]
    """Rising, with what widening has added; of a search, in the order of proposal."""
    losses: tuple[float, ...]
    """Training loss of the latest trial, thinned to at most `SERIES` points."""
    val_score: Summary
    """Over the measuring trials that have ended."""
    test_score: Summary
    grad_norm: float
    """The latest trial's last gradient norm before clipping."""
    grad_norms: tuple[float, ...]
    """The latest trial's gradient norms before clipping, thinned to at most `SERIES` points."""
    clipped_fraction: float
    """The share of the latest trial's steps whose gradient was clipped."""
    steps_to_target: float
    """The median over the measuring trials that have ended; infinite if most did not reach it."""
    steps_per_second: float
    """The mean over the trials that have ended; before that, over the running ones."""
    seconds_left: float
    diverged: int
    failed: int
    leads: bool
    """Better than every other arm by a verdict on the measuring trials so far."""
    setting: Setting = ()
    """The chosen values of the searched keys; empty until they are chosen."""


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that is running now."""

    id: str
    arm: str
    learning_rate: float
    seed: int
    stage: Stage
    step: int
    total_steps: int
    """The step at which it ends, or pauses until the others catch up (halving)."""
    seconds_elapsed: float
    seconds_left: float
    """NaN until its speed is known."""
    setting: Setting = ()
    """The values of the searched keys; empty without a search."""


@dataclass(frozen=True, slots=True)
class ComparisonProgress:
    """A comparison at one moment: what the live screen shows."""

    arms: tuple[ArmProgress, ...]
    """In the order of `ComparisonInfo.arms`."""
    running: tuple[RunningTrial, ...]
    trials_done: int
    trials_total: int
    seconds_elapsed: float
    seconds_left: float
    """NaN until a trial has ended."""
    target_score: float = math.nan
    """NaN until the tuning has set it."""


#: The most points of a series in `ArmProgress`.
SERIES = 60
