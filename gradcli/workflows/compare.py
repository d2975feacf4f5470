"""A comparison from overrides to verdicts: joins the rooms, and owns their order.

Everything that `gradcli compare-optimizers` does beyond parsing and showing happens here: an
engine plans the comparison and runs the trials that its protocol asks for, and their run
directories become progress, results and a summary.

Only the engine needs torch. This process loads it if a named comparison is resumed, to check the
data; if an override sets a keyword that only a class of torch knows; if the engine runs here; or
if a package that the user allows imports it: this process imports those for their columns.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradcli.comparison import trials
from gradcli.comparison.engine import Ended, Engine, Job, OpenEngine, PlanRequest
from gradcli.comparison.plan import Plan, plan_from_json
from gradcli.comparison.progress import Curve, progress
from gradcli.comparison.protocol import Trial
from gradcli.comparison.results import ComparisonSummary, PairResult, RankedArm, TrialResult
from gradcli.comparison.trial_store import ENDED, TrialStore
from gradcli.config import (
    ComposedComparison,
    add_allowed_columns,
    compose_comparison,
    data_config,
)
from gradcli.errors import UserError, user_error_from_json
from gradcli.runs import (
    ComparisonDirectory,
    Run,
    begin_comparison,
    create_run_directory,
    find_comparison,
    list_comparisons,
    load_run,
)
from gradcli.runs.provenance import built_with
from gradcli.system.interrupts import caught_signals
from gradcli.system.paths import Paths
from gradcli.system.processes import quick_imports

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView

# Progress is read this often, but takes at most a hundredth of the time: it costs more as the
# comparison grows, and the trials need the processor.
_SECONDS_BETWEEN_LOOKS = 0.25
_PAUSE_PER_COST = 100
# How long interrupted trials may take to save their state.
_SECONDS_TO_SAVE = 5.0
_ATTEMPTS = 2
_NO_REASON = "its process was ended from outside"


def run_comparison(
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    view: CompareView,
    open_engine: OpenEngine,
    *,
    resume: str | None = None,
) -> ComparisonSummary:
    """Compare optimizers, and return the summary.

    If this comparison already exists, it is resumed; if it is finished, it is only shown.

    Args:
        overrides: Hydra overrides, of the comparison's own keys and of those of a training run.
        vary: overrides with several values, `KEY=V1,V2`, which are crossed with the optimizers.
        paths: the folders of runs, data and configs.
        view: shows everything as it happens, and is closed at the end.
        open_engine: makes the engine that the config names, and closes it later. It may have
            started one before this module was imported: a worker loads torch meanwhile.
        resume: a comparison to resume: its directory, name, a unique part of it or `latest`.

    Raises:
        UserError: for anything wrong with the config, the data or the paths, even if only a
            trial finds it.
    """
    with closing(view):
        composed = compose_comparison(
            overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        add_allowed_columns(paths.allow_import)
        arguments = composed.config.engine.arguments
        engine = open_engine(composed.engine_class, arguments)
        jobs = engine.scale(arguments.get("jobs") or _default_jobs(composed))
        earlier: ComparisonDirectory | None
        if resume is None:
            request = _plan_request(overrides, vary, paths, jobs)
            plan = plan_from_json(engine.plan(request, view.download))
            for remark in plan.remarks:
                view.note(remark)
            earlier = _asked_before(plan, paths.runs_dir)
        else:
            _refuse_changes([*overrides, *vary])
            earlier = find_comparison(resume, paths.runs_dir)
            plan = plan_from_json(earlier.state)
            _check_data(plan, paths, view, earlier)
        if earlier is not None and earlier.status == "finished":
            view.note(
                f"{earlier.path} is already finished; nothing was run. For a new comparison, "
                f"change the seed, for example seed={plan.info.protocol.seeds[-1] + 1}."
            )
            return read_comparison(earlier, paths)
        directory = earlier or _new_directory(plan, composed.config.name, paths)
        return _Study(directory, engine, composed.engine, jobs, paths, view).run()


def read_comparison(directory: ComparisonDirectory, paths: Paths) -> ComparisonSummary:
    """Return the summary of a comparison as it stands, running nothing.

    Args:
        directory: of the comparison.
        paths: those that the commands to type next carry, such as `directory.paths`.
    """
    state = directory.state
    status = directory.status
    store = TrialStore(directory, state.get("problems"))
    return store.summarise(
        status if status == "finished" or status == "failed" else "interrupted",
        float(state.get("seconds", "nan")),
        paths.arguments(),
    )


@dataclass(frozen=True)
class Comparison:
    """A comparison in Python: its results, and its trials as runs."""

    summary: ComparisonSummary
    path: Path

    @property
    def directory(self) -> ComparisonDirectory:
        """Its directory, with `comparison.json` and a run directory for each trial."""
        return ComparisonDirectory(self.path)

    @property
    def ranking(self) -> tuple[RankedArm, ...]:
        """The arms, best first."""
        return self.summary.ranking

    @property
    def pairs(self) -> tuple[PairResult, ...]:
        """Every pair of arms, with a verdict."""
        return self.summary.pairs

    def run(self, trial: TrialResult) -> Run:
        """Open the run of one of `summary.trials`.

        Raises:
            UserError: if it never began.
        """
        return load_run(self.directory.trial_path(trial.id))


# What is asked ----------------------------------------------------------------------------


def _default_jobs(composed: ComposedComparison) -> int:
    """Return the number of trials to run at the same time: limited by cores and by trials."""
    config = composed.config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rates = len(config.lrs) if isinstance(config.lrs, list) else config.protocol.learning_rates
    tuning = rates * config.protocol.tuning_seeds if config.protocol.tune else 0
    arms = len(config.optimizers) * len(composed.variations)
    return max(1, min((cores or 1) // config.threads, arms * max(tuning, config.protocol.seeds)))


def _plan_request(
    overrides: Sequence[str], vary: Sequence[str], paths: Paths, jobs: int
) -> PlanRequest:
    return PlanRequest(
        overrides=overrides,
        vary=vary,
        jobs=jobs,
        config_dir=None if paths.config_dir is None else str(paths.config_dir),
        data_dir=None if paths.data_dir is None else str(paths.data_dir),
        allow_import=paths.allow_import,
    )


def _asked_before(plan: Plan, runs_dir: Path) -> ComparisonDirectory | None:
    """Return the latest comparison with the same plan."""
    return next(
        (
            one
            for one in list_comparisons(runs_dir)
            if one.is_readable and one.state.get("request") == plan.request_id
        ),
        None,
    )


def _new_directory(plan: Plan, name: str | None, paths: Paths) -> ComparisonDirectory:
    path = create_run_directory(paths.runs_dir, name or "compare")
    plan = replace(plan, info=replace(plan.info, path=str(path), name=path.name))
    return begin_comparison(path, {**plan.as_json(), **built_with(paths)})


def _refuse_changes(arguments: Sequence[str]) -> None:
    """Refuse overrides that would change a comparison; its engine may change.

    Raises:
        UserError: for the first other override.
    """
    for word in arguments:
        if word.partition("=")[0].partition(".")[0] != "engine":
            raise UserError(
                f"'{word}' would change a comparison that has already begun.",
                where="--resume",
                hint=f"gradcli compare-optimizers {word}, as a new one",
            )


def _check_data(
    plan: Plan, paths: Paths, view: CompareView, directory: ComparisonDirectory
) -> None:
    """Refuse to resume a comparison with data other than it began with.

    Raises:
        UserError: if the data differ.
    """
    with quick_imports():
        from gradcli.workflows.building import obtain_data, refuse_other_data

    data = data_config(
        plan.arms[0].config["data"], file=str(directory.path), allow_import=paths.allow_import
    )
    dataset = obtain_data(data, paths.data_dir, view.download)
    refuse_other_data(dataset, plan.info.data.sha256, where=str(directory.path))


def _recorded(paths: Paths) -> dict[str, Any]:
    """Return the keys of `comparison.json` that `ComparisonDirectory.paths` reads."""
    return {
        "data_dir": None if paths.data_dir is None else str(paths.data_dir),
        "config_dir": None if paths.config_dir is None else str(paths.config_dir),
        "allow_import": list(paths.allow_import),
    }


# The work -----------------------------------------------------------------------------------


class _Study:
    """A comparison at work: wanted trials go to the engine, ended ones into the trial store."""

    def __init__(
        self,
        directory: ComparisonDirectory,
        engine: Engine,
        engine_name: str,
        jobs: int,
        paths: Paths,
        view: CompareView,
    ) -> None:
        self._directory, self._engine, self._paths, self._view = directory, engine, paths, view
        self._engine_name, self._jobs = engine_name, jobs
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
            self._directory.update(status="running", pid=os.getpid(), **_recorded(self._paths))
            self._store = TrialStore(self._directory)
            self._shown = {(trial.arm, trial.id) for trial in self._store.ended()}
            self._info = replace(
                self._store.info,
                path=str(self._directory.path),
                engine=self._engine_name,
                jobs=self._jobs,
                already_done=len(self._shown),
            )
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
        finally:
            lock.release()

    def _work(self, caught: list[int]) -> None:
        """Let the engine run trials until none is wanted, or a signal arrives."""
        self._submit()
        while self._submitted and not caught:
            # Briefly: a signal is seen between two polls.
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
        """Submit the wanted trials that are not yet submitted, one of each arm in turn."""
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
            data_dir=None if data_dir is None else str(data_dir),
            allow_import=self._paths.allow_import,
        )

    def _take(self, ended: Ended) -> None:
        """Read the outcome of an ended job; let a failed trial run once more.

        Raises:
            UserError: if the config is at fault, so that no trial of the arm can run.
        """
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
                self._info,
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
                self._store.read(ended.id)

    def _conclude(self, caught: Sequence[int]) -> ComparisonSummary:
        """Summarise, save the result, draw the pictures, and show the end."""
        from gradcli.views.draw.comparison_figures import plot_comparison
        from gradcli.views.json_output import comparison_json

        self._announce()
        missing = any(state.wanted for state in self._store.states())
        status: Literal["finished", "interrupted", "failed"] = "finished"
        if missing:
            status = "interrupted"
        elif self._store.problems:
            status = "failed"
        before = float(self._directory.state.get("seconds", 0.0))
        seconds = before + time.monotonic() - self._start
        summary = self._store.summarise(status, seconds, self._paths.arguments())
        self._directory.update(
            status=status,
            seconds=seconds,
            problems=self._store.problems,
            signal=caught[0] if caught and missing else None,
            result=comparison_json(summary),
        )
        if not missing:
            plot_comparison(self._directory.plots, summary, list(self._store.records(summary)))
        self._view.finish(summary)
        return summary
