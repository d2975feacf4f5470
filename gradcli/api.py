"""The commands as Python functions: one call does what one command does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from gradcli.config import compose_train
from gradcli.errors import UserError, nearest
from gradcli.records import Recorder
from gradcli.runs import Run, find_run, load_run
from gradcli.shorthands import (
    SHORTHANDS,
    comparison_overrides,
    inspection_overrides,
    problem_files,
    split_target,
)
from gradcli.system.paths import Paths
from gradcli.system.source_files import refuse_to_train_while_read
from gradcli.views.compare.compare_view import CompareView, QuietCompareView
from gradcli.views.train.train_view import QuietView, TrainView

if TYPE_CHECKING:
    from gradcli.comparison.best_rate import FoundRate
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
    with _settled(overrides) as settled:
        words = [*_words("train", options), *settled.words]
        paths = _paths(runs_dir, data_dir, config_dir, allow_import).trusting(settled.files)
        # A mistake in the config is reported before anything imports torch.
        if resume is None:
            composed = compose_train(
                [*settled.chosen, *words],
                config_dir=paths.config_dir,
                allow_import=paths.allow_import,
            )
            from gradcli.workflows.train import start_run

            words = [*settled.chosen, *words]
            summary = start_run(composed, words, paths, view, started=started, recorders=recorders)
        else:
            earlier = find_run(str(resume), paths.runs_dir)
            from gradcli.workflows.train import resume_run

            summary = resume_run(earlier, words, paths, view, started=started, recorders=recorders)
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
    with _settled(overrides) as settled:
        notes = []
        if not settled.can_be_made_again:
            notes = [_serial_note(engine, jobs, settled.words)]
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
            *([] if resume is not None else settled.chosen),
            *_words("compare", options),
            *settled.words,
        ]
        paths = _paths(runs_dir, data_dir, config_dir, allow_import).trusting(settled.files)
        with opened_engines(words) as open_engine:
            from gradcli.workflows.compare import (  # while a worker loads torch
                Comparison,
                run_comparison,
            )

            summary = run_comparison(
                words,
                vary,
                paths,
                view,
                open_engine,
                resume=None if resume is None else str(resume),
                notes=notes,
            )
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
    with _settled(words) as settled:
        target, overrides = split_target(settled.words)
        given = inspection_overrides(probe=",".join(probe) if probe else None, check=check)
        return inspect_target(
            target,
            [*given, *settled.chosen, *_words("inspect", options), *overrides],
            vary,
            _paths(runs_dir, data_dir, config_dir, allow_import).trusting(settled.files),
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
    paths = _paths(runs_dir, data_dir, config_dir, allow_import)
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
    with _settled(overrides) as settled:
        words = [*settled.chosen, *_words("find_lr", options), *settled.words]
        paths = _paths(runs_dir, data_dir, config_dir, allow_import).trusting(settled.files)
        composed = compose_train(
            words, config_dir=paths.config_dir, allow_import=paths.allow_import
        )
        from gradcli.views.find_lr.search_progress import SearchProgress
        from gradcli.workflows.find_lr import find_learning_rate

        return find_learning_rate(
            composed, words, paths, QuietView(), SearchProgress(), seeds=seeds, steps=steps
        )


@dataclass(frozen=True)
class _Settled:
    """What a call was given, with a problem as the overrides that stand for it."""

    words: list[str]
    chosen: list[str]
    """The overrides that choose the problem; none without one."""
    files: list[str]
    """The Python files that may run, since the caller has named them."""
    can_be_made_again: bool = True
    """Whether another process can make the problem."""


@contextmanager
def _settled(given_words: Sequence[str | Path | Problem]) -> Iterator[_Settled]:
    """Hand over the problem among the words of a call, if there is one, while the call lasts.

    Raises:
        UserError: if there are several.
    """
    words = [str(word) for word in given_words if not _is_problem(word)]
    problems = [word for word in given_words if _is_problem(word)]
    if len(problems) > 1:
        raise UserError("A call takes one problem, and this one got several.", where="problem")
    if not problems:
        yield _Settled(words, [], problem_files(words))
        return
    from gradcli.data.problem_source import given
    from gradcli.engines.work import load_once

    load_once.cache_clear()  # an earlier call may have had another problem of this name
    with given(problems[0]) as (file, name):
        if file:
            yield _Settled(words, [f"problem={file}:{name}"], [file])
        else:
            yield _Settled(words, ["data=problem", f"data.variable={name}"], [], False)


def _is_problem(word: object) -> TypeGuard[Problem]:
    """Whether it is a `Problem`: asked without importing torch, which a text does not need."""
    return not isinstance(word, str | Path)


def _serial_note(engine: str | None, jobs: int | None, words: Sequence[str]) -> str:
    """Say that a problem which no other process can make is compared in this one.

    Raises:
        UserError: if another engine was asked for.
    """
    reason = "no file has the problem by name, so that no other process can make it again"
    named = [word.removeprefix("engine=") for word in words if word.startswith("engine=")]
    asked = [engine] if engine is not None else []
    for other in [*asked, *named]:
        if other != "serial":
            raise UserError(
                f"engine={other} runs trials in other processes, but {reason}.",
                where="engine",
                hint=f'engine="serial"{"" if jobs is None else ", without jobs"}; or a problem at '
                "the top level of a Python file",
            )
    dropped = "" if jobs is None else f" jobs={jobs} does not apply to it."
    return f"The trials run one after another in this process (engine=serial): {reason}.{dropped}"


def _words(function: str, options: Mapping[str, object]) -> list[str]:
    """Return the overrides that shorthand options stand for.

    Raises:
        UserError: if there is no such option.
    """
    for name in options:
        if name not in SHORTHANDS:
            raise UserError(
                f"{function}() takes no '{name}'.",
                choices=nearest(name, SHORTHANDS),
                hint=f'an override, such as {function}("{name}=VALUE")',
            )
    return [f"{SHORTHANDS[name]}={value}" for name, value in options.items()]


def _paths(
    runs_dir: str | Path,
    data_dir: str | Path | None,
    config_dir: str | Path | None,
    allow_import: Sequence[str],
) -> Paths:
    return Paths(
        Path(runs_dir),
        None if data_dir is None else Path(data_dir),
        None if config_dir is None else Path(config_dir),
        tuple(allow_import),
    )
