"""How far a comparison is, from the states of its arms, its results and its running trials."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gradcli.comparison import summary
from gradcli.comparison.columns import clipped_fraction, mean
from gradcli.comparison.live import ArmProgress, ComparisonProgress
from gradcli.comparison.results import ComparisonInfo
from gradcli.comparison.statistics import median_time, summarise_scores
from gradcli.comparison.summary import ArmTrials
from gradcli.comparison.trials import TrialSnapshot, thinned
from gradcli.records import Floats

#: The losses, gradient norms and clip coefficients of a trial, one per step, for sparklines.
Curve = tuple[Floats, Floats, Floats]

_DONE = ("finished", "diverged", "stopped", "failed")
_SCORED = ("finished", "diverged")
#: How many times longer than the comparison of all arms the pause until the next one is.
_PAUSE_PER_COST = 100


def progress(
    arms: Sequence[ArmTrials],
    info: ComparisonInfo,
    snapshots: Sequence[TrialSnapshot],
    curves: Mapping[str, Curve],
    *,
    seconds_elapsed: float,
) -> ComparisonProgress:
    """Return the state of a comparison at this moment; see `ProgressReader`."""
    return ProgressReader().read(arms, info, snapshots, curves, seconds_elapsed=seconds_elapsed)


@dataclass(frozen=True, slots=True)
class _Ended:
    """What is known of an arm by the trials that have ended."""

    arm: ArmTrials
    row: ArmProgress
    """Without what follows from other arms, and from the trials that run."""
    seconds: tuple[float, ...]
    """That each finished trial took."""
    speeds: tuple[float, ...]
    """The steps per second of each."""


class ProgressReader:
    """Looks at a comparison again and again.

    What follows from the trials that have ended is computed once, until another of the same arm
    ends. With many arms, comparing them all may take seconds, and is done a hundredth of the time
    at most; until then, no arm is said to lead.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended: dict[str, _Ended] = {}
        self._compared: Sequence[ArmTrials] = ()
        self._leader: str | None = None
        self._next_comparison = clock()

    def read(
        self,
        arms: Sequence[ArmTrials],
        info: ComparisonInfo,
        snapshots: Sequence[TrialSnapshot],
        curves: Mapping[str, Curve],
        *,
        seconds_elapsed: float,
    ) -> ComparisonProgress:
        """Return the state of a comparison at this moment.

        Args:
            arms: their states and results; those in which nothing has changed are the same objects.
            info: the header of the comparison.
            snapshots: the trials that run now.
            curves: by arm, those of the trial that ended last.
            seconds_elapsed: since this call of the comparison began.
        """
        ended = [self._of_ended(arm, len(info.protocol.seeds)) for arm in arms]
        leader = self.leader(arms, info)
        seconds = mean([one for arm in ended for one in arm.seconds]) / info.jobs
        running: dict[str, list[TrialSnapshot]] = {}
        for snapshot in snapshots:
            running.setdefault(snapshot.trial.arm, []).append(snapshot)
        rows = tuple(
            _row(
                one,
                running.get(one.arm.name, []),
                curves.get(one.arm.name),
                leads=one.arm.name == leader,
                seconds=seconds,
            )
            for one in ended
        )
        return ComparisonProgress(
            arms=rows,
            running=tuple(snapshot.trial for snapshot in snapshots),
            trials_done=sum(row.trials_done for row in rows),
            trials_total=sum(row.trials_total for row in rows),
            seconds_elapsed=seconds_elapsed,
            seconds_left=sum(row.seconds_left for row in rows),
            target_score=info.target_score,
        )

    def _of_ended(self, arm: ArmTrials, seeds: int) -> _Ended:
        known = self._ended.get(arm.name)
        if known is None or known.arm is not arm:
            known = self._ended[arm.name] = _of_ended(arm, seeds)
        return known

    def leader(self, arms: Sequence[ArmTrials], info: ComparisonInfo) -> str | None:
        """Return the arm that leads; None if there is none, or if it is not known."""
        if len(arms) == len(self._compared) and all(map(operator.is_, arms, self._compared)):
            return self._leader
        begin = self._clock()
        if begin < self._next_comparison or not _is_measured(arms):
            return None
        self._compared = arms
        self._leader = summary.leader(summary.compare_results(arms, info))
        end = self._clock()
        self._next_comparison = end + _PAUSE_PER_COST * (end - begin)
        return self._leader


def _of_ended(arm: ArmTrials, seeds: int) -> _Ended:
    trials, chosen = arm.trials, arm.state.chosen
    ended = [trial for trial in arm.measuring if trial.status in _SCORED]
    finished = [trial for trial in arm.measuring if trial.status == "finished"]
    total = len(trials) + arm.unproposed
    if not arm.measuring and not arm.is_hopeless:
        total += seeds
    row = ArmProgress(
        name=arm.name,
        stage=arm.state.stage,
        trials_done=sum(trial.status in _DONE for trial in trials),
        trials_total=total,
        learning_rate=math.nan if chosen is None else chosen.learning_rate,
        setting=() if chosen is None else chosen.setting,
        grid=summary.grid(arm),
        losses=(),
        val_score=summarise_scores([trial.val_score for trial in finished]),
        test_score=summarise_scores([trial.test_score for trial in finished]),
        grad_norm=math.nan,
        grad_norms=(),
        clipped_fraction=math.nan,
        steps_to_target=median_time([trial.measured["steps_to_target"] for trial in ended]),
        steps_per_second=math.nan,
        seconds_left=math.nan,
        diverged=sum(trial.status == "diverged" for trial in trials),
        failed=sum(trial.status == "failed" for trial in trials),
        leads=False,
    )
    all_finished = [trial for trial in trials if trial.status == "finished"]
    return _Ended(
        arm,
        row,
        seconds=tuple(trial.seconds for trial in all_finished),
        speeds=tuple(trial.measured["steps_per_second"] for trial in all_finished),
    )


def _row(
    ended: _Ended,
    snapshots: Sequence[TrialSnapshot],
    curve: Curve | None,
    *,
    leads: bool,
    seconds: float,
) -> ArmProgress:
    # A running trial is the latest one as soon as it has recorded a step.
    latest = next((snapshot for snapshot in reversed(snapshots) if len(snapshot.losses)), None)
    if latest is not None:
        curve = latest.losses, latest.grad_norms, latest.clip_coefficients
    speeds = ended.speeds or tuple(snapshot.steps_per_second for snapshot in snapshots)
    left = ended.row.trials_total - ended.row.trials_done
    return replace(
        ended.row,
        losses=thinned(curve[0]) if curve else (),
        grad_norm=float(curve[1][-1]) if curve else math.nan,
        grad_norms=thinned(curve[1]) if curve else (),
        clipped_fraction=clipped_fraction(curve[2]) if curve else math.nan,
        steps_per_second=mean(speeds),
        seconds_left=left * seconds if left > 0 else 0.0,
        leads=leads,
    )


def _is_measured(arms: Sequence[ArmTrials]) -> bool:
    """Whether there is anything to compare yet."""
    return sum(any(one.status in _SCORED for one in arm.measuring) for arm in arms) > 1
