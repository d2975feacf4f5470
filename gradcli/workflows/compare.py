"""A comparison, from overrides to verdicts.

Everything that `gradcli compare-optimizers` does beyond parsing and showing begins here: an
engine plans the comparison, or an earlier one is found to be resumed or shown. `study` runs it.

Only the engine needs torch. This process loads it if a named comparison is resumed, to check the
data; if an override sets a keyword that only a class of torch knows; if the engine runs here; or
if a package that the user allows imports it: this process imports those for their columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.comparison.engine import Engine, OpenEngine, PlanRequest
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
    resolve_target,
)
from gradcli.config.data_config import data_config
from gradcli.errors import AtWorkError, UserError
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
from gradcli.system.locks import is_locked
from gradcli.system.paths import Paths, returning_to
from gradcli.system.processes import quick_imports
from gradcli.system.resources import cores, graphics_cards
from gradcli.workflows.comparing.detaching import GoesOn
from gradcli.workflows.comparing.detaching import detach as detach_comparison
from gradcli.workflows.comparing.engine_words import (
    is_of_engine,
    recorded_engine,
    refuse_changes,
)
from gradcli.workflows.comparing.stopping import may_go_on, stop
from gradcli.workflows.comparing.study import Study
from gradcli.workflows.comparing.watching import watch

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
    detach: bool = False,
) -> ComparisonSummary | GoesOn:
    """Compare optimizers, and return the summary.

    If this comparison already exists, it is resumed; if it is finished, it is only shown; and if
    another process leads it, it is watched until that one has ended it. If that process dies, this
    one leads.

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
        detach: let a process that outlives this one lead it.

    Returns:
        The summary; or where the comparison is, if it goes on without this process.

    Raises:
        UserError: for anything wrong with the config, the data or the paths, even if only a
            trial finds it.
    """
    with closing(view):
        for note in notes:
            view.note(note)
        if resume is None:
            found = _begun(overrides, vary, paths, view, open_engine, notes)
        else:
            refuse_changes([*overrides, *vary])
            found = _Found(find_comparison(resume, paths.runs_dir))
            overrides = overrides or recorded_engine(found.directory)
        directory = found.directory
        add_labels(directory.path, labels)
        if _is_over(found, paths, view):
            return read_comparison(directory, paths)
        words = [word for word in overrides if is_of_engine(word)]
        if not is_locked(directory.path):
            may_go_on(directory.path)
            if detach:
                return detach_comparison(directory, paths, words)
        elif detach:
            return GoesOn(directory.path, paths)
        engine = found.engine
        while True:
            if is_locked(directory.path):
                view.note(f"Another process leads {directory.path}; this one shows it.")
                if (caught := watch(directory, view)) is not None:
                    return GoesOn(directory.path, paths, signal=caught)
                directory = ComparisonDirectory(directory.path)
                if directory.status != "lost":  # it was ended, in one way or another
                    return read_comparison(directory, paths)
                view.note("The process that led it is gone.")
            if engine is None:
                engine = _engine(overrides, vary, paths, open_engine)
            if resume is not None:
                _check_data(plan_of(directory), paths, view, directory)
            study = Study(
                directory,
                engine.engine,
                engine.name,
                engine.jobs,
                paths,
                view,
                searcher_of(plan_of(directory), paths.allow_import),
                words,
            )
            try:
                return study.run()
            except AtWorkError:  # of several that saw nobody lead, another one was first
                if not is_locked(directory.path):
                    raise


def stop_comparison(target: str, paths: Paths) -> tuple[ComparisonSummary, bool]:
    """Have a comparison stopped, wherever it is led.

    Returns:
        Its summary; and whether it was at work.

    Raises:
        UserError: if there is none, or whoever leads it does not answer.
    """
    directory = find_comparison(target, paths.runs_dir)
    was_at_work = stop(directory)
    return read_comparison(ComparisonDirectory(directory.path), paths), was_at_work


@dataclass(frozen=True)
class _OpenEngine:
    """An engine that is ready to run trials."""

    engine: Engine
    name: str
    jobs: int


@dataclass(frozen=True)
class _Found:
    """A comparison on the disk, new or old, and the engine if there is one yet."""

    directory: ComparisonDirectory
    engine: _OpenEngine | None = None
    is_new: bool = False


def _engine(
    overrides: Sequence[str], vary: Sequence[str], paths: Paths, open_engine: OpenEngine
) -> _OpenEngine:
    """Open the engine that the config names."""
    return _open(_composed(overrides, vary, paths), open_engine)


def _composed(overrides: Sequence[str], vary: Sequence[str], paths: Paths) -> ComposedComparison:
    with returning_to(paths.started_in):  # this imports code of the user's own
        composed = compose_comparison(
            overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        add_allowed_columns(paths.allow_import)
    return composed


def _open(composed: ComposedComparison, open_engine: OpenEngine) -> _OpenEngine:
    engine = open_engine(composed.engine_class, composed.config.engine.arguments)
    return _OpenEngine(engine, composed.engine, engine.scale(_asked_jobs(composed)))


def _begun(
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    view: CompareView,
    open_engine: OpenEngine,
    notes: Sequence[str],
) -> _Found:
    """Let an engine plan the comparison; return the earlier one with the same plan, or a new one.

    Raises:
        UserError: for anything wrong with the config, the data or the paths.
    """
    composed = _composed(overrides, vary, paths)
    opened = _open(composed, open_engine)
    request = _plan_request(overrides, vary, paths, opened.jobs)
    plan = plan_from_json(opened.engine.plan(request, view.download))
    for remark in plan.remarks:
        view.note(remark)
    earlier = _asked_before(plan, paths.runs_dir)
    if earlier is not None:
        return _Found(earlier, opened)
    new = _new_directory(plan, composed.config.name, paths, notes)
    return _Found(new, opened, is_new=True)


def _is_over(found: _Found, paths: Paths, view: CompareView) -> bool:
    """Whether nothing is left to run, and say so."""
    directory = found.directory
    if found.is_new or not _has_ended(directory):
        return False
    ended = "has already failed" if directory.status == "failed" else "is already finished"
    seed = plan_of(directory).info.protocol.seeds[-1] + 1
    view.note(
        f"{directory.path} {ended}; nothing was run. For a new comparison, "
        f"change the seed, for example seed={seed}."
    )
    return True


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


def _asked_jobs(composed: ComposedComparison) -> int:
    """Return how many trials to run at the same time: what is asked for, or what there is room for.

    An engine with `workers` knows what it has room for. For any other it is the number of graphics
    cards, if trials may use some, or else of cores. Where the cards cannot be counted, one is there
    if the config asks for it.
    """
    config, engine = composed.config, composed.config.engine.arguments
    if asked := engine.get("jobs") or engine.get("workers"):
        return int(asked)
    rates = len(config.lrs) if isinstance(config.lrs, list) else config.protocol.learning_rates
    if composed.searched:
        rates = config.protocol.search_settings
    tuning = rates * config.protocol.tuning_seeds if config.protocol.tune else 0
    arms = len(config.optimizers) * len(composed.variations)
    trials = arms * max(tuning, config.protocol.seeds)
    if "workers" in engine:
        return trials
    cards = len(graphics_cards()) if composed.device in ("auto", "cuda") else 0
    places = cards or (1 if composed.device == "cuda" else cores() // config.threads)
    return max(1, min(places, trials))


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
    facts = {**plan.as_json(), **built_with(paths), "notes": [*notes]}
    return begin_comparison(path, facts)


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
