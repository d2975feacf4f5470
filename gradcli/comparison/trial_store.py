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
from gradcli.comparison.commands import extend_command, retry_command, winner_command
from gradcli.comparison.plan import plan_of
from gradcli.comparison.protocol import ArmState, Outcome, Trial, advance
from gradcli.comparison.results import (
    ComparisonInfo,
    ComparisonSummary,
    TrialRecords,
    TrialResult,
    TrialStatus,
)
from gradcli.comparison.search import Searcher
from gradcli.comparison.summary import ArmTrials
from gradcli.runs import ComparisonDirectory

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
        self.plan = replace(plan, arms=plan_of(self.directory).arms)
        self._states = self._arms = None
        return True

    def arms(self) -> tuple[ArmTrials, ...]:
        """Return the state of each arm, with the results of its trials."""
        if self._arms is None:
            self._arms = tuple(
                ArmTrials(
                    state,
                    tuple(self._result(state, trial) for trial in state.tuning),
                    tuple(self._result(state, trial) for trial in state.measuring),
                    tuple(
                        tuple(self._result(state, trial) for trial in choice.measuring)
                        for choice in state.earlier
                    ),
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
            for trial in state.trials:
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
