"""What is known of a comparison on the disk: its plan, and the state of each trial.

A summary is the same while the comparison runs and long after: it depends on the directory alone.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from gradcli.comparison import summary, target, trials
from gradcli.comparison.commands import (
    extend_command,
    retry_command,
    trial_command,
    winner_command,
)
from gradcli.comparison.plan import plan_of
from gradcli.comparison.protocol import (
    ArmState,
    Memory,
    Outcome,
    Trial,
    advance,
    best_trial,
    dispensable,
)
from gradcli.comparison.results import (
    ComparisonInfo,
    ComparisonSummary,
    TrialRecords,
    TrialResult,
    TrialStatus,
)
from gradcli.comparison.search import Searcher
from gradcli.comparison.summary import ArmTrials
from gradcli.runs import ComparisonDirectory, Run

#: The statuses of a trial that is over.
ENDED: tuple[TrialStatus, ...] = ("finished", "diverged", "stopped", "failed")


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
        self._latest: tuple[str, Run | None] = ("", None)
        self._memory = Memory()
        self._states: tuple[ArmState, ...] | None = None
        is_set = plan.target.origin != "tuning"
        self._timed: tuple[tuple[ArmState, ...], float] = (
            (),
            plan.info.target_score if is_set else math.nan,
        )
        # By the names of arms: what follows from a state, for as long as it is the same.
        self._trials: dict[str, tuple[ArmState, tuple[Trial, ...]]] = {}
        self._arms: dict[str, tuple[ArmState, float, bool, ArmTrials]] = {}
        # By ids of trials: the arms that have it, and what it is to them.
        self._shared: dict[str, dict[str, Trial]] = {}
        self._results: dict[tuple[str, str], tuple[TrialStatus, float, TrialResult]] = {}

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
        """Read a trial's outcome from its run directory, and its result if it has ended."""
        run = self.directory.trial(trial)
        outcome = trials.outcome(run)
        self._latest = trial, run
        self._note(trial, outcome)
        if outcome.status in ENDED:
            for arm in self._shared.get(trial, ()):
                state, _ = self._trials[arm]
                self._read_result(state, self._shared[trial][arm], outcome.status, self._timed[1])
        return outcome

    def run(self, trial: str) -> Run | None:
        """Return the run of a trial; if it is the one that was read last, as it was then."""
        return self._latest[1] if self._latest[0] == trial else self.directory.trial(trial)

    def give_up(self, trial: str, problem: str) -> None:
        """Note that a trial has failed for good."""
        self.problems[trial] = problem
        self._note(trial, trials.gave_up(self._outcomes[trial]))

    def states(self) -> tuple[ArmState, ...]:
        """Return the state of each arm; the very same as before if none of its trials changed."""
        if self._states is None:
            plan = self.plan
            self._states = advance(
                plan.arms, plan.protocol, plan.info.data.identity, self._outcomes, self._memory
            )
            for state in self._states:
                self._list_trials(state)
        return self._states

    def dispensable(
        self, best_arm: str | None = None, without: Container[str] = ()
    ) -> dict[str, bool]:
        """Return the trials that nothing will continue; see `protocol.dispensable`."""
        return dispensable(self.states(), self._outcomes, best_arm, without)

    def propose(self, searcher: Searcher) -> bool:
        """Let the searcher propose the settings that arms lack, and store them.

        They are stored before any of them is tried, so that reading a comparison needs no searcher,
        and another version of it changes nothing.

        Returns:
            Whether any was lacking.
        """
        plan, stored = self.plan, self.directory.state.get("proposals", {})
        seed = plan.searcher.seed if plan.searcher else 0
        batches = {
            state.arm.name: searcher.propose(
                state.arm.search.ranges,
                state.tried,
                count=state.lacks,
                total=state.arm.search.settings,
                seed=seed,
            )
            for state in self.states()
            if state.lacks and state.arm.search
        }
        if not batches:
            return False
        self.directory.update(
            proposals={
                **stored,
                **{name: [*stored.get(name, []), batch] for name, batch in batches.items()},
            }
        )
        arms = {arm.name: arm for arm in plan_of(self.directory).arms}
        changed = {name: arms[name].search for name in batches}
        self.plan = replace(
            plan,
            arms=tuple(
                arm.with_search(search) if (search := changed.get(arm.name)) else arm
                for arm in plan.arms
            ),
        )
        for name in changed:
            self._memory.forget(name)
        self._states = None
        return True

    def arms(self, *, retimed: bool = True) -> tuple[ArmTrials, ...]:
        """Return the state of each arm, with the results of its trials.

        Args:
            retimed: whether the tuning trials are read again if they ended before the target was
                known, to be timed by it. While trials run, nothing shows that.
        """
        return tuple(self._arm(state, retimed) for state in self.states())

    def ended_ids(self) -> Iterator[tuple[str, str]]:
        """Yield the name of the arm and the id of each trial that has ended."""
        for state in self.states():
            for trial in self._list_trials(state):
                if self._status(state, trial) in ENDED:
                    yield state.arm.name, trial.id

    def ended(
        self, known: Container[tuple[str, str]] = (), without: Container[str] = ()
    ) -> Iterator[TrialResult]:
        """Yield the results of the trials that have ended, without those that are known.

        Args:
            known: names of arms and ids of trials. Skipping them is much faster than asking
                for them again, which matters with hundreds of trials.
            without: names of arms of which all are known.
        """
        for state in self.states():
            if state.arm.name in without:
                continue
            for trial in self._list_trials(state):
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
        ranking = summary.rank(arms, compared, info)
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
            tags=self.directory.labels.tags,
            note=self.directory.labels.note,
            winner_command=winner_command(self.plan, ranking[0], paths),
            extend_command=extend_command(self.plan, ranking[0], arms, paths, ranking[1:]),
            retry_command=retry_command(self.plan, arms, paths),
            kept_trial=self._kept_trial(ranking[0].name) if status != "interrupted" else "",
            resume_command=shlex.join(
                ["gradcli", "compare-optimizers", *paths, "--resume", self.info.path]
            )
            if missing
            else "",
        )

    def records(self, results: ComparisonSummary) -> Iterator[TrialRecords]:
        """Yield everything recorded of the ended trials that measure, for curves."""
        for trial in results.trials:
            if trial.stage != "measuring":
                continue
            run = self.directory.trial(trial.id)
            if run is not None and run.layers:
                yield TrialRecords(trial, run.info, run.steps, run.evals)

    def train_command(self, trial: str, paths: Sequence[str] = ()) -> str:
        """Return the command that repeats a trial as a run; empty if there is none."""
        trials = (one for state in self.states() for one in state.trials if one.id == trial)
        found = next(trials, None)
        return "" if found is None else trial_command(self.plan, found, paths)

    def _kept_trial(self, best_arm: str) -> str:
        """Return the best trial of the best arm, as the user would type it, if it has weights."""
        state = next(state for state in self.states() if state.arm.name == best_arm)
        best = best_trial(state, self._outcomes)
        run = None if best is None else self.directory.trial(best.id)
        return "" if run is None or not run.has_checkpoint else str(run.path)

    def _note(self, trial: str, outcome: Outcome) -> None:
        """Keep the outcome of a trial; the states of its arms are computed again on demand."""
        self._outcomes[trial] = outcome
        for arm in self._shared.get(trial, ()):
            self._memory.forget(arm)
        self._states = None

    def _target(self) -> float:
        """Return the score that is timed."""
        if self.plan.target.origin != "tuning":
            return self.plan.info.target_score
        states = self.states()
        if self._timed[0] is not states:
            found = math.nan
            if target.is_chosen(states):
                found = target.target_from_tuning(states, self._outcomes, self.plan.info.metric)
            self._timed = states, found
        return self._timed[1]

    def _list_trials(self, state: ArmState) -> tuple[Trial, ...]:
        """Return all trials of an arm, and note that it has them."""
        name = state.arm.name
        known = self._trials.get(name)
        if known is None or known[0] is not state:
            found = state.trials
            if known is None or known[1] != found:
                for trial in found:
                    self._shared.setdefault(trial.id, {})[name] = trial
            known = self._trials[name] = state, found
        return known[1]

    def _status(self, state: ArmState, trial: Trial) -> TrialStatus:
        outcome = self._outcomes.get(trial.id)
        status: TrialStatus = "waiting" if outcome is None else outcome.status
        return "stopped" if status == "waiting" and trial.id in state.stopped else status

    def _arm(self, state: ArmState, retimed: bool) -> ArmTrials:
        timed, known = self._target(), self._arms.get(state.arm.name)
        if known is not None:
            of_state, of_target, was_retimed, arm = known
            if of_state is state and _same(of_target, timed) and was_retimed >= retimed:
                return arm
        arm = ArmTrials(
            state,
            tuple(self._result(state, trial, retimed) for trial in state.tuning),
            tuple(self._result(state, trial) for trial in state.measuring),
            tuple(
                tuple(self._result(state, trial) for trial in choice.measuring)
                for choice in state.earlier
            ),
        )
        self._arms[state.arm.name] = state, timed, retimed, arm
        return arm

    def _result(self, state: ArmState, trial: Trial, retimed: bool = True) -> TrialResult:
        status, timed = self._status(state, trial), self._target()
        known = self._results.get((state.arm.name, trial.id))
        if known is not None:
            of_status, of_target, result = known
            if of_status == status and (not retimed or _same(of_target, timed)):
                return result
        return self._read_result(state, trial, status, timed)

    def _read_result(
        self, state: ArmState, trial: Trial, status: TrialStatus, timed: float
    ) -> TrialResult:
        result = trials.result(
            trial,
            self.run(trial.id) if status in ENDED else None,
            arm=state.arm.name,
            optimizer=state.arm.optimizer,
            path=str(self.directory.trial_path(trial.id)),
            status=status,
            target=timed,
            metric=self.plan.info.metric,
            problem=self.problems.get(trial.id, ""),
        )
        self._results[state.arm.name, trial.id] = status, timed, result
        return result


def _same(one: float, other: float) -> bool:
    """Whether two targets are the same one, or both none."""
    return one == other or (math.isnan(one) and math.isnan(other))
