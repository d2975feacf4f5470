"""What is known of a comparison on the disk: its plan, and the state of each trial.

A summary is the same while the comparison runs and long after: it depends on the directory alone.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

from gradcli.comparison import summary, target, trials
from gradcli.comparison.plan import Plan, plan_of
from gradcli.comparison.protocol import ArmState, Outcome, Trial, advance, with_rate
from gradcli.comparison.results import (
    ComparisonInfo,
    ComparisonSummary,
    RankedArm,
    TrialRecords,
    TrialResult,
    TrialStatus,
)
from gradcli.comparison.summary import ArmTrials
from gradcli.runs import ComparisonDirectory
from gradcli.system.paths import options_beside

#: The statuses of a trial that is over.
ENDED: tuple[TrialStatus, ...] = ("finished", "diverged", "stopped", "failed")

# No common optimizer needs more, so a comparison that began above it restarts from here.
_HIGHEST_SENSIBLE_RATE = 1.0
# Rates further apart than a decade leap over what is good.
_WIDEST_STEP = 10.0


class TrialStore:
    """The trials of a comparison.

    Args:
        directory: of the comparison.
        problems: what went wrong with trials that are not retried, by id.
    """

    def __init__(
        self, directory: ComparisonDirectory, problems: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        plan = plan_of(directory)
        # The directory may have been moved, or named from another folder.
        self.plan = replace(plan, info=replace(plan.info, path=str(directory.path)))
        self.problems = dict(problems or {})
        self._outcomes = {run.name: trials.outcome(run) for run in directory.trials()}
        for trial in self.problems:
            self._outcomes[trial] = trials.gave_up(self._outcomes.get(trial, Outcome("waiting")))
        self._results: dict[tuple[str, str, TrialStatus, float | None], TrialResult] = {}
        self._states: tuple[ArmState, ...] | None = None
        self._arms: tuple[ArmTrials, ...] | None = None

    @property
    def info(self) -> ComparisonInfo:
        """The header of the comparison; its target is NaN until the tuning has set it."""
        return replace(self.plan.info, target_score=self._target())

    def begin_call(self, engine: str, jobs: int, already_done: int) -> ComparisonInfo:
        """Note in the header, on the disk too, what this call of the comparison runs on.

        A comparison may be resumed on another engine, or with another number of jobs.
        """
        call = {"engine": engine, "jobs": jobs, "already_done": already_done}
        self.directory.update(info={**self.directory.state["info"], **call})
        info = replace(self.plan.info, engine=engine, jobs=jobs, already_done=already_done)
        self.plan = replace(self.plan, info=info)
        return self.info

    def read(self, trial: str) -> Outcome:
        """Read a trial's outcome from its run directory."""
        outcome = trials.outcome(self.directory.trial(trial))
        self._note(trial, outcome)
        return outcome

    def give_up(self, trial: str, problem: str) -> None:
        """Note that a trial has failed for good."""
        self.problems[trial] = problem
        self._note(trial, trials.gave_up(self._outcomes[trial]))

    def states(self) -> tuple[ArmState, ...]:
        """Return the state of each arm."""
        if self._states is None:
            plan = self.plan
            self._states = advance(
                plan.arms, plan.protocol, plan.info.data.identity, self._outcomes
            )
        return self._states

    def arms(self) -> tuple[ArmTrials, ...]:
        """Return the state of each arm, with the results of its trials."""
        if self._arms is None:
            self._arms = tuple(
                ArmTrials(
                    state,
                    tuple(self._result(state, trial) for trial in state.tuning),
                    tuple(self._result(state, trial) for trial in state.measuring),
                )
                for state in self.states()
            )
        return self._arms

    def ended(self, known: Container[tuple[str, str]] = ()) -> Iterator[TrialResult]:
        """Yield the results of the trials that have ended, without those that are known.

        Args:
            known: names of arms and ids of trials. Skipping them is much faster than asking
                for them again, which matters with hundreds of trials.
        """
        for state in self.states():
            for trial in (*state.tuning, *state.measuring):
                if (state.arm.name, trial.id) in known:
                    continue
                if self._status(state, trial) in ENDED:
                    yield self._result(state, trial)

    def summarise(
        self,
        status: Literal["finished", "interrupted", "failed"],
        seconds: float,
        paths: Sequence[str] = (),
    ) -> ComparisonSummary:
        """Summarise the comparison.

        Args:
            status: of the comparison. One that is `finished` has `failed` all the same if any arm
                has no score: it does not answer what was asked.
            seconds: the time it took so far.
            paths: the options that `Paths.arguments` returns, for the commands to type next.
        """
        arms, info = self.arms(), self.info
        compared = summary.compare_results(arms, info)
        ranking = summary.rank(arms, compared, info.metric)
        ended = tuple(self.ended())
        failed = len({trial.id for trial in ended if trial.status == "failed"})
        if status == "finished" and not all(arm.test_score.count for arm in ranking):
            status = "failed"
        missing = status == "interrupted" or failed
        return ComparisonSummary(
            info=info,
            status=status,
            ranking=ranking,
            pairs=compared.pairs,
            target=summary.time_to_target(arms, info, self.plan.target),
            warnings=summary.warn(arms, compared, info.metric),
            tuning=summary.grid_results(arms),
            trials=ended,
            failed=failed,
            halving=summary.halving(arms) if self.plan.protocol.rungs else None,
            seconds=seconds,
            notes=tuple(self.directory.state.get("notes", ())),
            winner_command=winner_command(self.plan, ranking[0], paths),
            extend_command=extend_command(self.plan, ranking[0], arms, paths),
            retry_command=retry_command(self.plan, arms, paths),
            resume_command=shlex.join(
                ["gradcli", "compare-optimizers", *paths, "--resume", self.info.path]
            )
            if missing
            else "",
        )

    def records(self, results: ComparisonSummary) -> Iterator[TrialRecords]:
        """Yield everything recorded of the ended trials, for curves."""
        for trial in results.trials:
            run = self.directory.trial(trial.id)
            if run is not None and run.layers:
                yield TrialRecords(trial, run.info, run.steps, run.evals)

    def _note(self, trial: str, outcome: Outcome) -> None:
        """Keep the outcome of a trial; the states of the arms are computed again on demand."""
        self._outcomes[trial] = outcome
        self._states = self._arms = None

    def _target(self) -> float:
        """Return the score that is timed."""
        if self.plan.target.origin != "tuning":
            return self.plan.info.target_score
        states = self.states()
        if not target.is_chosen(states):
            return math.nan
        return target.target_from_tuning(states, self._outcomes, self.plan.info.metric)

    def _status(self, state: ArmState, trial: Trial) -> TrialStatus:
        outcome = self._outcomes.get(trial.id)
        status: TrialStatus = "waiting" if outcome is None else outcome.status
        return "stopped" if status == "waiting" and trial.id in state.stopped else status

    def _result(self, state: ArmState, trial: Trial) -> TrialResult:
        status = self._status(state, trial)
        timed = self._target()
        key = (state.arm.name, trial.id, status, None if math.isnan(timed) else timed)
        if key not in self._results:
            self._results[key] = trials.result(
                trial,
                self.directory.trial(trial.id) if status in ENDED else None,
                arm=state.arm.name,
                optimizer=state.arm.optimizer,
                path=str(self.directory.trial_path(trial.id)),
                status=status,
                target=timed,
                metric=self.info.metric,
                problem=self.problems.get(trial.id, ""),
            )
        return self._results[key]


def _data_option(plan: Plan, config: Mapping[str, Any]) -> str:
    """Return the option of the group `data` that stands for what was used.

    A data set with a name of its own keeps its class, and is not found by its name. One that is
    found by its name may have stood in for the option, as mnist does for auto.
    """
    named_by_user = "_target_" in config["data"]
    return str(config["choices"]["data"]) if named_by_user else plan.info.data.name


def winner_command(plan: Plan, winner: RankedArm, paths: Sequence[str] = ()) -> str:
    """Return the command that repeats the first measuring trial of an arm, to the bit.

    Empty if the arm has no score: a trial that diverged is not worth repeating. So it is for a
    problem that no file has, which no command can train.
    """
    data = plan.info.data
    if not (winner.test_score.count or winner.val_score.count) or (
        data.file_sha256 and not data.file
    ):
        return ""
    arm = next(arm for arm in plan.arms if arm.name == winner.name)
    decided = ("data", "epochs", "seed", "threads", "name", "optimizer.lr")
    overrides = [
        *([] if plan.info.data.file_sha256 else [f"data={_data_option(plan, arm.config)}"]),
        f"optimizer={arm.optimizer}",
        *(
            word
            for word in (*plan.train_overrides, *arm.info.overrides)
            if word.lstrip("+").partition("=")[0] not in decided
        ),
        f"epochs={arm.config['epochs']}",
        f"seed={winner.seeds[0]}",
        f"threads={arm.config['threads']}",
    ]
    if not math.isnan(winner.learning_rate):
        overrides.append(f"optimizer.lr={winner.learning_rate:g}")
        groups = with_rate(arm.config["optimizer"], winner.learning_rate).get("groups") or {}
        overrides += [
            f"optimizer.groups.{name}.lr={group['lr']!r}"
            for name, group in groups.items()
            if group and "lr" in group
        ]
    return shlex.join(["gradcli", "train", *options_beside(paths, overrides), *overrides])


def retry_command(plan: Plan, arms: Sequence[ArmTrials], paths: Sequence[str] = ()) -> str:
    """Return the command that compares the arms again at lower learning rates.

    Empty unless every trial diverged.
    """
    trials = [trial for arm in arms for trial in (*arm.tuning, *arm.measuring)]
    if not trials or any(trial.status != "diverged" for trial in trials):
        return ""
    tried = [rate for arm in arms for rate in arm.state.rates if not math.isnan(rate)]
    highest = min([*tried, _HIGHEST_SENSIBLE_RATE])
    return _compare_again(plan, [highest / by for by in (10, 100, 1000)] if tried else [], paths)


def extend_command(
    plan: Plan, winner: RankedArm, arms: Sequence[ArmTrials], paths: Sequence[str] = ()
) -> str:
    """Return the command that compares the arms again with learning rates beyond the winner's.

    The rates are those of the winner's grid and three more beyond the end, at the distance of the
    last two, but at most a decade. Empty if the winner's learning rate is not an end of its grid.
    """
    if not winner.learning_rate_at_edge or not winner.test_score.count:
        return ""
    rates = next(arm.state.rates for arm in arms if arm.name == winner.name)
    best, beside = (rates[-1], rates[-2]) if winner.learning_rate == rates[-1] else rates[:2]
    factor = min(max(best / beside, 1 / _WIDEST_STEP), _WIDEST_STEP)
    beyond = [best * factor**step for step in (1, 2, 3)]
    return _compare_again(plan, sorted([*rates, *(float(f"{rate:.2g}") for rate in beyond)]), paths)


def _compare_again(plan: Plan, rates: Sequence[float], paths: Sequence[str]) -> str:
    """Return the command that makes the same comparison with these learning rates for all arms."""
    varied: dict[str, dict[str, None]] = {}
    for word in (word for arm in plan.arms for word in arm.info.overrides):
        key, _, value = word.partition("=")
        varied.setdefault(key, {})[value] = None
    words = [
        *("--optimizers", ",".join(dict.fromkeys(arm.optimizer for arm in plan.arms))),
        *(("--lrs", ",".join(f"{rate:g}" for rate in rates)) if rates else ()),
        *chain.from_iterable(
            ("--vary", f"{key}={','.join(values)}")
            for key, values in varied.items()
            if key != "optimizer.lr"
        ),
        *("--protocol", plan.info.protocol.name),
        *("--seeds", str(len(plan.protocol.seeds))),
        *(word for word in plan.train_overrides if word.partition("=")[0] != "optimizer.lr"),
    ]
    options = options_beside(paths, words)
    return shlex.join(["gradcli", "compare-optimizers", *options, *words])
