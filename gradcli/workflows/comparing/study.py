"""A comparison at work: from its directory and an engine to a summary.

The engine runs the trials that the protocol asks for, and their run directories become progress,
results and a summary. What is compared was decided before: see `compare`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Literal

from gradcli.comparison import trials
from gradcli.comparison.engine import Ended, Engine, Job
from gradcli.comparison.progress import Curve, progress
from gradcli.comparison.protocol import Trial
from gradcli.comparison.results import ComparisonSummary
from gradcli.comparison.trial_store import ENDED, TrialStore
from gradcli.errors import UserError, user_error_from_json
from gradcli.runs import ComparisonDirectory, Run
from gradcli.system.interrupts import caught_signals
from gradcli.system.paths import Paths

if TYPE_CHECKING:
    from gradcli.comparison.search import Searcher
    from gradcli.views.compare.compare_view import CompareView

# Progress is read this often, but takes at most a hundredth of the time: it costs more as the
# comparison grows, and the trials need the processor.
_SECONDS_BETWEEN_LOOKS = 0.25
_PAUSE_PER_COST = 100
# How long interrupted trials may take to save their state.
_SECONDS_TO_SAVE = 5.0
_ATTEMPTS = 2
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
    ) -> None:
        self._directory, self._engine, self._paths, self._view = directory, engine, paths, view
        self._engine_name, self._jobs, self._searcher = engine_name, jobs, searcher
        self._submitted: dict[str, tuple[Trial, int | None]] = {}
        self._attempts: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._curves: dict[str, Curve] = {}
        self._dropped_recorders: set[str] = set()
        self._start = self._next_look = time.monotonic()

    def run(self) -> ComparisonSummary:
        """Run what is missing, and return the summary."""
        lock = self._directory.lock()
        try:
            summary = self._run()
            # Stored, so that an interruption from here on takes nothing away.
            if summary.status != "interrupted":
                self._draw(summary)
            self._view.finish(summary)
            return summary
        finally:
            lock.release()

    def _run(self) -> ComparisonSummary:
        """Run what is missing, and store the summary and what the state is."""
        try:
            self._directory.update(status="running", pid=os.getpid(), **_recorded(self._paths))
            self._store = TrialStore(self._directory)
            self._shown = {(trial.arm, trial.id) for trial in self._store.ended()}
            self._info = self._store.begin_call(self._engine_name, self._jobs, len(self._shown))
            self._view.start(self._info)
            with caught_signals(lambda: None) as caught:
                self._work(caught)
                if caught:
                    self._save_what_runs()
            return self._conclude(caught)
        except BaseException:
            with suppress(OSError):  # a full disk must not hide what went wrong
                self._directory.update(status="interrupted")
            raise

    def _work(self, caught: list[int]) -> None:
        """Let the engine run trials until none is wanted, or a signal arrives."""
        self._submit()
        while self._submitted and not caught:
            # Not for long: a signal is only noticed between two polls.
            until_look = max(0.0, self._next_look - time.monotonic())
            ended = self._engine.poll(min(until_look, _SECONDS_BETWEEN_LOOKS))
            for one in ended:
                if caught:  # it was interrupted with this process: not a failure
                    self._store.read(one.id)
                else:
                    self._take(one)
            if ended and not caught:
                self._submit()
                self._announce()
            if time.monotonic() >= self._next_look or not self._submitted:
                self._look()

    def _submit(self) -> None:
        """Submit the wanted trials that are not yet submitted, one of each arm in turn.

        Settings that arms lack are proposed first.
        """
        if self._searcher is not None:
            self._store.propose(self._searcher)
        wanted = zip_longest(*(state.wanted for state in self._store.states()))
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
        self._began.pop(trial.id, None)
        outcome = self._store.read(trial.id)
        if outcome.status in ENDED or until in outcome.rungs:
            self._keep_curve(trial)
            return
        run = self._directory.trial(trial.id)
        mistake = run.state.get("user_error") if run is not None else None
        if mistake:
            problem = f"{trial.arm} cannot be trained: {mistake['problem']}"
            raise user_error_from_json({**mistake, "problem": problem})
        problem = ended.problem or (run.state.get("error", "") if run is not None else "")
        self._attempts[trial.id] += 1
        if self._attempts[trial.id] >= _ATTEMPTS:
            self._store.give_up(trial.id, problem or _NO_REASON)
        else:
            self._view.note(
                f"retrying {trial.arm}, lr {trial.learning_rate:g}, seed {trial.seed}: "
                f"{problem or _NO_REASON}"
            )

    def _keep_curve(self, trial: Trial) -> None:
        """Keep the curves of the last ended trial for the screen."""
        run = self._directory.trial(trial.id)
        if run is not None:
            self._note_dropped_recorders(trial, run)
            steps = run.last_steps(trials.RECENT_STEPS)
            if len(steps):
                self._curves[trial.arm] = (
                    steps.loss,
                    steps.grad_norm_before_clip,
                    steps.clip_coefficient,
                )

    def _note_dropped_recorders(self, trial: Trial, run: Run) -> None:
        """Say which recorder failed in a trial, once for all trials."""
        for name, error in run.state.get("dropped_recorders", {}).items():
            if name not in self._dropped_recorders:
                self._dropped_recorders.add(name)
                self._view.note(
                    f"The recorder {name} failed in {trial.arm}, seed {trial.seed}: {error}. "
                    "The trial went on without it."
                )

    def _announce(self) -> None:
        """Show the trials that have ended since the last time."""
        for trial in self._store.ended(self._shown):
            self._shown.add((trial.arm, trial.id))
            self._view.trial(trial)

    def _look(self) -> None:
        """Show the progress; the next look waits in proportion to the cost of this one."""
        now = time.monotonic()
        snapshots = [
            trials.snapshot(
                trial, run, until=until, seconds=now - self._began.setdefault(trial.id, now)
            )
            for trial, until, run in self._running()
        ]
        self._view.progress(
            progress(
                self._store.arms(),
                self._store.info,
                snapshots,
                self._curves,
                seconds_elapsed=now - self._start,
            )
        )
        end = time.monotonic()
        self._next_look = end + max(_SECONDS_BETWEEN_LOOKS, _PAUSE_PER_COST * (end - now))

    def _running(self) -> list[tuple[Trial, int | None, Run]]:
        """Return the trials that run now, as their directories say.

        An engine begins them in the order of submission. The lock of a directory is not tried: a
        trial that is about to take it must not find us there.
        """
        begun = islice(self._submitted.values(), self._jobs)
        runs = ((trial, until, self._directory.trial(trial.id)) for trial, until in begun)
        return [
            (trial, until, run)
            for trial, until, run in runs
            if run is not None and run.state["status"] == "running"
        ]

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

        self._announce()
        missing = not all(state.is_over for state in self._store.states())
        status: Literal["finished", "interrupted", "failed"] = "finished"
        if missing:
            status = "interrupted"
        elif self._store.problems:
            status = "failed"
        before = float(self._directory.state.get("seconds", 0.0))
        seconds = before + time.monotonic() - self._start
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

        records = list(self._store.records(summary))
        attempt(lambda: plot_comparison(self._directory.plots, summary, records), self._view.note)


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
