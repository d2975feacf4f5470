"""The commands as Python functions: one call does what one command does."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.api.given_words import paths_of, serial_note, settled, shorthand_words
from gradcli.config import compose_train
from gradcli.errors import UserError
from gradcli.records import Recorder
from gradcli.runs import Run, find_run, given_labels, load_run
from gradcli.shorthands import (
    comparison_overrides,
    inspection_overrides,
    split_target,
)
from gradcli.system.source_files import refuse_to_train_while_read
from gradcli.views.compare.compare_view import CompareView, QuietCompareView
from gradcli.views.train.train_view import QuietView, TrainView

if TYPE_CHECKING:
    from gradcli.comparison.best_rate import FoundRate
    from gradcli.comparison.run_sets import RunSetComparison, Score
    from gradcli.comparison.statistics.set_tests import Pairing
    from gradcli.data.problem import Problem
    from gradcli.inspection.inspection import Inspection, SideBySide
    from gradcli.inspection.one_step.step_inspection import StepInspection
    from gradcli.workflows.compare import Comparison


def train(
    *overrides: str | Problem,
    resume: str | Path | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
    view: TrainView | None = None,
    recorders: Sequence[Recorder] = (),
    tags: Sequence[str] = (),
    note: str = "",
    **options: object,
) -> Run:
    """Train a network as `gradcli train` does, and return the run.

    `train("model=cnn", optimizer="sgd", lr=0.1, epochs=2)` is
    `gradcli train --optimizer sgd --lr 0.1 --epochs 2 model=cnn`. The global random state, the
    number of threads and a surrounding Hydra application are left as they were.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`; and a problem of your own, if there is one.
        resume: a run to resume, instead of starting one.
        runs_dir: where runs are kept.
        data_dir: where data sets are kept; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        view: shows everything as it happens; None shows nothing.
        recorders: receive every record, in addition to those that the config names.
        tags: words to find the run by, in addition to those of a resumed one.
        note: what there is to say about it.
        options: the command's shorthand options: data, model, activation, optimizer, lr, clip,
            epochs, batch_size, seed, device, name.

    Returns:
        The run. Its `status` is `finished`, `diverged` or `interrupted` (by SIGTERM).

    Raises:
        UserError: if anything is wrong with the config, the data or the folders.
        KeyboardInterrupt: after Ctrl-C, once the run is saved.
    """
    refuse_to_train_while_read()
    view, started = view or QuietView(), time.time()
    labels = given_labels(tags, note, where="tags")
    with settled(overrides) as given:
        words = [*shorthand_words("train", options), *given.words]
        paths = paths_of(runs_dir, data_dir, config_dir, allow_import).trusting(given.files)
        # A mistake in the config is reported before anything imports torch.
        if resume is None:
            composed = compose_train(
                [*given.chosen, *words],
                config_dir=paths.config_dir,
                allow_import=paths.allow_import,
            )
            from gradcli.workflows.train import start_run

            words = [*given.chosen, *words]
            summary = start_run(
                composed, words, paths, view, started=started, recorders=recorders, labels=labels
            )
        else:
            earlier = find_run(str(resume), paths.runs_dir)
            from gradcli.workflows.train import resume_run

            summary = resume_run(
                earlier, words, paths, view, started=started, recorders=recorders, labels=labels
            )
    run = load_run(summary.path)
    if run.state.get("signal") == signal.SIGINT:
        raise KeyboardInterrupt
    return run


def compare(
    *overrides: str | Problem,
    optimizers: Sequence[str] | None = None,
    lrs: str | Sequence[float] | None = None,
    search: str | Sequence[str] | None = None,
    vary: Sequence[str] = (),
    seeds: int | None = None,
    protocol: str | None = None,
    jobs: int | None = None,
    engine: str | None = None,
    resume: str | Path | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
    view: CompareView | None = None,
    tags: Sequence[str] = (),
    note: str = "",
    **options: object,
) -> Comparison:
    """Compare optimizers as `gradcli compare-optimizers` does, and return the comparison.

    `compare("model=cnn", optimizers=["sgd", "adam"], seeds=5)` is
    `gradcli compare-optimizers --optimizers sgd,adam --seeds 5 model=cnn`. Trials run in
    processes of their own. If this comparison already exists, it is resumed.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`, for all trials; and a problem of your own, if there
            is one. If no file has it by name, the trials run in this process (engine=serial).
        optimizers: what is compared; None is sgd, adam and rmsprop.
        lrs: the learning rates to try; None is a grid around each optimizer's own.
        search: keys to search instead, such as `["lr", "weight_decay=0.001..1"]`; how they are
            searched is `search=sobol`, `grid` or `tpe` among the overrides.
        vary: overrides with several values, `KEY=A,B`, crossed with the optimizers.
        seeds: the number of fresh seeds to measure each optimizer with; None is the protocol's.
        protocol: quick, standard or thorough.
        jobs: trials that run at the same time; None is one per core.
        engine: an option of `configs/engine/`; None is `local`, worker processes on this machine.
        resume: a comparison to resume, instead of starting one.
        runs_dir: where runs are kept.
        data_dir: where data sets are kept; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        view: shows everything as it happens; None shows nothing.
        tags: words to find the comparison by.
        note: what there is to say about it.
        options: those of `train`, except `optimizer` and `lr`.

    Returns:
        The comparison. The status of its summary is `finished`, `failed` (some trials have no
        result) or `interrupted` (by SIGTERM).

    Raises:
        UserError: if anything is wrong with the config, the data or the folders.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    from gradcli.engines import opened_engines

    refuse_to_train_while_read()
    view = view or QuietCompareView()
    labels = given_labels(tags, note, where="tags")
    with settled(overrides) as given:
        notes = []
        if not given.can_be_made_again:
            notes = [serial_note(engine, jobs, given.words)]
            engine, jobs = "serial", None
        words = [
            *comparison_overrides(
                optimizers=None if optimizers is None else ",".join(optimizers),
                search=search if search is None or isinstance(search, str) else ",".join(search),
                lrs=lrs if lrs is None or isinstance(lrs, str) else ",".join(map(str, lrs)),
                seeds=None if seeds is None else str(seeds),
                protocol=protocol,
                jobs=None if jobs is None else str(jobs),
                engine=engine,
            ),
            *([] if resume is not None else given.chosen),
            *shorthand_words("compare", options),
            *given.words,
        ]
        paths = paths_of(runs_dir, data_dir, config_dir, allow_import).trusting(given.files)
        with opened_engines(words) as open_engine:
            # While a worker loads torch.
            from gradcli.workflows.compare import Comparison, run_comparison
            from gradcli.workflows.comparing.detaching import GoesOn

            summary = run_comparison(
                words,
                vary,
                paths,
                view,
                open_engine,
                resume=None if resume is None else str(resume),
                notes=notes,
                labels=labels,
            )
    if isinstance(summary, GoesOn):  # another process leads it, and Ctrl-C ended the watching
        raise KeyboardInterrupt
    comparison = Comparison(summary, Path(summary.info.path))
    if comparison.directory.state.get("signal") == signal.SIGINT:
        raise KeyboardInterrupt
    return comparison


def inspect(
    *words: str | Path | Problem,
    probe: Sequence[str] = (),
    check: bool = False,
    vary: Sequence[str] = (),
    try_advice: bool = False,
    try_steps: int | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
    **options: object,
) -> Inspection | SideBySide:
    """Look at gradients as `gradcli inspect-gradients` does, and return what was found.

    `inspect("latest", probe=["noise", "sharpness"])` looks at a run and at its last checkpoint,
    `inspect("model=deep_mlp", activation="sigmoid")` at a fresh model.

    Args:
        words: the directory of a run or a comparison, its name, a unique part of it, or
            `latest`; or the overrides, `KEY=VALUE`, that build a fresh model; and a problem of your
            own, if there is one.
        probe: the names of the costly probes to run; `["all"]` runs all of them.
        check: whether autograd is compared with central differences.
        vary: overrides with several values, `KEY=A,B`: fresh models side by side.
        try_advice: whether a part of the run is trained again, with and without the first advice:
            the `trial` of the inspection says which was better.
        try_steps: the steps of each of these trainings; None is a quarter of the run, and at
            least 100.
        runs_dir: where runs are kept.
        data_dir: where data sets are kept; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        options: those of `train`.

    Returns:
        An `Inspection`, or a `SideBySide` of several variants or of a comparison's arms.

    Raises:
        UserError: if anything is wrong with the target, the config, the data or the folders.
    """
    from gradcli.views.inspect.trial_progress import TrialProgress
    from gradcli.workflows.inspect import TrialRequest, inspect_target

    if try_steps is not None and (not try_advice or try_steps < 1):
        raise UserError(
            "try_steps says how long try_advice trains, and is at least 1.",
            where="try_steps",
            hint="try_advice=True, try_steps=100",
        )
    refuse_to_train_while_read()
    with settled(words) as given:
        target, overrides = split_target(given.words)
        probes = inspection_overrides(probe=",".join(probe) if probe else None, check=check)
        return inspect_target(
            target,
            [*probes, *given.chosen, *shorthand_words("inspect", options), *overrides],
            vary,
            paths_of(runs_dir, data_dir, config_dir, allow_import).trusting(given.files),
            QuietView(),
            trial=TrialRequest(TrialProgress(), try_steps) if try_advice else None,
        )


def inspect_step(
    run: str | Path,
    step: int,
    *,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
) -> StepInspection:
    """Look at one step as `gradcli inspect-gradients RUN --step N` does: example by example.

    The steps up to it are made again, and compared with the run's log; nothing is written.

    Args:
        run: its directory, its name, a unique part of it, or `latest`.
        step: its number, from 1.
        runs_dir: where runs are kept.
        data_dir: where data sets are kept; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.

    Returns:
        What was found. Its `examples` are all of the batch, the largest gradient first.

    Raises:
        UserError: if there is no such run or step, or it cannot be made again.
    """
    from gradcli.views.inspect.replay_progress import ReplayProgress
    from gradcli.workflows.inspect import inspect_step as inspected_step

    refuse_to_train_while_read()
    paths = paths_of(runs_dir, data_dir, config_dir, allow_import)
    return inspected_step(str(run), step, [], paths, QuietView(), ReplayProgress())


def find_lr(
    *overrides: str | Problem,
    seeds: int = 4,
    steps: int | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
    **options: object,
) -> FoundRate:
    """Find a learning rate as `gradcli find-lr` does, and return it with its interval.

    `find_lr("model=cnn", optimizer="sgd").learning_rate` is what
    `gradcli find-lr --optimizer sgd model=cnn` proposes. Nothing is written, and the global random
    state and the number of threads are left as they were.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`; and a problem of your own, if there is one.
        seeds: how many seeds rehearse each rate, at least 3.
        steps: of a rehearsal; None is 12 to 512, more for a small network.
        runs_dir: where runs are kept, for the command that comes next.
        data_dir: where data sets are kept; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.
        options: those of `train`.

    Returns:
        What was found. If no rate can be proposed, `learning_rate` is NaN, and `proposed.reason`
        says why.

    Raises:
        UserError: if the optimizer has no learning rate to find, or anything is wrong with the
            config, the data or the folders.
    """
    if seeds < 3 or (steps is not None and steps < 2):
        raise UserError("There are at least 3 seeds and 2 steps.", hint="seeds=4, steps=50")
    refuse_to_train_while_read()
    with settled(overrides) as given:
        words = [*given.chosen, *shorthand_words("find_lr", options), *given.words]
        paths = paths_of(runs_dir, data_dir, config_dir, allow_import).trusting(given.files)
        composed = compose_train(
            words, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        from gradcli.views.find_lr.search_progress import SearchProgress
        from gradcli.workflows.find_lr import find_learning_rate

        return find_learning_rate(
            composed, words, paths, QuietView(), SearchProgress(), seeds=seeds, steps=steps
        )


def compare_runs(
    *sets: str,
    by: Score | None = None,
    pairing: Pairing = "auto",
    runs_dir: str | Path = "runs",
) -> RunSetComparison:
    """Compare sets of runs as `gradcli runs compare` does, and return what was found.

    `compare_runs("a-*", "tag=baseline lr<0.01", by="val").pairs[0].result.verdict` is `a`, `b` or
    `tie`, of the sets in the order of their means.

    Args:
        sets: each a pattern of names, conditions, the directory of a run, or `COMPARISON:ARM`.
        by: what is compared; None is the first that all sets have.
        pairing: whether runs are compared by seed, as independent ones, or as fits them.
        runs_dir: where runs are kept.

    Raises:
        UserError: if a set names no run, or the sets cannot be compared.
    """
    from gradcli.comparison.run_sets import compare_run_sets, find_set

    found = [find_set(word, Path(runs_dir)) for word in sets]
    return compare_run_sets(found, by=by, pairing=pairing)
