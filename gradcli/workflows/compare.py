"""A comparison, from overrides to verdicts.

Everything that `gradcli compare-optimizers` does beyond parsing and showing begins here: an
engine plans the comparison, or an earlier one is found to be resumed or shown. `study` runs it.

Only the engine needs torch. This process loads it if a named comparison is resumed, to check the
data; if an override sets a keyword that only a class of torch knows; if the engine runs here; or
if a package that the user allows imports it: this process imports those for their columns.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.comparison.engine import OpenEngine, PlanRequest
from gradcli.comparison.plan import Plan, plan_from_json, plan_of
from gradcli.comparison.results import ComparisonSummary, RankedArm, TrialResult
from gradcli.comparison.search import Searcher
from gradcli.comparison.trial_store import TrialStore
from gradcli.comparison.verdicts import PairResult
from gradcli.config import (
    ComposedComparison,
    Section,
    add_allowed_columns,
    compose_comparison,
    data_config,
    resolve_target,
)
from gradcli.errors import UserError
from gradcli.runs import (
    NO_LABELS,
    ComparisonDirectory,
    Labels,
    Run,
    add_labels,
    begin_comparison,
    create_run_directory,
    find_comparison,
    list_comparisons,
    load_run,
)
from gradcli.runs.provenance import built_with
from gradcli.system.paths import Paths, returning_to
from gradcli.system.processes import quick_imports
from gradcli.workflows.comparing.study import Study

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView


def run_comparison(
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    view: CompareView,
    open_engine: OpenEngine,
    *,
    resume: str | None = None,
    notes: Sequence[str] = (),
    labels: Labels = NO_LABELS,
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
        notes: what the user must know about how it runs; shown, and kept with it.
        labels: what the user calls it, in addition to what it is called.

    Raises:
        UserError: for anything wrong with the config, the data or the paths, even if only a
            trial finds it.
    """
    with closing(view):
        for note in notes:
            view.note(note)
        with returning_to(paths.started_in):  # this imports code of the user's own
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
            plan = plan_of(earlier)
            _check_data(plan, paths, view, earlier)
        if earlier is not None:
            add_labels(earlier.path, labels)
        if earlier is not None and _has_ended(earlier):
            ended = "has already failed" if earlier.status == "failed" else "is already finished"
            view.note(
                f"{earlier.path} {ended}; nothing was run. For a new comparison, "
                f"change the seed, for example seed={plan.info.protocol.seeds[-1] + 1}."
            )
            return read_comparison(earlier, paths)
        directory = earlier
        if directory is None:
            directory = _new_directory(plan, composed.config.name, paths, notes)
            add_labels(directory.path, labels)
        searcher = searcher_of(plan, paths.allow_import)
        return Study(directory, engine, composed.engine, jobs, paths, view, searcher).run()


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
    if composed.searched:
        rates = config.protocol.search_settings
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
        config_dir=None if paths.config_dir is None else str(paths.absolute(paths.config_dir)),
        data_dir=None if paths.data_dir is None else str(paths.absolute(paths.data_dir)),
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


def _has_ended(comparison: ComparisonDirectory) -> bool:
    """Whether no trial is missing. One that has failed is missing; one that diverged is not.

    One whose files were lost or damaged later is missing, too.
    """
    problems = comparison.state.get("problems")
    if comparison.status != "finished" and (comparison.status != "failed" or problems):
        return False
    return all(state.is_over for state in TrialStore(comparison, problems).states())


def searcher_of(plan: Plan, allow_import: Sequence[str]) -> Searcher | None:
    """Return what proposes the settings of a comparison; None without a search.

    Raises:
        UserError: if its class cannot be used.
    """
    stored = plan.searcher
    if stored is None:
        return None
    section = Section("search", stored.option, stored.target, stored.arguments)
    searcher: Searcher = resolve_target(section, plan.info.path, allow_import)(**stored.arguments)
    return searcher


def _new_directory(
    plan: Plan, name: str | None, paths: Paths, notes: Sequence[str]
) -> ComparisonDirectory:
    path = create_run_directory(paths.runs_dir, name or "compare")
    plan = replace(plan, info=replace(plan.info, path=str(path), name=path.name))
    return begin_comparison(path, {**plan.as_json(), **built_with(paths), "notes": [*notes]})


def _refuse_changes(arguments: Sequence[str]) -> None:
    """Refuse overrides that would change a comparison; its engine may change.

    Raises:
        UserError: for the first other override.
    """
    for word in arguments:
        if word.partition("=")[0].partition(".")[0] != "engine":
            raise UserError(
                f"'{word}' would change a comparison that has already begun. A new one can have "
                "another config.",
                where="--resume",
                hint=shlex.join(["gradcli", "compare-optimizers", word]),
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
    refuse_other_data(dataset, plan.info.data.sha256, data, where=str(directory.path))
    if dataset.info.identity != plan.info.data.identity:
        raise UserError(
            f"{dataset.info.file} has changed since the comparison began: its trials could not be "
            "compared with those to come.",
            where=str(directory.path),
            hint="the file as it was, or a new comparison: the same command without --resume",
        )
