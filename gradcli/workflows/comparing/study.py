"""A comparison at work: from its directory and an engine to a summary.

The engine runs the trials that the protocol asks for, and their run directories become progress,
results and a summary. What is compared was decided before: see `compare`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradcli.comparison.engine import Ended, Engine, Job, OutlivesItsLeader
from gradcli.comparison.protocol import ArmState, Trial
from gradcli.comparison.results import ComparisonSummary
from gradcli.comparison.trial_store import ENDED, TrialStore
from gradcli.errors import LostLeaseError, UserError, exception_in_words, user_error_from_json
from gradcli.runs import ComparisonDirectory, Run, reduce_checkpoints
from gradcli.system.interrupts import caught_signals
from gradcli.system.locks import momentary_lock
from gradcli.system.paths import Paths
from gradcli.workflows.comparing.showing import SECONDS_BETWEEN_LOOKS, Showing
from gradcli.workflows.comparing.stopping import is_to_stop

if TYPE_CHECKING:
    from gradcli.comparison.search import Searcher
    from gradcli.views.compare.compare_view import CompareView

# What follows from the trials that ended is asked a hundredth of the time at most; a tenth if the
# engine is running out of trials.
_PAUSE_PER_COST, _SHORT_PAUSE_PER_COST = 100, 10
# How long interrupted trials may take to save their state; on a cluster, word travels first.
_SECONDS_TO_SAVE = 15.0
# A trial is given up after so many failures of its own, or deaths of the process that ran it: a
# machine may fail, and nobody can tell whether the trial made it fail.
_FAILURES, _DEATHS = 2, 5
_NO_REASON = "its process was ended from outside"


class Study:
    """A running comparison: wanted trials go to the engine, ended ones into the trial store."""

    def __init__(
        self,
        directory: ComparisonDirectory,
        engine: Engine,
        engine_name: str,
        jobs: int,
        paths: Paths,
        view: CompareView,
        searcher: Searcher | None = None,
        engine_words: Sequence[str] = (),
    ) -> None:
        self._directory, self._engine, self._paths, self._view = directory, engine, paths, view
        self._engine_name, self._jobs, self._searcher = engine_name, jobs, searcher
        self._engine_words = list(engine_words)
        self._submitted: dict[str, tuple[Trial, int | None]] = {}
        self._failures: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._reduced: set[tuple[str, bool]] = set()
        self._followed: tuple[ArmState, ...] = ()
        self._has_news = False
        self._last_step = self._cost_of_step = 0.0

    def run(self) -> ComparisonSummary:
        """Run what is missing, and return the summary."""
        lock = self._lock = self._directory.lock()
        try:
            summary = self._run()
            # Stored, so that an interruption from here on takes nothing away.
            if summary.status != "interrupted":
                self._free_room(summary=summary)
                self._draw(summary)
            self._view.finish(summary)
            return summary
        except LostLeaseError:
            if isinstance(self._engine, OutlivesItsLeader):
                self._engine.leave()
            raise
        finally:
            lock.release()

    def _run(self) -> ComparisonSummary:
        """Run what is missing, and store the summary and what the state is."""
        try:
            facts = {**_recorded(self._paths), "engine_words": self._engine_words}
            self._directory.update(status="running", pid=os.getpid(), **facts)
            self._store = TrialStore(self._directory)
            self._showing = Showing(self._store, self._view)
            done = self._showing.already_done
            self._view.start(self._store.begin_call(self._engine_name, self._jobs, done))
            with caught_signals(lambda: None) as caught:
                self._work(caught)
                if caught:
                    self._save_what_runs()
            return self._conclude(caught)
        except LostLeaseError:
            raise
        except BaseException:
            with suppress(OSError):  # a full disk must not hide what went wrong
                self._directory.update(status="interrupted")
            raise

    def _work(self, caught: list[int]) -> None:
        """Let the engine run trials until none is wanted, or a signal arrives."""
        self._submit()
        while self._submitted and not caught:
            self._lock.refuse_if_lost()
            # Not for long: a signal is only noticed between two polls.
            until_look = self._showing.seconds_until_look
            until_step = max(self._seconds_until_step, 0.0) if self._has_news else until_look
            ended = self._engine.poll(min(until_look, until_step, SECONDS_BETWEEN_LOOKS))
            for one in ended:
                if caught:  # it was interrupted with this process: not a failure
                    self._store.read(one.id)
                else:
                    self._take(one)
            self._has_news |= bool(ended)
            if self._has_news and not caught and self._seconds_until_step <= 0:
                self._go_on()
            if not self._showing.seconds_until_look or not self._submitted:
                self._showing.look(self._running())
                if is_to_stop(self._directory.path):
                    caught.append(signal.SIGTERM)

    @property
    def _seconds_until_step(self) -> float:
        """How long not to ask what follows from the trials that ended: longer if many still wait.

        Not positive if it is time to ask.
        """
        if not self._submitted:
            return 0.0
        many_wait = len(self._submitted) >= 2 * self._jobs
        pause = self._cost_of_step * (_PAUSE_PER_COST if many_wait else _SHORT_PAUSE_PER_COST)
        return self._last_step + pause - time.monotonic()

    def _go_on(self) -> None:
        """Do what follows from the trials that have ended."""
        before = {state.arm.name: state for state in self._followed}
        begin = time.monotonic()
        self._submit()
        self._followed = self._store.states()
        same = {one.arm.name for one in self._followed if one is before.get(one.arm.name)}
        self._showing.announce(same)
        self._free_room(same)
        self._has_news = False
        self._last_step = time.monotonic()
        self._cost_of_step = self._last_step - begin

    def _submit(self) -> None:
        """Submit the wanted trials that are not yet submitted, one of each arm in turn.

        Settings that arms lack are proposed first.
        """
        if self._searcher is not None:
            self._store.propose(self._searcher)
        known = set(map(id, self._followed))
        changed = [state for state in self._store.states() if id(state) not in known]
        wanted = zip_longest(*(state.wanted for state in changed))
        for trial, until in (one for one in chain.from_iterable(wanted) if one is not None):
            if trial.id not in self._submitted:
                self._submitted[trial.id] = (trial, until)
                self._engine.submit(self._job(trial, until))

    def _job(self, trial: Trial, until: int | None) -> Job:
        data_dir = self._paths.data_dir
        return Job(
            id=trial.id,
            directory=str(self._directory.trial_path(trial.id).absolute()),
            config=json.dumps(trial.config),  # JSON is YAML
            until=until,
            validates=self._store.plan.target.validates and trial.stage == "measuring",
            data_dir=None if data_dir is None else str(self._paths.absolute(data_dir)),
            allow_import=self._paths.allow_import,
        )

    def _take(self, ended: Ended) -> None:
        """Read the outcome of an ended job; let a failed trial run once more.

        Raises:
            UserError: if the config is at fault, so that no trial of the arm can run; or if the
                engine reports a job that it was not running.
        """
        if ended.id not in self._submitted:
            raise _unknown_job(self._engine, ended.id)
        trial, until = self._submitted.pop(ended.id)
        outcome = self._store.read(trial.id)
        has_result = outcome.status in ENDED or until in outcome.rungs
        self._showing.ended(trial, has_result=has_result)
        if has_result:
            return
        run = self._store.run(trial.id)
        mistake = run.state.get("user_error") if run is not None else None
        if mistake:
            problem = f"{trial.arm} cannot be trained: {mistake['problem']}"
            raise user_error_from_json({**mistake, "problem": problem})
        problem = ended.problem or (run.state.get("error", "") if run is not None else "")
        if self._is_hopeless(trial.id, died=bool(ended.problem)):
            self._store.give_up(trial.id, problem or _NO_REASON)
        else:
            self._view.note(
                f"retrying {trial.arm}, lr {trial.learning_rate:g}, seed {trial.seed}: "
                f"{problem or _NO_REASON}"
            )

    def _is_hopeless(self, trial: str, *, died: bool) -> bool:
        """Count that a trial has failed, or that its process died; return whether to give it up."""
        (self._deaths if died else self._failures)[trial] += 1
        return self._failures[trial] >= _FAILURES or self._deaths[trial] >= _DEATHS

    def _free_room(
        self, same: Container[str] = (), summary: ComparisonSummary | None = None
    ) -> None:
        """Delete the checkpoints that nothing needs any more; the results are on the disk.

        Args:
            same: the names of arms that have not changed since the last time.
            summary: of a comparison that is over. If a trial failed, the next call tries it again,
                and the best may then be another.
        """
        is_settled = summary is not None and not self._store.problems
        best_arm = summary.ranking[0].name if summary is not None and is_settled else None
        for trial, last_stays in self._store.dispensable(best_arm, same).items():
            if (trial, last_stays) not in self._reduced:
                self._reduce(trial, last_stays=last_stays)

    def _reduce(self, trial: str, *, last_stays: bool) -> None:
        path = self._directory.trial_path(trial)
        try:
            reduce_checkpoints(path, last_stays=last_stays, lock=momentary_lock)
        except BlockingIOError:  # its process is about to end; there will be another time
            return
        except OSError as error:  # no result depends on it
            self._view.note(f"The checkpoints of {path} stay: {exception_in_words(error)}.")
        self._reduced.add((trial, last_stays))

    def _running(self) -> Iterator[tuple[Trial, int | None, Run]]:
        """Return the trials that run now, as their directories say, one by one.

        An engine begins them more or less in the order of submission. The lock of a directory is
        not tried: a trial that is about to take it must not find us there.
        """
        begun = islice(self._submitted.values(), 2 * self._jobs)
        runs = ((trial, until, self._directory.trial(trial.id)) for trial, until in begun)
        return (
            (trial, until, run)
            for trial, until, run in runs
            if run is not None and run.state["status"] == "running"
        )

    def _save_what_runs(self) -> None:
        """Let the engine end the running trials, and wait until they are saved."""
        waiting = {trial.id for trial, _, _ in self._running()}
        for trial in self._submitted:
            self._engine.cancel(trial)
        deadline = time.monotonic() + _SECONDS_TO_SAVE
        while waiting and time.monotonic() < deadline:
            for ended in self._engine.poll(0.1):
                waiting.discard(ended.id)
        # The directories decide, not the engine: some trials ended before it could say so.
        for trial in self._submitted:
            self._store.read(trial)

    def _conclude(self, caught: Sequence[int]) -> ComparisonSummary:
        """Summarise, and save the result."""
        from gradcli.views.json_output import comparison_json

        self._showing.announce()
        missing = not all(state.is_over for state in self._store.states())
        status: Literal["finished", "interrupted", "failed"] = "finished"
        if missing:
            status = "interrupted"
        elif self._store.problems:
            status = "failed"
        before = float(self._directory.state.get("seconds", 0.0))
        seconds = before + self._showing.seconds_elapsed
        summary = self._store.summarise(status, seconds, self._paths.arguments())
        self._directory.update(
            status=summary.status,
            seconds=seconds,
            problems=self._store.problems,
            signal=caught[0] if caught and missing else None,
            result=comparison_json(summary),
        )
        return summary

    def _draw(self, summary: ComparisonSummary) -> None:
        from gradcli.views.draw.attempt import attempt
        from gradcli.views.draw.comparison_figures import plot_comparison

        def draw() -> list[Path]:
            records = list(self._store.records(summary))
            return plot_comparison(self._directory.plots, summary, records)

        attempt(draw, self._view.note)


def _recorded(paths: Paths) -> dict[str, Any]:
    """Return the keys of `comparison.json` that `ComparisonDirectory.paths` reads."""
    return {
        "data_dir": None if paths.data_dir is None else str(paths.data_dir),
        "config_dir": None if paths.config_dir is None else str(paths.config_dir),
        "allow_import": list(paths.allow_import),
    }


def _unknown_job(engine: Engine, job_id: str) -> UserError:
    """Return the error for a job that an engine reports as ended, but was not running."""
    kind = type(engine)
    return UserError(
        f"{kind.__name__}.poll returned Ended({job_id!r}), but no job with this id is running.",
        where=f"{kind.__module__}.{kind.__qualname__}.poll",
        hint="Ended(job.id), once for each job that `submit` received",
    )
