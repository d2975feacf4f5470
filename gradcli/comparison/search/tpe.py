"""Settings near those that did well: the tree-structured Parzen estimator of Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from gradcli.comparison.search.ranges import Range
from gradcli.comparison.search.searcher import Searcher, Setting, Tried, setting_at
from gradcli.comparison.search.sobol import Sobol
from gradcli.extras.missing import not_installed

#: Proposals to draw per setting at most. Values are rounded, so that two may be one setting.
_DRAWS = 64
#: Optuna counts how far a trial got in whole steps.
_STEPS = 1_000_000


class TPE(Searcher):
    """The tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023, arXiv 2304.11127).

    It models the density of the good settings and of the others, over all keys jointly, and
    proposes where their ratio is largest. The first settings are those of `Sobol`, so that all arms
    start alike. It works in positions: how a range is spread is ours.

    The settings of a batch are proposed one after another. Each counts as a bad one for those after
    it (Optuna's constant liar), so that a batch is spread.

    Args:
        startup: how many settings of Sobol's sequence come first, but no more than half of all. A
            batch that begins among them is Sobol's as a whole.
        n_ei_candidates: how many settings are drawn, of which the one with the best ratio is tried.
    """

    looks_at_results = True

    def __init__(self, *, startup: int = 10, n_ei_candidates: int = 24) -> None:
        self.startup, self.n_ei_candidates = startup, n_ei_candidates

    def propose(
        self, ranges: Sequence[Range], tried: Sequence[Tried], *, count: int, total: int, seed: int
    ) -> list[Setting]:
        """Return the next settings, near those that did well.

        As long as all have failed, nothing is known, and Sobol's sequence goes on.

        Raises:
            UserError: if Optuna is not installed.
            ValueError: if the ranges have fewer settings than are asked for.
        """
        try:
            import optuna
        except ImportError as error:
            raise not_installed("Optuna", "search", error, what="search=tpe") from error
        starting = len(tried) < min(self.startup, math.ceil(total / 2))
        if starting or all(one.merit == -math.inf for one in tried):
            return Sobol().propose(ranges, tried, count=count, total=total, seed=seed)
        with _quiet(optuna):
            return list(_proposals(tuple(ranges), tuple(tried), count, seed, self.n_ei_candidates))


# The protocol asks for the same batch whenever a trial has ended.
@lru_cache(maxsize=4096)
def _proposals(
    ranges: tuple[Range, ...], tried: tuple[Tried, ...], count: int, seed: int, candidates: int
) -> tuple[Setting, ...]:
    import optuna

    sampler = optuna.samplers.TPESampler(
        n_startup_trials=0,
        n_ei_candidates=candidates,
        multivariate=True,
        constant_liar=True,
        seed=int(np.random.SeedSequence([seed, len(tried)]).generate_state(1)[0]),
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    whole = optuna.distributions.FloatDistribution(0.0, 1.0)
    space: dict[str, Any] = {one.key: whole for one in ranges}
    study.add_trials([_trial(optuna, space, ranges, one) for one in tried])
    known = {one.setting for one in tried}
    proposed: dict[Setting, None] = {}
    for _ in range(count * _DRAWS):
        positions = study.ask(space).params
        setting = setting_at(ranges, (positions[one.key] for one in ranges))
        if setting not in known:
            proposed[setting] = None
        if len(proposed) == count:
            return tuple(proposed)
    raise ValueError(
        f"{len(tried) + count} settings are asked for, and these ranges have hardly more than "
        f"{len(tried) + len(proposed)} that differ in three digits"
    )


def _trial(optuna: Any, space: dict[str, Any], ranges: Sequence[Range], tried: Tried) -> Any:
    """Return a setting that was tried as a trial of Optuna.

    A trial that was stopped is a pruned one, which TPE ranks below all complete ones, and among
    themselves by how far they got, then by their merit. One that failed is a pruned one without a
    merit, which it ranks last. (A failed one in Optuna's sense would be left out, and the region in
    which training diverges would be tried again.)
    """
    values = dict(tried.setting)
    positions = {one.key: min(max(one.position(values[one.key]), 0.0), 1.0) for one in ranges}
    states = optuna.trial.TrialState
    complete = tried.fraction == 1.0 and tried.merit > -math.inf
    stopped = not complete and tried.merit > -math.inf
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        value=tried.merit if complete else None,
        intermediate_values={round(tried.fraction * _STEPS): tried.merit} if stopped else {},
        params=positions,
        distributions=space,
    )


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna from telling of each study, and that parts of it are experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
